using System.Globalization;
using System.Net;
using ZeroCopyDaemon.Cli.Output;
using ZeroCopyDaemon.Kernel;
using ZeroCopyDaemon.Wires.Impaired;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.Cli.Settings;

/// <summary>All settings, each with its own check, and the checks between them.</summary>
internal static class SettingsTable
{
    private const int MaxNameLength = 40;

    public static Setting Name { get; } = new("name", "Daemon:Name", "NAME", "Name of the daemon; several can run beside each other [default]", (s, v) => s with { Name = ParseName(v) });

    public static Setting RunDirectory { get; } = new("run-dir", "Daemon:RunDirectory", "DIR", "Folder for run directories (sockets, lock, log) [the user's run folder]", (s, v) => s with { RunDirectory = ParseDirectory(v) });

    public static Setting App { get; } = new("app", "Workers:App", "APP", "What the workers do: http, echo or sink [http]", (s, v) => s with { App = ParseWord<WorkerApp>("app", v) });

    public static Setting Strategy { get; } = new("strategy", "Workers:Strategy", "STRATEGY", "How they receive: handoff (read pages in place) or copy [handoff]", (s, v) => s with { Strategy = ParseStrategy(v) });

    public static Setting Listen { get; } = new("listen", "Workers:Listen", "PORT", "Port that real clients connect to [8080]", (s, v) => s with { Port = ParseInt("port", v, 1, 65535) });

    public static Setting PoolSize { get; } = new("pool-size", "Pool:Size", "SIZE", "Bytes of the shared page pool [64MiB]", (s, v) => s with { PoolBytes = ParseSize("pool size", v) });

    public static Setting RxRing { get; } = new("rx-ring", "Nic:RxRing", "N", "Pages posted per RX queue, a power of two [1024]", (s, v) => s with { RxRingSize = ParsePowerOfTwo("RX ring size", v, 16, 65536) });

    public static Setting TxSize { get; } = new("tx-size", "Workers:TxSize", "SIZE", "Bytes of each worker's TX area [8MiB]", (s, v) => s with { TxBytes = ParseTxSize(v) });

    public static Setting Backlog { get; } = new("backlog", "Workers:Backlog", "N", "Connections that may wait for a worker, 1 to 65535 [1024]", (s, v) => s with { Backlog = ParseInt("backlog", v, 1, 65535) });

    public static Setting Placement { get; } = new("placement", "Nic:Placement", "PLACEMENT", "How the NIC lays frames down: none (whole), split (headers apart from payload), packed (payloads share pages) or merge (a flow's payloads end to end) [split]", (s, v) => s with { Placement = ParseWord<Nic.Placement>("placement", v) });

