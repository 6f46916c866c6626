using ZeroCopyDaemon.Kernel.Workers;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.Kernel.Sockets;

/// <summary>
/// A connection between TCP below and a worker above. Whatever a worker has to be told is kept here as state until its completion ring has room, so that nothing is lost and nothing grows
/// beyond what the worker itself has outstanding. Loop thread only.
/// </summary>
internal sealed class SocketConnection(TcpConnection tcp, SocketListener? listener, uint handle)
{
    /// <summary>Valid until <see cref="TcpGone"/>.</summary>
    public TcpConnection Tcp { get; } = tcp;

    public SocketListener? Listener { get; } = listener;

    /// <summary>What the worker calls it.</summary>
    public uint Handle { get; } = handle;

    /// <summary>The worker that holds the handle; null before accept, and for an orphan.</summary>
    public AttachedWorker? Worker { get; set; }

    /// <summary>True while in the worker's <see cref="AttachedWorker.Dirty"/> queue.</summary>
    public bool IsDirty { get; set; }

    /// <summary>The worker hasn't been told yet that this connection is its own.</summary>
    public bool AcceptNotice { get; set; }

    /// <summary>The worker hasn't been told yet that the connection failed.</summary>
    public bool FailNotice { get; set; }

    /// <summary>The worker hasn't been told yet that payload was dropped for want of pages.</summary>
    public bool NoMemoryNotice { get; set; }

    public CompletionStatus FailStatus { get; set; }

    /// <summary>The worker's receive waits for data.</summary>
    public bool ReceivePending { get; set; }

    public int ReceiveMaxBytes { get; set; }

    public int ReceiveMaxFragments { get; set; }

    public uint ReceiveTag { get; set; }

    /// <summary>The worker gave its handle up (or is gone): it is told nothing more but the fate of its sends.</summary>
    public bool HandleClosed { get; set; }

    /// <summary>TCP is done with it.</summary>
    public bool TcpGone { get; set; }

    /// <summary>Sends that the stack accepted and that the worker has not been told the end of.</summary>
    public int SendsOutstanding { get; set; }

    /// <summary>Ends of sends that could not be written at once: refused ones, and those of a connection that is gone. At most as many as the worker may have outstanding.</summary>
    public Queue<(uint Tag, CompletionStatus Status)>? SendEnds { get; set; }
}

/// <summary>A listening port, shared by the workers that asked for it. Loop thread only.</summary>
internal sealed class SocketListener(uint id, TcpListener tcp, int port, string publicAddress, string publicAddress6)
{
    public uint Id { get; } = id;

    public TcpListener Tcp { get; } = tcp;

    public int Port { get; } = port;

    /// <summary>Where a real client connects to.</summary>
    public string PublicAddress { get; } = publicAddress;

    /// <summary>Where it can also connect to, over IPv6; empty = nowhere.</summary>
    public string PublicAddress6 { get; } = publicAddress6;

    /// <summary>Workers that take connections from it, in the order they came.</summary>
    public List<AttachedWorker> Members { get; } = [];

    /// <summary>Established connections that no worker has room for yet.</summary>
    public LinkedList<SocketConnection> Waiting { get; } = new();

    /// <summary>Where the round robin among equals goes on.</summary>
    public int NextMember { get; set; }

    /// <summary>When a listener without workers closes; <see cref="long.MaxValue"/> while it has some.</summary>
    public long ClosesAtUs { get; set; } = long.MaxValue;
}
