using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Nic.Rx;

namespace ZeroCopyDaemon.Nic.Dma;

/// <summary>Headers into a header buffer, payload from the start of a fresh data page on. A frame without payload takes no page.</summary>
internal sealed unsafe class SplitPlacement(PoolGeometry geometry) : DmaPlacement(geometry)
{
    public override DmaResult Place(RxQueue queue, ref IncomingFrame frame)
    {
        int pages = PagesFor(frame.Length - frame.HeaderLength);
        if (queue.Pages.Count < pages || queue.HeaderBuffers.Count == 0)
        {
            return DmaResult.OutOfBuffers;
        }

        if (queue.Completions.Free < pages + 1)
        {
            return DmaResult.CompletionQueueFull;
        }

        int buffer = queue.HeaderBuffers.Pop();
        frame.WriteTo(queue.HeaderAddress(buffer), frame.HeaderLength);
        HeaderBytes += frame.HeaderLength;
        HeaderSplits++;
        queue.Completions.Reserve(0) = new RxCompletion
        {
            Buffer = buffer,
            Length = frame.HeaderLength,
            Flags = RxCompletionFlags.HeaderBuffer,
        };
        ScatterAndComplete(queue, ref frame, written: 1);
        return DmaResult.Placed;
    }
}
