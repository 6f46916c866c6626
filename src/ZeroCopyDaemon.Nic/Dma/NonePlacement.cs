using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Nic.Rx;

namespace ZeroCopyDaemon.Nic.Dma;

/// <summary>The whole frame, headers first, into fresh data pages.</summary>
internal sealed class NonePlacement(PoolGeometry geometry) : DmaPlacement(geometry)
{
    public override DmaResult Place(RxQueue queue, ref IncomingFrame frame, long nowUs)
    {
        int pages = PagesFor(frame.Length);
        if (queue.Pages.Count < pages)
        {
            return DmaResult.OutOfBuffers;
        }

        if (queue.Completions.Free < pages)
        {
            return DmaResult.CompletionQueueFull;
        }

        ScatterAndComplete(queue, ref frame, written: 0);
        return DmaResult.Placed;
    }
}
