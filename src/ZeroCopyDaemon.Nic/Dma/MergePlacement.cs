using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Nic.Rx;

namespace ZeroCopyDaemon.Nic.Dma;

/// <summary>
/// Headers into a header buffer; successive in-order payloads of one TCP flow end to end in that flow's open page, and on into the next one, so that whole pages come to hold nothing but the
/// stream. (ConnectX-7's split header and merge payload, SHAMPO, does it like this.) Each frame is handed up by itself, at once: what is merged is where payload lies, not when it comes.
/// <para>A run ends, and its page is finished, when a segment is not the next one (out of order, or sent again), isn't plain data, when no segment came for a while
/// (<see cref="NicOptions.MergeFlushUs"/>), or when its context is wanted for another flow. The next payload then begins on a fresh page. Payload of anything but TCP lies as under <see cref="Placement.Split"/>.</para>
/// </summary>
internal sealed class MergePlacement : SharedPagePlacement
{
    private readonly MergeTable[] _tables;
    private readonly long _flushUs;

    public MergePlacement(NicOptions options, PoolGeometry geometry)
        : base(geometry, lineBytes: 1)
    {
        _tables = new MergeTable[options.RxQueues];
        for (int queue = 0; queue < _tables.Length; queue++)
        {
            _tables[queue] = new MergeTable(options.OpenPagesPerQueue(geometry));
        }

        _flushUs = options.MergeFlushUs;
    }

    public override DmaResult Place(RxQueue queue, ref IncomingFrame frame, long nowUs)
    {
        MergeTable table = _tables[queue.Number];
        var segment = new MergeSegment(frame);
        int context = segment.IsTcp ? table.Find(segment.Flow) : MergeTable.None;
        int ended = EndedBy(segment, table, context, nowUs);
        bool continues = segment.IsData && context != MergeTable.None && ended == MergeTable.None;
        bool finishes = ended != MergeTable.None && table[ended].Open.IsOpen;
        OpenPage open = continues ? table[context].Open : default;
        int payload = frame.Length - frame.HeaderLength;
        int fresh = FreshPages(open, payload);
        if (queue.Pages.Count < fresh || queue.HeaderBuffers.Count == 0)
        {
            return DmaResult.OutOfBuffers;
        }

        if (queue.Completions.Free < CompletionsFor(open, payload, fresh) + (finishes ? 1 : 0))
        {
            return DmaResult.CompletionQueueFull;
        }

        int written = 0;
        if (ended != MergeTable.None)
        {
            if (finishes)
            {
                WritePageFinished(queue, table[ended].Open.Page, written++);
            }

            MergeEvictions += segment.IsData && ended != context ? 1 : 0;
            table.Remove(ended);
        }

        WriteHeaders(queue, ref frame, written++);
        if (!segment.IsData)
        {
            ScatterAndComplete(queue, ref frame, written);
            return DmaResult.Placed;
        }

        if (continues)
        {
            MergeMatches++;
        }
        else
        {
            MergeRuns++;
            context = table.Add(segment.Flow);
        }

        FillAndComplete(queue, ref frame, ref open, written);
        table.Touch(context);
        ref MergeContext run = ref table[context];
        run.Open = open;
        run.NextSequence = segment.Sequence + (uint)segment.PayloadBytes;
        run.DueUs = nowUs + _flushUs;
        return DmaResult.Placed;
    }

    /// <inheritdoc/>
    public override long NextFlushUs(RxQueue queue)
    {
        MergeTable table = _tables[queue.Number];

        // With no room to say that a page is finished, it's the driver's turn first.
        return table.Oldest == MergeTable.None || queue.Completions.Free == 0 ? long.MaxValue : table[table.Oldest].DueUs;
    }

    /// <inheritdoc/>
    public override void Flush(RxQueue queue, long nowUs)
    {
        MergeTable table = _tables[queue.Number];
        while (NextFlushUs(queue) <= nowUs)
        {
            int context = table.Oldest;
            if (table[context].Open.IsOpen)
            {
                WritePageFinished(queue, table[context].Open.Page, written: 0);
                queue.Completions.Publish(1);
                queue.Interrupt.OnFrame(nowUs);
            }

            MergeFlushes++;
            table.Remove(context);
        }
    }

    public override bool TryTakeOpenPage(RxQueue queue, out int page)
    {
        MergeTable table = _tables[queue.Number];
        while (table.Oldest != MergeTable.None)
        {
            OpenPage open = table[table.Oldest].Open;
            table.Remove(table.Oldest);
            if (open.IsOpen)
            {
                page = open.Page;
                return true;
            }
        }

        page = -1;
        return false;
    }

    /// <summary>The context whose run this segment puts an end to, be it by wanting a context itself; <see cref="MergeTable.None"/>: no one's.</summary>
    private static int EndedBy(in MergeSegment segment, MergeTable table, int context, long nowUs)
    {
        if (segment.IsData)
        {
            return context == MergeTable.None
                ? (table.IsFull ? table.Oldest : MergeTable.None)
                : table[context].NextSequence != segment.Sequence || table[context].DueUs <= nowUs ? context : MergeTable.None;
        }

        return segment.EndsRun ? context : MergeTable.None;
    }

    private static void WritePageFinished(RxQueue queue, int page, int written) =>
        queue.Completions.Reserve(written) = new RxCompletion { Buffer = page, Flags = RxCompletionFlags.PageFinished | RxCompletionFlags.NoFrame };
}
