using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Nic.Rx;
using ZeroCopyDaemon.Nic.Tx;

namespace ZeroCopyDaemon.Nic;

/// <summary>
/// The NIC's driver: keeps the RX rings filled from the page pool, polls completions NAPI-style, makes fragments of what the DMA engine wrote and hands frames to the stack; for the stack it
/// is the <see cref="IFrameDevice"/>. Every page it took from the pool it gives back: to the stack as fragments, or on <see cref="Dispose"/>. Single-threaded.
/// </summary>
public sealed unsafe class NicDriver : IFrameDevice, ICounterSource, IDisposable
{
    private readonly NicModel _nic;
    private readonly PagePool _pool;
    private readonly TxEngine _tx;
    private readonly int _firstByte;
    private readonly bool _mixesFlows;
    private bool _disposed;
    private long _polls;
    private long _budgetExhausted;
    private long _allocFailed;
    private long _fragmentsExhausted;
    private long _payloadBytes;
    private long _payloadPageBytes;

    /// <summary>Posts the RX rings full at once; throws <see cref="InvalidOperationException"/> if the pool has too few pages for them (needs rings plus a quarter).</summary>
    public NicDriver(NicModel nic, PagePool pool)
    {
        ArgumentNullException.ThrowIfNull(nic);
        ArgumentNullException.ThrowIfNull(pool);
        if (pool.Geometry != nic.Geometry)
        {
            throw new ArgumentException($"The NIC was made for {nic.Geometry}, but the pool is {pool.Geometry}.");
        }

        _nic = nic;
        _pool = pool;
        _tx = nic.Tx;
        _firstByte = nic.Options.FirstByte(pool.Geometry);
        _mixesFlows = nic.Options.Placement == Placement.Packed;
        int ring = nic.Options.RxRingSize * nic.Options.RxQueues;
        int needed = ring + (ring / 4);
        if (pool.FreePages < needed)
        {
            throw new InvalidOperationException(
                $"{nic.Options.RxQueues} RX queues of {nic.Options.RxRingSize} pages need a pool with {needed} free pages (a quarter more than the rings), "
                + $"but it has {pool.FreePages}: make the pool larger, or the RX rings smaller or fewer.");
        }

        foreach (RxQueue queue in nic.RxQueues)
        {
            if (queue.Pages.Count != 0 || queue.HeaderBuffers.Count != 0)
            {
                throw new InvalidOperationException("The NIC has a driver already.");
            }

            for (int buffer = 0; buffer < queue.HeaderBuffers.Capacity && queue.HeaderPages is null; buffer++)
            {
                queue.HeaderBuffers.Push(buffer);
            }

            for (int place = 0; place < queue.HeaderPages?.Places; place++)
            {
                FillHeaderPage(queue, place);
            }

            queue.Interrupt.Enable();
            Refill(queue);
        }
    }

    /// <summary>What received payload makes of the pages that it takes.</summary>
    public RxPageUse PageUse => new(_payloadBytes, _payloadPageBytes);

    /// <inheritdoc/>
    public int Mtu => _nic.Mtu;

    /// <inheritdoc/>
    public bool TxChecksumOffload => _nic.Options.TxChecksumOffload;

    /// <inheritdoc/>
    public int MaxTsoBytes => _nic.Options.EffectiveTso ? TxEngine.MaxTsoBytes : 0;

    /// <inheritdoc/>
    public int MaxChunks => TxDescriptor.MaxChunks;

    /// <inheritdoc/>
    public long TxPosted => _tx.Posted;

    /// <inheritdoc/>
    public long TxCompleted => _tx.Completed;

    /// <summary>
    /// NAPI: per RX queue, if its interrupt is due (or the queue is being polled already), hands at most <paramref name="budget"/> frames to <paramref name="receiver"/>, refills the ring, and goes back
    /// to interrupts when the queue ran empty. Returns frames handed up.
    /// </summary>
    public int Poll(long nowUs, int budget, IFrameReceiver receiver)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        int received = 0;
        foreach (RxQueue queue in _nic.RxQueues)
        {
            _nic.RunTimers(queue, nowUs);
            if (!queue.Interrupt.Enabled || queue.Interrupt.TryRaise(nowUs))
            {
                received += PollQueue(queue, nowUs, budget, receiver);
                Refill(queue);
            }
            else if (LacksPages(queue))
            {
                // The pool was empty when the queue was last refilled, and nothing may come in to make us look again.
                Refill(queue);
            }
        }

