using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;

namespace ZeroCopyDaemon.Nic.Rx;

/// <summary>
/// One RX queue: the rings that the driver posts empty buffers on, the completion queue that the NIC answers on, the header buffers themselves, and the queue's interrupt.
/// A buffer is in one place at a time: on its ring, in a completion, or with the driver.
/// </summary>
internal sealed unsafe class RxQueue
{
    /// <summary>Bytes of a header buffer: four cache lines.</summary>
    public const int HeaderBufferBytes = 256;

    private readonly PinnedMemory<byte>? _headerMemory;
    private readonly int _lowMark;
    private readonly int _highMark;

    /// <param name="number">The queue's number.</param>
    /// <param name="options">Validated settings.</param>
    /// <param name="geometry">The pool's.</param>
    /// <param name="maxPagesPerFrame">Pages that the longest frame takes.</param>
    /// <param name="openPages">Pages that the DMA engine may keep open for what is to come.</param>
    public RxQueue(int number, NicOptions options, PoolGeometry geometry, int maxPagesPerFrame, int openPages)
    {
        Number = number;
        Pages = new DescriptorRing<RxDescriptor>(options.RxRingSize);
        HeaderBuffers = new DescriptorRing<int>(options.RxRingSize);
        Completions = new DescriptorRing<RxCompletion>(options.EffectiveCompletionQueueSize);
        Interrupt = new InterruptModeration(options.RxUsecs, options.RxFrames);
        if (options.DirectReceive && options.Placement != Placement.None)
        {
            HeaderPages = new HeaderPages(options.RxRingSize, geometry);
        }
        else
        {
            _headerMemory = new PinnedMemory<byte>(options.RxRingSize * HeaderBufferBytes);
        }

        // A paused sender may have one frame under way, so a ring that is not low yet must have room for the longest.
        _lowMark = Math.Max(options.RxRingSize / 4, maxPagesPerFrame);
        // A page that stays open is never posted again by itself: the ring is as full as it gets without it.
        _highMark = Math.Clamp(Math.Max(options.RxRingSize / 2, 2 * maxPagesPerFrame), 1, options.RxRingSize - openPages);
    }

    public int Number { get; }

    /// <summary>Posted data pages.</summary>
    public DescriptorRing<RxDescriptor> Pages { get; }

    /// <summary>Posted header buffers, by number.</summary>
    public DescriptorRing<int> HeaderBuffers { get; }

    /// <summary>With direct receive: the pool pages that the header buffers lie in.</summary>
    public HeaderPages? HeaderPages { get; }

    /// <summary>What the NIC has written and the driver not yet taken.</summary>
    public DescriptorRing<RxCompletion> Completions { get; }

    public InterruptModeration Interrupt { get; }

    /// <summary>Pages that the driver has posted and not taken back: on the ring, with the DMA engine, or in a completion. The driver's to count.</summary>
    public int PagesHeld { get; set; }

    /// <summary>Frames placed.</summary>
    public long Packets { get; set; }

    /// <summary>Bytes of the frames placed.</summary>
    public long Bytes { get; set; }

    /// <summary>True from when posted buffers ran low until they are plenty again; see <see cref="UpdatePressure"/>.</summary>
    public bool RunsLow { get; private set; }

    /// <summary>First byte of a header buffer.</summary>
    public byte* HeaderAddress(int buffer)
    {
        Invariant.That((uint)buffer < (uint)HeaderBuffers.Capacity, "a header buffer's number lies within the queue");
        return _headerMemory is null ? HeaderPages!.Address(buffer) : _headerMemory.Pointer + (buffer * HeaderBufferBytes);
    }

    /// <summary>
    /// Looks again at how many buffers are posted: below a quarter of the ring it runs low, from half on it doesn't any more. Returns true if it has just begun to run low.
    /// </summary>
    public bool UpdatePressure()
    {
        int posted = Math.Min(Pages.Count, HeaderBuffers.Count);
        bool before = RunsLow;
        RunsLow = posted < (before ? _highMark : _lowMark);
        return RunsLow && !before;
    }
}
