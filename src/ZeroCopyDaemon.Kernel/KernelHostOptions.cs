using System.Net;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Wires.Impaired;

namespace ZeroCopyDaemon.Kernel;

/// <summary>How a kernel host is set up. Bound from configuration by name; <see cref="Validate"/> says what to change.</summary>
public sealed class KernelHostOptions
{
    /// <summary>The daemon's name; several daemons with different names can run beside each other.</summary>
    public string Name { get; set; } = "default";

    /// <summary>Folder that holds the run directories; empty = the default for this user.</summary>
    public string RunDirectory { get; set; } = "";

    /// <summary>Bytes of the RX page pool.</summary>
    public long PoolBytes { get; set; } = 64L << 20;

    /// <summary>Bytes per page, a power of two.</summary>
    public int PageBytes { get; set; } = 4096;

    /// <summary>How the NIC lays frames down.</summary>
    public Placement Placement { get; set; } = Placement.Split;

    /// <summary>Checksums by the NIC (both directions), or in software.</summary>
    public bool ChecksumOffload { get; set; } = true;

    /// <summary>Largest IP packet on the wire in bytes.</summary>
    public int Mtu { get; set; } = 1500;

    /// <summary>RX queues.</summary>
    public int RxQueues { get; set; } = 1;

    /// <summary>Data pages posted per RX queue, a power of two.</summary>
    public int RxRingSize { get; set; } = 1024;

    /// <summary>Where frames come in: <c>gateway</c> or <c>tap</c>.</summary>
    public string Wire { get; set; } = WireFactory.Gateway;

    /// <summary>Wire tap: the device's name; empty = a new one, with the first free name zcd0, zcd1, ...</summary>
    public string TapDevice { get; set; } = "";

    /// <summary>Wire tap: the kernel's address with its prefix length, such as <c>10.44.0.2/24</c>; empty = one of a free network.</summary>
    public string Address { get; set; } = "";

    /// <summary>Wire tap: Linux's address on the device; empty = the first one of the network that is free.</summary>
    public string HostAddress { get; set; } = "";

    /// <summary>Wire tap: the kernel's IPv6 address with its prefix length, such as <c>fd44::2/64</c>; empty = one that goes with <see cref="Address"/>, <c>off</c> = none.</summary>
    public string Address6 { get; set; } = "";

    /// <summary>Wire tap: Linux's IPv6 address on the device; empty = the first one of the network that is free.</summary>
    public string HostAddress6 { get; set; } = "";

    /// <summary>Wire tap: name of the network namespace that the device is made in; empty = this process's.</summary>
    public string NetworkNamespace { get; set; } = "";

    /// <summary>Segmentation by the NIC, and on a direct wire super-frames both ways. Needs <see cref="ChecksumOffload"/>.</summary>
    public bool Tso { get; set; } = true;

    /// <summary>Address that the gateway listens on.</summary>
    public string Bind { get; set; } = "127.0.0.1";

    /// <summary>What is done to frames on the wire, as <see cref="ImpairmentOptions.Parse"/> reads it; empty = nothing.</summary>
    public string Impair { get; set; } = "";

    /// <summary>Workers that the daemon is meant to serve: each one's share of the pool follows from it.</summary>
    public int ExpectedWorkers { get; set; } = 4;

    /// <summary>Most workers attached at once.</summary>
    public int MaxWorkers { get; set; } = 256;

    /// <summary>Bytes of TX area per worker unless it asks otherwise.</summary>
    public long TxBytes { get; set; } = 8L << 20;

    /// <summary>Entries of a worker's submission ring unless it asks otherwise; a power of two.</summary>
    public int SubmissionEntries { get; set; } = 4096;

    /// <summary>Entries of a worker's completion ring unless it asks otherwise; a power of two.</summary>
    public int CompletionEntries { get; set; } = 4096;

    /// <summary>Most pages' bytes (truesize) one connection may hold.</summary>
    public long ConnectionQuotaBytes { get; set; } = 2L << 20;

    /// <summary>Connections that wait for a worker, per listener.</summary>
    public int Backlog { get; set; } = 1024;

    /// <summary>How long a listener outlives the crash of its last worker, so that a supervisor can start another one, in seconds.</summary>
    public double ListenerLingerSeconds { get; set; } = 5;

