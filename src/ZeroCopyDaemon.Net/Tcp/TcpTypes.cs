using ZeroCopyDaemon.Memory.Pages;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>The states of RFC 9293 section 3.3.2. LISTEN is a <see cref="TcpListener"/>, and TIME-WAIT a small entry of the stack's own.</summary>
public enum TcpState : byte
{
    Closed,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

/// <summary>Why a connection ended other than by an orderly close.</summary>
public enum TcpError : byte
{
    None,

    /// <summary>The peer sent RST.</summary>
    ConnectionReset,

    /// <summary>RST in answer to our SYN.</summary>
    ConnectionRefused,

    /// <summary>Retransmissions (or a user timeout) ran out.</summary>
    TimedOut,

    /// <summary>ICMP said so during the handshake, or the neighbour never answered.</summary>
    HostUnreachable,

    /// <summary>Our side aborted it.</summary>
    Aborted,
}

/// <summary>What happened to a connection since its last event was taken.</summary>
[Flags]
public enum TcpEvents : ushort
{
    None = 0,

    /// <summary>A passive open reached ESTABLISHED: <see cref="TcpConnection.Listener"/> says whose it is. The event comes once per connection, and none comes for one that never gets so far.</summary>
    Accepted = 1,

    /// <summary>An active open reached ESTABLISHED.</summary>
    Connected = 2,

    /// <summary>In-order payload was added to an empty receive queue, or more came.</summary>
    Readable = 4,

    /// <summary>The peer's FIN was taken in, in order. Queued payload may still be there to receive.</summary>
    PeerClosed = 8,

    /// <summary>Send items were acknowledged in full: <see cref="TcpConnection.TryTakeSent"/>.</summary>
    Sent = 16,

    /// <summary>The connection failed: <see cref="TcpConnection.Error"/> says how. No more events but <see cref="Closed"/>.</summary>
    Failed = 32,

    /// <summary>Last event: TCP is done with it (closed, failed, or gone to TIME-WAIT), all send items can be taken, and the object is the stack's again after the handler returns.</summary>
    Closed = 64,

    /// <summary>Payload was dropped, unacknowledged, because the connection's quota or its budget was used up: it will come again, and be taken once pages have been released.</summary>
    NoMemory = 128,
}

/// <summary>
/// Payload queued for transmission: a range of memory that the caller keeps mapped and unchanged until the item is taken back, or a fragment that the connection then owns.
/// </summary>
public readonly unsafe struct SendItem
{
    /// <summary>A range of memory.</summary>
    public SendItem(byte* pointer, int length, uint tag, uint context = 0)
    {
        Pointer = pointer;
        Length = length;
        Tag = tag;
        Context = context;
        Fragment = PagePool.NoFragment;
    }

    /// <summary>A received fragment, taken over: the stack sets it <see cref="FragmentState.Transmitting"/> and releases it once acknowledged.</summary>
    public SendItem(PagePool pool, int fragment, uint tag, uint context = 0)
    {
        Pointer = pool.PayloadAddress(fragment);
        Length = pool[fragment].Length;
        Tag = tag;
        Context = context;
        Fragment = fragment;
    }

    public readonly byte* Pointer;
    public readonly int Length;

    /// <summary>The sender's own mark, given back with the item.</summary>
    public readonly uint Tag;

    /// <summary>A second mark (which process sent it).</summary>
    public readonly uint Context;

    /// <summary>Slot of the fragment or <see cref="PagePool.NoFragment"/>.</summary>
    public readonly int Fragment;
}

/// <summary>A snapshot of a connection for the inspector; names as <c>ss -i</c> has them.</summary>
public readonly record struct TcpInfo(
    TcpState State,
    uint SndUna,
    uint SndNxt,
    uint RcvNxt,
    long SndWnd,
    long RcvWnd,
    int Mss,
    int SendScale,
    int ReceiveScale,
    bool Timestamps,
    long CwndBytes,
    long SsthreshBytes,
    long RttUs,
    long RttVarUs,
    long RtoUs,
    long BytesSent,
    long BytesAcked,
    long BytesReceived,
    long Retransmits,
    long SegmentsIn,
    long SegmentsOut,
    int SendQueueBytes,
    long ReceiveQueueBytes,
    int OutOfOrderFragments,
    long ChargedBytes);