    /// <summary>In the order of the help.</summary>
    public static IReadOnlyList<Setting> All { get; } =
    [
        Name,
        new("workers", "Workers:Count", "N", "Worker processes, 0 to 256 [4]", (s, v) => s with { Workers = ParseInt("number of workers", v, 0, 256) }),
        Listen,
        new("bind", "Wire:Bind", "ADDRESS", "Address to listen on; 0.0.0.0 opens it to the network [127.0.0.1]", (s, v) => s with { Bind = ParseAddress(v) }) { OnlyOnWires = ["gateway"] },
        new("wire", "Wire:Kind", "WIRE", "Where frames come from: gateway (unprivileged) or tap (a network device; root) [gateway]", (s, v) => s with { Wire = ParseWire(v) }),
        new("tap", "Wire:Tap", "DEVICE", "With --wire tap: the device's name [the first free zcdN]", (s, v) => s with { TapDevice = ParseToken("device", v) }) { OnlyOnWires = ["tap"] },
        new("address", "Wire:Address", "ADDRESS/LEN", "With --wire tap: the kernel's own address [the second of a free 10.44.N.0/24]", (s, v) => s with { Address = ParseNetwork(v) }) { OnlyOnWires = ["tap"] },
        new("host-address", "Wire:HostAddress", "ADDRESS", "With --wire tap: this host's address on the device [the first one free]", (s, v) => s with { HostAddress = ParseAddress(v) }) { OnlyOnWires = ["tap"] },
        new("address6", "Wire:Address6", "ADDRESS/LEN", "With --wire tap: the kernel's own IPv6 address, or off [fd44:0:0:N::2/64, as the IPv4 network]", (s, v) => s with { Address6 = ParseNetwork6(v) }) { OnlyOnWires = ["tap"] },
        new("host-address6", "Wire:HostAddress6", "ADDRESS", "With --wire tap: this host's IPv6 address on the device [the first one free]", (s, v) => s with { HostAddress6 = ParseAddress6(v) }) { OnlyOnWires = ["tap"] },
        new("netns", "Wire:Netns", "NAME", "With --wire tap: network namespace that the device is made in [this one]", (s, v) => s with { NetworkNamespace = ParseToken("network namespace", v) }) { OnlyOnWires = ["tap"] },
        new("impair", "Wire:Impair", "SPEC", "What happens to frames, both ways, as in loss=1%,delay=20ms; also jitter, reorder, reorder-delay, duplicate, corrupt, rate=100mbit, queue=1000, seed [nothing]", (s, v) => s with { Impair = ParseImpairment(v) }),
        App,
        Strategy,
        PoolSize,
        new("page-size", "Pool:PageSize", "SIZE", "Bytes of a page, a power of two [4KiB]", (s, v) => s with { PageBytes = ParsePageSize(v) }),
        Placement,
        new("checksum-offload", "Nic:ChecksumOffload", "on|off", "Checksums by the NIC, or in software [on]", (s, v) => s with { ChecksumOffload = ParseSwitch(v) }),
        new("tso", "Nic:Tso", "on|off", "Super-frames of up to 64 KB between stack and NIC, on a tap both ways [on]", (s, v) => s with { Tso = ParseSwitch(v) }),
        new("mtu", "Nic:Mtu", "BYTES", "Largest IP packet on the wire, 576 to 65535 [1500]", (s, v) => s with { Mtu = ParseInt("MTU", v, 576, 65535) }),
        new("rx-queues", "Nic:RxQueues", "N", "RX queues, 1 to 16 [1]", (s, v) => s with { RxQueues = ParseInt("number of RX queues", v, 1, 16) }),
        RxRing,
        TxSize,
        Backlog,
        RunDirectory,
    ];

    /// <summary>What a look at a single setting can't find: the setting to blame, and what is wrong.</summary>
    public static IEnumerable<(Setting Blamed, string Problem)> CheckTogether(DaemonSettings settings)
    {
        bool superFrames = settings.Tso && settings.ChecksumOffload && settings.Impair.Length == 0;
        if (WireMatrix.Here.WhyNotPlacement(settings.Wire, settings.Placement, superFrames) is { } why)
        {
            yield return (Placement, why);
        }

        if (settings.PoolBytes % settings.PageBytes != 0)
        {
            long below = settings.PoolBytes / settings.PageBytes * settings.PageBytes;
            yield return (PoolSize, $"the pool size must be a multiple of the page size ({settings.PageBytes} bytes); the next are {Math.Max(below, settings.PageBytes)} and {below + settings.PageBytes}");
            yield break;
        }

        long held = (long)settings.RxRingSize * settings.RxQueues * settings.PageBytes;
        if (settings.PoolBytes < held * 2)
        {
            yield return (PoolSize, $"the pool is too small: the RX rings alone hold {ByteSize.Format(held)}; choose at least {ByteSize.Format(held * 2)}, or a smaller --rx-ring or fewer --rx-queues");
        }
    }

    private static string ParseName(string value)
    {
        bool good = value.Length is >= 1 and <= MaxNameLength && char.IsAsciiLetterOrDigit(value[0]) && value.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.');
        return good ? value : throw new FormatException($"a name has 1 to {MaxNameLength} letters, digits, '-', '_' or '.', and begins with a letter or digit");
    }

    private static string ParseDirectory(string value) =>
        string.IsNullOrWhiteSpace(value) ? throw new FormatException("name a folder") : Path.GetFullPath(value);

    private static int ParseInt(string what, string value, int least, int most)
    {
        bool good = int.TryParse(value, NumberStyles.AllowLeadingSign | NumberStyles.AllowLeadingWhite | NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out int number);
        return good && number >= least && number <= most ? number : throw new FormatException($"the {what} must be from {least} to {most}");
    }

