using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Net;

namespace ZeroCopyDaemon.Packetdrill.Environment;

/// <summary>What a script's sysctl lines set: the stack's options, and what its sockets begin with.</summary>
internal sealed class Settings
{
    /// <summary>The stack's.</summary>
    public TcpOptions Tcp { get; set; } = new() { ReceiveQuotaBytes = 12 << 20, InitialWindowSegments = 10 };

    /// <summary>The script names FreeBSD's settings: sockets report buffer sizes as that system does.</summary>
    public bool IsFreeBsd { get; set; }

    /// <summary>SO_RCVBUF of a new socket.</summary>
    public long ReceiveSpace { get; set; } = 131_072;

    /// <summary>SO_SNDBUF of a new socket.</summary>
    public long SendSpace { get; set; } = 1 << 20;

    /// <summary>TCP_KEEPINIT of a new socket, seconds.</summary>
    public long KeepInitSeconds { get; set; } = 75;

    /// <summary>TCP_KEEPIDLE of a new socket, seconds.</summary>
    public long KeepIdleSeconds { get; set; } = 7200;

    /// <summary>TCP_KEEPINTVL of a new socket, seconds.</summary>
    public long KeepIntervalSeconds { get; set; } = 75;

    /// <summary>TCP_KEEPCNT of a new socket.</summary>
    public long KeepCount { get; set; } = 8;
}
