using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Nic.Rx;

namespace ZeroCopyDaemon.Nic.Dma;

/// <summary>What became of a frame that was to be placed.</summary>
internal enum DmaResult
{
    /// <summary>It lies in buffers, and its completions are published.</summary>
    Placed,

    /// <summary>Too few buffers are posted; none was taken.</summary>
    OutOfBuffers,

    /// <summary>The completion queue has too little room; no buffer was taken.</summary>
    CompletionQueueFull,
}

/// <summary>
/// How the DMA engine lays frames down in posted buffers. It takes all that a frame needs, or nothing. What it tells the driver is in the completions alone: a placement that keeps a
/// page open over several frames completes each of them in the same page and marks the page finished in the last of them, or, if nothing more comes for it, in a completion of its own.
/// </summary>
internal abstract unsafe class DmaPlacement(PoolGeometry geometry)
{
    /// <summary>Bytes of a page behind its headroom.</summary>
    protected int UsablePageBytes { get; } = geometry.PageSize - geometry.Headroom;

    protected int Headroom { get; } = geometry.Headroom;

    /// <summary>Bytes written into data pages.</summary>
    public long DataBytes { get; protected set; }

    /// <summary>Bytes written into header buffers.</summary>
    public long HeaderBytes { get; protected set; }

    /// <summary>Frames whose headers went to a header buffer.</summary>
    public long HeaderSplits { get; protected set; }

    /// <summary>Runs of merged payload begun.</summary>
    public long MergeRuns { get; protected set; }

    /// <summary>Segments whose payload went on with a run.</summary>
    public long MergeMatches { get; protected set; }

    /// <summary>Runs that ended since no segment came for a while.</summary>
    public long MergeFlushes { get; protected set; }

    /// <summary>Runs that ended since another flow wanted the context.</summary>
    public long MergeEvictions { get; protected set; }

    /// <summary>The engine for a placement.</summary>
    public static DmaPlacement Create(NicOptions options, PoolGeometry geometry) => options.Placement switch
    {
        Placement.None => new NonePlacement(geometry),
        Placement.Split => new SplitPlacement(geometry),
        Placement.Packed => new PackedPlacement(geometry, options.RxQueues),
        Placement.Merge => new MergePlacement(options, geometry),
        _ => throw new ArgumentException($"There is no placement {options.Placement}."),
    };

    /// <summary>Lays one frame down.</summary>
    public abstract DmaResult Place(RxQueue queue, ref IncomingFrame frame, long nowUs);

    /// <summary>When <see cref="Flush"/> has something to do on a queue; <see cref="long.MaxValue"/> = it hasn't.</summary>
    public virtual long NextFlushUs(RxQueue queue) => long.MaxValue;

    /// <summary>Finishes pages that have been open for long enough without anything coming for them.</summary>
    public virtual void Flush(RxQueue queue, long nowUs)
    {
    }

    /// <summary>
    /// Takes a page that is held open on the queue away from the DMA engine, when the driver takes everything back. False when there is none (left).
    /// </summary>
    public virtual bool TryTakeOpenPage(RxQueue queue, out int page)
    {
        page = -1;
        return false;
    }

    /// <summary>Writes the frame's headers into a header buffer, with a completion at place <paramref name="written"/>.</summary>
    protected void WriteHeaders(RxQueue queue, ref IncomingFrame frame, int written)
    {
        int buffer = queue.HeaderBuffers.Pop();
        frame.WriteTo(queue.HeaderAddress(buffer), frame.HeaderLength);
        HeaderBytes += frame.HeaderLength;
        HeaderSplits++;
        queue.Completions.Reserve(written) = new RxCompletion
        {
            Buffer = buffer,
            Length = frame.HeaderLength,
            Flags = RxCompletionFlags.HeaderBuffer,
        };
    }

    /// <summary>Fresh pages that bytes take.</summary>
    protected int PagesFor(int bytes) => (int)((uint)(bytes + UsablePageBytes - 1) / (uint)UsablePageBytes);

    /// <summary>
    /// Writes the rest of the frame into fresh pages, one after the other, and publishes its completions: <paramref name="written"/> ones that are written already, and one per page.
    /// </summary>
    protected void ScatterAndComplete(RxQueue queue, ref IncomingFrame frame, int written)
    {
        DataBytes += frame.Remaining;
        while (frame.Remaining > 0)
        {
            RxDescriptor descriptor = queue.Pages.Pop();
            int length = Math.Min(frame.Remaining, UsablePageBytes);
            frame.WriteTo(descriptor.Address + Headroom, length);
            queue.Completions.Reserve(written++) = new RxCompletion
            {
                Buffer = descriptor.Page,
                Offset = Headroom,
                Length = length,
                Flags = RxCompletionFlags.PageFinished,
            };
        }

        CompleteFrame(queue, frame, written);
    }

    /// <summary>Publishes a frame's completions, and any written in front of them.</summary>
    protected static void CompleteFrame(RxQueue queue, in IncomingFrame frame, int written)
    {
        Invariant.That(written > 0, "a placed frame has a completion");
        ref RxCompletion last = ref queue.Completions.Reserve(written - 1);
        last.Flags |= RxCompletionFlags.EndOfPacket;
        last.Checksum = frame.Checksum;
        last.RssHash = frame.RssHash;
        queue.Completions.Publish(written);
    }
}
