using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Nic.Rx;

namespace ZeroCopyDaemon.Nic.Dma;

/// <summary>
/// Headers into a header buffer; payloads one behind the other in the queue's open page, whatever their flows, each from a cache line's start, so that no two frames share a line. What
/// doesn't fit goes on in the next page. A page is finished when less than a line of it is left; one that nothing more comes for stays open, and costs the queue one page.
/// </summary>
internal sealed class PackedPlacement(PoolGeometry geometry, int queues) : SharedPagePlacement(geometry with { Headroom = FirstByte(geometry) }, LineBytes)
{
    /// <summary>Bytes of a cache line.</summary>
    public const int LineBytes = 64;

    private readonly OpenPage[] _open = new OpenPage[queues];

    /// <summary>Where payload begins in a fresh page: at the first cache line behind the headroom.</summary>
    public static int FirstByte(PoolGeometry geometry) => (geometry.Headroom + LineBytes - 1) & -LineBytes;

    public override DmaResult Place(RxQueue queue, ref IncomingFrame frame, long nowUs)
    {
        ref OpenPage open = ref _open[queue.Number];
        int payload = frame.Length - frame.HeaderLength;
        int fresh = FreshPages(open, payload);
        if (queue.Pages.Count < fresh || queue.HeaderBuffers.Count == 0)
        {
            return DmaResult.OutOfBuffers;
        }

        if (queue.Completions.Free < CompletionsFor(open, payload, fresh))
        {
            return DmaResult.CompletionQueueFull;
        }

        WriteHeaders(queue, ref frame, written: 0);
        FillAndComplete(queue, ref frame, ref open, written: 1);
        return DmaResult.Placed;
    }

    public override bool TryTakeOpenPage(RxQueue queue, out int page)
    {
        ref OpenPage open = ref _open[queue.Number];
        page = open.Page;
        bool taken = open.IsOpen;
        open = default;
        return taken;
    }
}
