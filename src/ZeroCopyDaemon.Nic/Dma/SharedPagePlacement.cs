using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Nic.Rx;

namespace ZeroCopyDaemon.Nic.Dma;

/// <summary>
/// What <see cref="PackedPlacement"/> and <see cref="MergePlacement"/> have in common: payload goes on behind what is in an open page, from there into fresh pages, and the last one stays open.
/// </summary>
/// <param name="geometry">The pool's; its headroom is where payload begins in a fresh page.</param>
/// <param name="lineBytes">Each frame's payload begins at a multiple of this; with less left than this, a page is finished.</param>
internal abstract unsafe class SharedPagePlacement(PoolGeometry geometry, int lineBytes) : DmaPlacement(geometry)
{
    private readonly int _pageSize = geometry.PageSize;

    /// <summary>Fresh pages that payload takes beyond the open one.</summary>
    protected int FreshPages(in OpenPage open, int payload) => PagesFor(Math.Max(0, payload - (open.IsOpen ? _pageSize - open.Position : 0)));

    /// <summary>Completions that a frame's headers and payload take.</summary>
    protected static int CompletionsFor(in OpenPage open, int payload, int freshPages) => 1 + freshPages + (open.IsOpen && payload > 0 ? 1 : 0);

    /// <summary>
    /// Writes the frame's payload on from where the open page stands, and publishes the frame's completions, of which <paramref name="written"/> are written already.
    /// </summary>
    protected void FillAndComplete(RxQueue queue, ref IncomingFrame frame, ref OpenPage open, int written)
    {
        DataBytes += frame.Remaining;
        while (frame.Remaining > 0)
        {
            if (!open.IsOpen)
            {
                open = OpenPage.From(queue.Pages.Pop(), Headroom);
            }

            int length = Math.Min(frame.Remaining, _pageSize - open.Position);
            frame.WriteTo(open.Address + open.Position, length);
            ref RxCompletion completion = ref queue.Completions.Reserve(written++);
            completion = new RxCompletion { Buffer = open.Page, Offset = open.Position, Length = length };
            open.Position = (open.Position + length + lineBytes - 1) & -lineBytes;
            if (_pageSize - open.Position < lineBytes)
            {
                completion.Flags = RxCompletionFlags.PageFinished;
                open = default;
            }
        }

        CompleteFrame(queue, frame, written);
    }
}