    /// <summary>Told to clients by <c>status</c>: what the workers run.</summary>
    public string App { get; set; } = "";

    /// <summary>Told to clients by <c>status</c>: how the workers receive.</summary>
    public string Strategy { get; set; } = "";

    internal IPAddress BindAddress => IPAddress.Parse(Bind);

    internal PoolGeometry Geometry => new(PageBytes, (int)(PoolBytes / PageBytes));

    /// <summary>What is done to frames on the wire, or null. Throws <see cref="KernelHostException"/> if <see cref="Impair"/> can't be read.</summary>
    internal ImpairmentOptions? Impairment
    {
        get
        {
            try
            {
                return Impair.Length == 0 ? null : ImpairmentOptions.Parse(Impair);
            }
            catch (FormatException e)
            {
                throw new KernelHostException($"The wire can't be impaired by '{Impair}': {e.Message}.", e);
            }
        }
    }

    /// <summary>Throws <see cref="KernelHostException"/> with what to change.</summary>
    public void Validate()
    {
        Require(PageBytes is >= 2048 and <= 2 << 20 && (PageBytes & (PageBytes - 1)) == 0, $"The page size must be a power of two from 2048 to 2097152 bytes, not {PageBytes}.");
        Require(PoolBytes % PageBytes == 0, $"The pool size must be a multiple of the page size ({PageBytes} bytes), not {PoolBytes}: choose a multiple of {PageBytes}.");
        Require(PoolBytes / PageBytes <= 1 << 26, $"A pool of {PoolBytes} bytes has more pages than can be numbered: choose at most {(long)PageBytes << 26} bytes.");
        Require(RxRingSize is >= 16 and <= 65536 && (RxRingSize & (RxRingSize - 1)) == 0, $"The RX ring size must be a power of two from 16 to 65536, not {RxRingSize}.");
        Require(RxQueues is >= 1 and <= 16, $"RX queues must be from 1 to 16, not {RxQueues}.");
        long least = (long)RxRingSize * RxQueues * PageBytes * 2;
        Require(PoolBytes >= least, $"A pool of {PoolBytes} bytes is too small: the RX rings alone hold {least / 2} bytes. Choose a pool size of at least {least} bytes, or fewer or smaller rings.");
        Require(Mtu is >= 576 and <= 65535, $"The MTU must be from 576 to 65535, not {Mtu}.");
        bool superFrames = Tso && ChecksumOffload && Impairment is null;
        string? refusal = WireMatrix.Here.WhyNotWire(Wire) ?? (Strategy.Length > 0 ? WireMatrix.Here.WhyNotStrategy(Strategy) : null) ?? WireMatrix.Here.WhyNotPlacement(Wire, Placement, superFrames);
        Require(refusal is null, $"Wire {Wire}, placement {WireMatrix.Word(Placement)}, strategy {Strategy}: {refusal}.");
        Require(IPAddress.TryParse(Bind, out _), $"'{Bind}' is not an IP address to bind to: use for instance 127.0.0.1.");
        Require(MaxWorkers is >= 1 and <= 4096, $"The most workers must be from 1 to 4096, not {MaxWorkers}.");
        Require(ExpectedWorkers is >= 0 and <= 4096, $"Workers must be from 0 to 4096, not {ExpectedWorkers}.");
        Require(TxBytes is >= 65536 and <= 4L << 30, $"A worker's TX area must be from 64 KiB to 4 GiB, not {TxBytes} bytes.");
        Require(IsRingSize(SubmissionEntries) && IsRingSize(CompletionEntries), "A worker's rings must have a power of two of entries, from 64 to 65536.");
        Require(ConnectionQuotaBytes >= 16 * PageBytes, $"A connection's quota must be at least 16 pages ({16 * PageBytes} bytes), not {ConnectionQuotaBytes}.");
        Require(Backlog is >= 1 and <= 65535, $"The backlog must be from 1 to 65535, not {Backlog}.");
    }

    internal static bool IsRingSize(long entries) => entries is >= 64 and <= 65536 && (entries & (entries - 1)) == 0;

    private static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new KernelHostException(message);
        }
    }
}

/// <summary>The kernel host can't start or go on; the message is one line that says what to change.</summary>
public sealed class KernelHostException : Exception
{
    public KernelHostException(string message)
        : base(message)
    {
    }

    public KernelHostException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
