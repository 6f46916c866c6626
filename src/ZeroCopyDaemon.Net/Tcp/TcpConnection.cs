using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>
/// One TCP connection (RFC 9293). Owned by its <see cref="NetStack"/>; used on the stack's thread only. Output that a call makes possible is sent by the next <see cref="NetStack.Poll"/>.
/// </summary>
public sealed class TcpConnection
{
    private static InvalidOperationException Stub => new("stub");

    /// <summary>Unique among live connections; never negative. Fragments and pages name their holder by it.</summary>
    public int Id { get; }

    public TcpState State => throw Stub;

    public IpEndpoint Local => throw Stub;

    public IpEndpoint Remote => throw Stub;

    /// <summary>Who accepted it; null for an active open.</summary>
    public TcpListener? Listener => throw Stub;

    /// <summary>For the socket layer's use.</summary>
    public object? Owner { get; set; }

    /// <summary>Set after <see cref="TcpEvents.Failed"/>.</summary>
    public TcpError Error => throw Stub;

    /// <summary>Budget that received pages are charged to; the socket layer moves the connection to its worker's on accept (what is already charged moves along).</summary>
    public ReceiveBudget Budget
    {
        get => throw Stub;
        set => throw Stub;
    }

    /// <summary>This connection's own limit of truesize bytes.</summary>
    public long ReceiveQuotaBytes { get; set; }

    /// <summary>Truesize bytes charged: queued, out of order, leased, transmitting as a lease.</summary>
    public long ChargedBytes => throw Stub;

    /// <summary>In-order bytes on the receive queue.</summary>
    public long ReadableBytes => throw Stub;

    /// <summary>True once the peer's FIN has been taken in, in order. The stream has ended when also <see cref="ReadableBytes"/> is 0.</summary>
    public bool PeerClosed => throw Stub;

    /// <summary>
    /// Takes in-order payload off the receive queue: at most <paramref name="maxBytes"/> in at most <paramref name="maxFragments"/> fragments, the last one split if need be.
    /// <paramref name="head"/> is the first of the chain, which the caller now holds (state still <see cref="Memory.Pages.FragmentState.Queued"/>; lease or release each). Returns the bytes taken.
    /// The window opens again as pages are released, not here.
    /// </summary>
    public int Receive(int maxBytes, int maxFragments, out int head) => throw Stub;

    /// <summary>Free places on the send queue.</summary>
    public int SendItemsFree => throw Stub;

    /// <summary>Bytes queued and not yet acknowledged.</summary>
    public long SendQueueBytes => throw Stub;

    /// <summary>
    /// Queues payload. False (nothing taken) when the queue is full, or after <see cref="ShutdownSend"/>, or when the connection is not (going to be) synchronised.
    /// <paramref name="more"/>: more follows at once, so a short last segment may wait (MSG_MORE).
    /// </summary>
    public bool TrySend(in SendItem item, bool more = false) => throw Stub;

    /// <summary>Takes back the oldest send item that was acknowledged in full (or given up, when the connection failed) and is no longer read by the device. A fragment was released already.</summary>
    public bool TryTakeSent(out SendItem item) => throw Stub;

    /// <summary>Sends FIN once everything queued was sent. Idempotent.</summary>
    public void ShutdownSend() => throw Stub;

    /// <summary>
    /// The application is done with both directions: FIN after what is queued; queued or later received payload makes it a reset (RFC 2525 section 2.17, RFC 9293 section 3.6).
    /// Events go on until <see cref="TcpEvents.Closed"/>. Idempotent.
    /// </summary>
    public void Close(long nowUs) => throw Stub;

    /// <summary>RST to the peer, everything queued is dropped. <see cref="TcpEvents.Closed"/> follows. Idempotent.</summary>
    public void Abort(long nowUs) => throw Stub;

    /// <summary>A snapshot for the inspector.</summary>
    public TcpInfo GetInfo(long nowUs) => throw Stub;
}