    private static int ParsePowerOfTwo(string what, string value, int least, int most)
    {
        int number = ParseInt(what, value, least, most);
        return int.IsPow2(number) ? number : throw new FormatException($"the {what} must be a power of two from {least} to {most}");
    }

    private static long ParseSize(string what, string value) =>
        ByteSize.TryParse(value, out long bytes, out string problem) ? bytes : throw new FormatException($"the {what} {problem}");

    private static int ParsePageSize(string value)
    {
        long bytes = ParseSize("page size", value);
        return bytes is >= 2048 and <= 2 << 20 && long.IsPow2(bytes) ? (int)bytes : throw new FormatException("the page size must be a power of two from 2KiB to 2MiB");
    }

    private static long ParseTxSize(string value)
    {
        long bytes = ParseSize("TX area", value);
        return bytes is >= 65536 and <= 1L << 30 && bytes % 4096 == 0 ? bytes : throw new FormatException("the TX area must be a multiple of 4096 bytes from 64KiB to 1GiB");
    }

    private static string ParseAddress(string value) =>
        IPAddress.TryParse(value, out IPAddress? address) ? address.ToString() : throw new FormatException("name an IP address of this host, such as 127.0.0.1 or 0.0.0.0");

    private static string ParseImpairment(string value)
    {
        string specification = value.Trim();
        if (specification.Length > 0)
        {
            _ = ImpairmentOptions.Parse(specification);
        }

        return specification;
    }

    private static string ParseToken(string what, string value) =>
        value.Trim() is { Length: > 0 } word && word.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.')
            ? word
            : throw new FormatException($"the name of a {what} has letters, digits, '-', '_' or '.'");

    private static string ParseNetwork(string value) =>
        value.Split('/') is [string address, string length] && IPAddress.TryParse(address, out _) && int.TryParse(length, NumberStyles.None, CultureInfo.InvariantCulture, out int bits) && bits is >= 1 and <= 30
            ? value
            : throw new FormatException("give an IPv4 address with the length of its network's prefix, such as 10.44.0.2/24");

    private static string ParseNetwork6(string value) =>
        string.Equals(value.Trim(), "off", StringComparison.OrdinalIgnoreCase)
        || (value.Split('/') is [string address, string length] && IsIpv6(address) && int.TryParse(length, NumberStyles.None, CultureInfo.InvariantCulture, out int bits) && bits is >= 1 and <= 126)
            ? value.Trim()
            : throw new FormatException("give an IPv6 address with the length of its network's prefix, such as fd44::2/64, or say off");

    private static string ParseAddress6(string value) => IsIpv6(value) ? value : throw new FormatException("name an IPv6 address, such as fd44::1");

    private static bool IsIpv6(string text) => IPAddress.TryParse(text, out IPAddress? address) && address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6;

    private static bool ParseSwitch(string value) => value.Trim().ToUpperInvariant() switch
    {
        "ON" or "TRUE" or "YES" or "1" => true,
        "OFF" or "FALSE" or "NO" or "0" => false,
        _ => throw new FormatException("say on or off"),
    };

    private static T ParseWord<T>(string what, string value)
        where T : struct, Enum
    {
        foreach (T candidate in Enum.GetValues<T>())
        {
            if (string.Equals(candidate.ToString(), value.Trim(), StringComparison.OrdinalIgnoreCase))
            {
                return candidate;
            }
        }

        throw new FormatException(NoSuch(what, Enum.GetNames<T>().Select(n => n.ToLowerInvariant())));
    }

    private static string ParseWire(string value)
    {
        string wire = value.Trim().ToLowerInvariant();
        return WireMatrix.Here.WhyNotWire(wire) is { } why ? throw new FormatException(why) : wire;
    }

    private static ReceiveStrategy ParseStrategy(string value) =>
        WireMatrix.Here.WhyNotStrategy(value.Trim()) is { } why ? throw new FormatException(why) : ParseWord<ReceiveStrategy>("strategy", value);

    private static string NoSuch(string what, IEnumerable<string> known) => $"there is no such {what}; choose {WireMatrix.Choice(known)}";
}
