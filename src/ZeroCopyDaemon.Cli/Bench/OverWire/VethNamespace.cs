using System.Globalization;
using System.Net;
using System.Net.NetworkInformation;

namespace ZeroCopyDaemon.Cli.Bench.OverWire;

/// <summary>
/// A network namespace of the benchmark's own and a pair of virtual Ethernet devices, one end in it and one here: what the peers are reached by, as a daemon is by its TAP. Both are gone after
/// <see cref="DisposeAsync"/>; what a killed benchmark left is cleared away by the next one. Needs root.
/// </summary>
internal sealed class VethNamespace : IAsyncDisposable
{
    private const string Prefix = "zcd-bench-";
    private const string Folder = "/run/netns";

    private VethNamespace(string name, IPAddress address)
    {
        Name = name;
        Address = address;
    }

    public string Name { get; }

    /// <summary>The address inside.</summary>
    public IPAddress Address { get; }

    public static async Task<VethNamespace> CreateAsync(CancellationToken cancel)
    {
        await RemoveLeftoversAsync(cancel);
        string pid = Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
        string name = Prefix + pid;
        string here = "zcb" + pid;
        byte network = FreeNetwork();
        await Ip(cancel, "netns", "add", name);
        var made = new VethNamespace(name, new IPAddress([10, 45, network, 2]));
        try
        {
            await Ip(cancel, "link", "add", here, "type", "veth", "peer", "name", "zcb0", "netns", name);
            await Ip(cancel, "address", "add", $"10.45.{network}.1/24", "dev", here);
            await Ip(cancel, "link", "set", here, "up");
            await Ip(cancel, "-n", name, "address", "add", $"{made.Address}/24", "dev", "zcb0");
            await Ip(cancel, "-n", name, "link", "set", "lo", "up");
            await Ip(cancel, "-n", name, "link", "set", "zcb0", "up");
            return made;
        }
        catch
        {
            await made.DisposeAsync();
            throw;
        }
    }

    /// <summary>The pair of devices goes with the namespace.</summary>
    public async ValueTask DisposeAsync() => await Ip(CancellationToken.None, "netns", "delete", Name);

    private static Task<string> Ip(CancellationToken cancel, params string[] arguments) => Tool.Ip.RunAsync(arguments, cancel);

    private static async Task RemoveLeftoversAsync(CancellationToken cancel)
    {
        if (!Directory.Exists(Folder))
        {
            return;
        }

        foreach (string name in Directory.EnumerateFiles(Folder, Prefix + "*").Select(path => System.IO.Path.GetFileName(path)))
        {
            if (!Directory.Exists($"/proc/{name[Prefix.Length..]}"))
            {
                await Ip(cancel, "netns", "delete", name);
            }
        }
    }

    private static byte FreeNetwork()
    {
        HashSet<byte> taken = [];
        foreach (UnicastIPAddressInformation address in NetworkInterface.GetAllNetworkInterfaces().SelectMany(device => device.GetIPProperties().UnicastAddresses))
        {
            if (address.Address.GetAddressBytes() is [10, 45, byte network, _])
            {
                taken.Add(network);
            }
        }

        for (int network = 0; network < 256; network++)
        {
            if (!taken.Contains((byte)network))
            {
                return (byte)network;
            }
        }

        throw new CliException("no network 10.45.N.0/24 is free for the benchmark's peers");
    }
}
