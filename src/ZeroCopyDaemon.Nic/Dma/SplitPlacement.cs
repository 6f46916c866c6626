using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Nic.Rx;

namespace ZeroCopyDaemon.Nic.Dma;

/// <summary>Headers into a header buffer, payload from the start of a fresh data page on. A frame without payload takes no page.</summary>
internal sealed class SplitPlacement(PoolGeometry geometry) : DmaPlacement(geometry)
{
    public override DmaResult Place(RxQueue queue, ref IncomingFrame frame, long nowUs)
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

        WriteHeaders(queue, ref frame, written: 0);
        ScatterAndComplete(queue, ref frame, written: 1);
        return DmaResult.Placed;
    }
}
