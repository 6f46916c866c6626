using System.Globalization;
using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Packetdrill.Language;

/// <summary>The <c>--name=value</c> lines at a script's top, with packetdrill's defaults.</summary>
internal sealed class ScriptOptions
{
    private IpAddress? _local, _remote, _gateway;

    public bool IsIpv6 { get; private set; }

    /// <summary>How far an event may be off its time.</summary>
    public long ToleranceUs { get; private set; } = 4000;

    public int Mtu { get; private set; } = 1500;

    public IpAddress Local => _local ?? IpAddress.Parse(IsIpv6 ? "fd3d:fa7b:d17d::1" : "192.168.0.1");

    public IpAddress Remote => _remote ?? IpAddress.Parse(IsIpv6 ? "2001:db8::1" : "192.0.2.1");

    public IpAddress Gateway => _gateway ?? IpAddress.Parse(IsIpv6 ? "fd3d:fa7b:d17d::2" : "192.168.0.2");

    public int PrefixLength => IsIpv6 ? 64 : 16;

    /// <summary>The port that <c>bind(..., ..., ...)</c> takes.</summary>
    public ushort BindPort { get; private set; } = 8080;

    /// <summary>The port that <c>connect(..., ..., ...)</c> goes to.</summary>
    public ushort ConnectPort { get; private set; } = 8080;

    /// <summary>A system call with another result than expected is reported, but ends nothing.</summary>
    public bool NonFatalCalls { get; private set; }

    /// <summary>Likewise a packet.</summary>
    public bool NonFatalPackets { get; private set; }

    /// <summary>Microseconds per tick of the timestamp clock; 0: timestamp values that we send are not compared, as packetdrill does by default.</summary>
    public long TimestampTickUs { get; private set; }

    /// <summary>Why the script can't be run, found while reading the options.</summary>
    public (int Line, string Reason)? Unsupported { get; private set; }

    public void Set(int line, string name, string value)
    {
        switch (name)
        {
            case "ip_version":
                IsIpv6 = value switch
                {
                    "ipv4" => false,
                    "ipv6" => true,
                    "ipv4-mapped-ipv6" => NotSupported(line, "IPv4-mapped sockets"),
                    _ => throw Bad(line, name, value),
                };
                break;
            case "tolerance_usecs":
                ToleranceUs = Number(line, name, value);
                break;
            case "mtu":
                Mtu = (int)Number(line, name, value);
                break;
            case "local_ip":
                _local = Address(line, name, value);
                break;
            case "remote_ip":
                _remote = Address(line, name, value);
                break;
            case "gateway_ip":
                _gateway = Address(line, name, value);
                break;
            case "bind_port":
                BindPort = (ushort)Number(line, name, value);
                break;
            case "connect_port":
                ConnectPort = (ushort)Number(line, name, value);
                break;
            case "tcp_ts_tick_usecs":
                TimestampTickUs = Number(line, name, value);
                break;
            case "non_fatal":
                string[] kinds = value.Split(',');
                NonFatalCalls = kinds.Contains("syscall") || kinds.Contains("all");
                NonFatalPackets = kinds.Contains("packet") || kinds.Contains("all");
                break;
            case "udp_encapsulation":
                NotSupported(line, "TCP over UDP (--udp_encapsulation)");
                break;
            case "tcp_md5" or "tcp_md5_secret":
                NotSupported(line, "TCP-MD5 signatures (RFC 2385)");
                break;
            case "wire_client" or "wire_server" or "wire_client_dev" or "wire_server_dev" or "wire_server_ip" or "wire_server_port":
                NotSupported(line, "remote mode: packets don't leave this process");
                break;
            case "verbose" or "v" or "debug" or "dry_run" or "speed" or "code_command" or "code_format" or "code_sockopt" or "netmask_ip" or "netmask" or "tcp_ts_ecr_scaled" or "tun_dev" or "persistent_tun_dev"
                or "strict_segments" or "so_filename" or "so_flags" or "send_omit_free" or "init_scripts" or "timeout" or "is_anyip" or "local_linkaddr":
                break;
            default:
                NotSupported(line, $"the option --{name}");
                break;
        }
    }

    private bool NotSupported(int line, string reason)
    {
        Unsupported ??= (line, reason);
        return false;
    }

    private static ScriptException Bad(int line, string name, string value) => new(line, $"syntax: '{value}' is no value for --{name}");

    private static long Number(int line, string name, string value) =>
        long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out long number) && number <= uint.MaxValue ? number : throw Bad(line, name, value);

    private static IpAddress Address(int line, string name, string value) => IpAddress.TryParse(value, out IpAddress address) ? address : throw Bad(line, name, value);
}