        return received;
    }

    /// <summary>
    /// True while some queue is being polled (budget was exhausted), its interrupt is due, the NIC has a page to flush, or its ring lacks pages that the pool has again: call <see cref="Poll"/> without sleeping.
    /// </summary>
    public bool NeedsPoll(long nowUs)
    {
        foreach (RxQueue queue in _nic.RxQueues)
        {
            if (!queue.Interrupt.Enabled || queue.Interrupt.DueUs <= nowUs || LacksPages(queue) || _nic.IsFlushDue(queue, nowUs))
            {
                return !_disposed;
            }
        }

        return false;
    }

    /// <inheritdoc/>
    public bool TryTransmit(in TxFrame frame)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return _tx.TryPost(frame);
    }

    /// <summary>Takes all posted pages back (for a clean end: afterwards every page is free). Frames on the TX ring are completed unsent.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        foreach (RxQueue queue in _nic.RxQueues)
        {
            while (queue.Completions.Count > 0)
            {
                RxCompletion completion = queue.Completions.Pop();
                if ((completion.Flags & RxCompletionFlags.PageFinished) != 0)
                {
                    EndPosting(queue, completion.Buffer);
                }
            }

            while (_nic.TryTakeOpenPage(queue, out int page))
            {
                EndPosting(queue, page);
            }

            while (queue.Pages.Count > 0)
            {
                EndPosting(queue, queue.Pages.Pop().Page);
            }

            queue.HeaderBuffers.Skip(queue.HeaderBuffers.Count);
            for (int place = 0; place < queue.HeaderPages?.Places; place++)
            {
                if (queue.HeaderPages.PageAt(place) >= 0)
                {
                    _pool.EndPosting(queue.HeaderPages.PageAt(place));
                }
            }

            queue.HeaderPages?.Clear();
            queue.Interrupt.Disable();
            Invariant.That(queue.PagesHeld == 0, "a driver takes back every page it posted");
        }

        _tx.Abandon();
    }

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        visitor.Counter("nic.rx_polls", _polls);
        visitor.Counter("nic.rx_poll_budget", _budgetExhausted);
        visitor.Counter("nic.rx_alloc_failed", _allocFailed);
        visitor.Counter("nic.rx_fragments_exhausted", _fragmentsExhausted);
        visitor.Counter("rx.payload_bytes", _payloadBytes);
        visitor.Counter("rx.payload_page_bytes", _payloadPageBytes);
    }

    // A few missing pages are no reason for an extra poll: the queue's next one brings them. But a sender that is paused causes no next one.
    private bool LacksPages(RxQueue queue) =>
        _pool.FreePages > 0 && queue.PagesHeld < queue.Pages.Capacity && (queue.RunsLow || queue.PagesHeld < queue.Pages.Capacity / 2);

    private int PollQueue(RxQueue queue, long nowUs, int budget, IFrameReceiver receiver)
    {
        _polls++;
        int received = 0;
        for (int work = 0; work < budget && queue.Completions.Count > 0; work++)
        {
            received += ReceiveFrame(queue, nowUs, receiver) ? 1 : 0;
        }

        if (queue.Completions.Count == 0)
        {
            queue.Interrupt.Enable();
        }
        else
        {
            _budgetExhausted++;
        }

        return received;
    }

    /// <summary>Takes one frame's completions, makes fragments of its payload, and hands it up. False if it had to be dropped, or if all there was is word of a finished page.</summary>
    private bool ReceiveFrame(RxQueue queue, long nowUs, IFrameReceiver receiver)
    {
        RxCompletion completion = queue.Completions.Pop();
        if ((completion.Flags & RxCompletionFlags.NoFrame) != 0)
        {
            EndPosting(queue, completion.Buffer);
            return false;
        }

        int headerBuffer = -1;
        int headerPage = -1;
        int skip = 0;
        ReadOnlySpan<byte> headers;
        if ((completion.Flags & RxCompletionFlags.HeaderBuffer) != 0)
        {
            headerBuffer = completion.Buffer;
            headers = new ReadOnlySpan<byte>(queue.HeaderAddress(headerBuffer), completion.Length);
        }
        else
        {
            // Placement `none`: the headers lead the first page, which therefore stays ours until the stack has read them.
            headers = new ReadOnlySpan<byte>(_pool.PageAddress(completion.Buffer) + completion.Offset, completion.Length);
            skip = HeaderDissector.Dissect(headers).HeaderLength;
            headers = headers[..skip];
            headerPage = (completion.Flags & RxCompletionFlags.PageFinished) != 0 ? completion.Buffer : -1;
        }

        int head = PagePool.NoFragment;
        int tail = PagePool.NoFragment;
        int payloadLength = 0;
        bool complete = true;
        bool keepsBuffer = false;
        while (true)
        {
            if ((completion.Flags & RxCompletionFlags.HeaderPayload) != 0)
            {
                (int page, int offset) = queue.HeaderPages!.Locate(completion.Buffer);
                complete = TryAppend(ref head, ref tail, page, offset + completion.Offset, completion.Length);
                payloadLength += completion.Length;
                keepsBuffer = complete;
            }
            else if ((completion.Flags & RxCompletionFlags.HeaderBuffer) == 0)
            {
                int length = completion.Length - skip;
                if (length > 0 && (completion.Offset == _firstByte || (completion.Flags & RxCompletionFlags.PageBegun) != 0))
                {
                    // The first payload in this page, of however many frames it may come to hold.
                    _payloadPageBytes += _pool.Geometry.PageSize;
                }

                if (length > 0 && complete)
                {
                    complete = TryAppend(ref head, ref tail, completion.Buffer, completion.Offset + skip, length);
                    payloadLength += length;
                }

                skip = 0;
                if ((completion.Flags & RxCompletionFlags.PageFinished) != 0)
                {
                    if (completion.Buffer != headerPage)
                    {
                        EndPosting(queue, completion.Buffer);
                    }
                }
            }

            if ((completion.Flags & RxCompletionFlags.EndOfPacket) != 0)
            {
                break;
            }

            completion = queue.Completions.Pop();
        }

        try
        {
            if (complete)
            {
                _payloadBytes += payloadLength;
                receiver.Receive(new RxFrame(headers, head, payloadLength, completion.Checksum, completion.RssHash), nowUs);
            }
            else
            {
                _fragmentsExhausted++;
                _pool.ReleaseChain(head);
            }
        }
        finally
        {
            if (keepsBuffer)
            {
                KeepBuffer(queue, headerBuffer);
            }
            else if (headerBuffer >= 0)
            {
                queue.HeaderBuffers.Push(headerBuffer);
            }

            if (headerPage >= 0)
            {
                EndPosting(queue, headerPage);
            }
        }

        return complete;
    }

    private bool TryAppend(ref int head, ref int tail, int page, int offset, int length)
    {
        int slot = _pool.AddFragment(page, offset, length);
        if (slot == PagePool.NoFragment)
        {
            return false;
        }

        if (tail == PagePool.NoFragment)
        {
            head = slot;
        }
        else
        {
            _pool[tail].Next = slot;
        }

        tail = slot;
        return true;
    }

    private void Refill(RxQueue queue)
    {
        // A page in a completion that waits for us still counts: so a slow driver neither draws the pool empty nor lets the completion queue overflow.
        while (queue.PagesHeld < queue.Pages.Capacity)
        {
            if (!_pool.TryPost(out int page))
            {
                _allocFailed++;
                break;
            }

            if (_mixesFlows)
            {
                _pool.MarkShared(page);
            }

            queue.Pages.Push(new RxDescriptor { Address = _pool.PageAddress(page), Page = page });
            queue.PagesHeld++;
        }

        if (queue.HeaderPages is { Missing: > 0 } headers && _pool.FreePages > 0 && headers.TryTakeVacant(out int place))
        {
            FillHeaderPage(queue, place);
        }

        _nic.UpdatePressure(queue);
    }

    private void FillHeaderPage(RxQueue queue, int place)
    {
        bool posted = _pool.TryPost(out int page);
        Invariant.That(posted, "a header page is asked for when the pool has one");
        _pool.MarkShared(page);
        queue.HeaderPages!.Fill(place, page, _pool.PageAddress(page), out int first, out int count);
        for (int buffer = first; buffer < first + count; buffer++)
        {
            queue.HeaderBuffers.Push(buffer);
        }
    }

    /// <summary>Payload lies in a header buffer: it goes with its page when all buffers of that page have gone so.</summary>
    private void KeepBuffer(RxQueue queue, int buffer)
    {
        if (queue.HeaderPages!.Keep(buffer, out int page))
        {
            _pool.EndPosting(page);
        }
    }

    private void EndPosting(RxQueue queue, int page)
    {
        queue.PagesHeld--;
        _pool.EndPosting(page);
    }
}
