using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Devices;

namespace ZeroCopyDaemon.Nic;

/// <summary>
/// A modelled NIC: RX queues with a ring of header buffers, a ring of data pages and a completion queue each; a DMA engine that places frames, RSS, checksum offload, interrupt
/// moderation, a TX ring with TSO. "Hardware" side: <see cref="ReceiveFromWire"/>, <see cref="ProcessTx"/>. Driver side: <see cref="NicDriver"/>.
/// Single-threaded.
/// </summary>
public sealed class NicModel : ICounterSource
{
    private static InvalidOperationException Stub => new("stub");

    public NicModel(NicOptions options, PoolGeometry geometry) => Options = options;

    public NicOptions Options { get; }

    /// <summary>The wire; set once, before traffic.</summary>
    public IWirePort? Wire { get; set; }

    /// <summary>Link state; while down, frames in either direction are dropped and counted (carrier errors).</summary>
    public bool LinkUp { get; set; } = true;

    /// <summary>A frame arrives from the wire: DMA into posted buffers, or a drop counted by reason. Returns false if it was dropped.</summary>
    public bool ReceiveFromWire(in TxFrame frame, long nowUs) => throw Stub;

    /// <summary>With <see cref="NicOptions.PauseFrames"/>: true while posted buffers are low and the wire's sender should hold back.</summary>
    public bool RxPaused => throw Stub;

    /// <summary>Works off the TX ring onto the wire (segmenting, completing checksums) until done or the wire holds back. Returns wire frames carried.</summary>
    public int ProcessTx(long nowUs) => throw Stub;

    /// <summary>When the next moderated interrupt is due, or <see cref="long.MaxValue"/>.</summary>
    public long NextInterruptUs => throw Stub;

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor) => throw Stub;
}

/// <summary>
/// The NIC's driver: keeps the RX rings filled from the page pool, polls completions NAPI-style, makes fragments of what the DMA engine wrote and hands frames to the stack; for the stack it
/// is the <see cref="IFrameDevice"/>. Single-threaded.
/// </summary>
public sealed class NicDriver : IFrameDevice, ICounterSource, IDisposable
{
    private static InvalidOperationException Stub => new("stub");

    /// <summary>Posts the RX rings full at once; throws <see cref="InvalidOperationException"/> if the pool has too few pages for them (needs rings plus a quarter).</summary>
    public NicDriver(NicModel nic, PagePool pool)
    {
    }

    /// <summary>
    /// NAPI: per RX queue, if its interrupt is due (or the queue is being polled already), hands at most <paramref name="budget"/> frames to <paramref name="receiver"/>, refills the ring, and goes back
    /// to interrupts when the queue ran empty. Returns frames handed up.
    /// </summary>
    public int Poll(long nowUs, int budget, IFrameReceiver receiver) => throw Stub;

    /// <summary>True while some queue is being polled (budget was exhausted) or its interrupt is due: call <see cref="Poll"/> without sleeping.</summary>
    public bool NeedsPoll(long nowUs) => throw Stub;

    /// <inheritdoc/>
    public int Mtu => throw Stub;

    /// <inheritdoc/>
    public bool TxChecksumOffload => throw Stub;

    /// <inheritdoc/>
    public int MaxTsoBytes => throw Stub;

    /// <inheritdoc/>
    public int MaxChunks => throw Stub;

    /// <inheritdoc/>
    public bool TryTransmit(in TxFrame frame) => throw Stub;

    /// <inheritdoc/>
    public long TxPosted => throw Stub;

    /// <inheritdoc/>
    public long TxCompleted => throw Stub;

    /// <summary>Takes all posted pages back (for a clean end: afterwards every page is free).</summary>
    public void Dispose() => throw Stub;

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor) => throw Stub;
}
