using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.Cli.Settings;

/// <summary>What a worker does with its connections.</summary>
internal enum WorkerApp
{
    /// <summary>Answers HTTP/1.1.</summary>
    Http,

    /// <summary>Sends every byte back.</summary>
    Echo,

    /// <summary>Takes every byte and answers nothing.</summary>
    Sink,
}

/// <summary>Everything that <c>zcd up</c> can be told, already valid each for itself.</summary>
internal sealed record DaemonSettings
{
    public string Name { get; init; } = "default";

    /// <summary>Folder of the run directories; empty = the user's default.</summary>
    public string RunDirectory { get; init; } = string.Empty;

    public int Workers { get; init; } = 4;

    public int Port { get; init; } = 8080;

    public string Bind { get; init; } = "127.0.0.1";

    public string Wire { get; init; } = "gateway";

    /// <summary>Name of the TAP device; empty = a new one.</summary>
    public string TapDevice { get; init; } = string.Empty;

    /// <summary>The kernel's address on a TAP, with its prefix length; empty = one of a free network.</summary>
    public string Address { get; init; } = string.Empty;

    /// <summary>Linux's address on a TAP; empty = the first one free.</summary>
    public string HostAddress { get; init; } = string.Empty;

    /// <summary>The kernel's IPv6 address on a TAP, with its prefix length; empty = one that goes with <see cref="Address"/>, <c>off</c> = none.</summary>
    public string Address6 { get; init; } = string.Empty;

    /// <summary>Linux's IPv6 address on a TAP; empty = the first one free.</summary>
    public string HostAddress6 { get; init; } = string.Empty;

    /// <summary>Network namespace of the TAP; empty = this one.</summary>
    public string NetworkNamespace { get; init; } = string.Empty;

    public bool Tso { get; init; } = true;

    /// <summary>What is done to frames on the wire; empty = nothing.</summary>
    public string Impair { get; init; } = string.Empty;

    public WorkerApp App { get; init; }

    public ReceiveStrategy Strategy { get; init; }

    public long PoolBytes { get; init; } = 64L << 20;

    public int PageBytes { get; init; } = 4096;

    public Placement Placement { get; init; } = Placement.Split;

    public bool ChecksumOffload { get; init; } = true;

    public int Mtu { get; init; } = 1500;

    public int RxQueues { get; init; } = 1;

    public int RxRingSize { get; init; } = 1024;

    /// <summary>TX area of each worker.</summary>
    public long TxBytes { get; init; } = 8L << 20;

    public int Backlog { get; init; } = 1024;
}
