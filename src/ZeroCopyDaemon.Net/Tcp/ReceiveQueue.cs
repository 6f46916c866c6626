using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Tcp.Recovery;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>
/// Received payload by reference: in order and waiting for a receive, or out of order and held aside, sorted by sequence number. Nothing overlaps: what is there already is trimmed off what
/// comes, by moving offsets. The connection that owns it has charged every page.
/// </summary>
internal struct ReceiveQueue
{
    private FragmentQueue _inOrder;
    private int _outOfOrderHead;
    private int _outOfOrderTail;

    public static ReceiveQueue Create() => new() { _inOrder = FragmentQueue.Empty, _outOfOrderHead = PagePool.NoFragment, _outOfOrderTail = PagePool.NoFragment };

    public readonly long ReadableBytes => _inOrder.Bytes;

    public int OutOfOrderCount { get; private set; }

    public readonly bool HasOutOfOrder => _outOfOrderHead != PagePool.NoFragment;

    /// <summary>
    /// Appends a chain that begins exactly at <paramref name="next"/>, then whatever was held aside and now fits. Moves <paramref name="next"/> and <paramref name="streamOffset"/> on.
    /// <paramref name="duplicate"/> is the first contiguous range of what was held aside and has come again.
    /// </summary>
    public void AppendInOrder(PagePool pool, int head, int connection, ref SeqNumber next, ref long streamOffset, DropCounters drops, out SackRange duplicate)
    {
        duplicate = default;
        while (head != PagePool.NoFragment)
        {
            int following = pool[head].Next;
            Append(pool, head, connection, ref next, ref streamOffset);
            head = following;
        }

        while (_outOfOrderHead != PagePool.NoFragment && new SeqNumber(pool[_outOfOrderHead].Sequence) <= next)
        {
            int slot = RemoveOutOfOrderHead(pool);
            int overlap = next - new SeqNumber(pool[slot].Sequence);
            if (overlap > 0)
            {
                duplicate = duplicate.Extend(new SackRange(new SeqNumber(pool[slot].Sequence), SeqNumber.Min(End(pool, slot), next)));
            }

            if (overlap >= pool[slot].Length)
            {
                drops.Count(DropReason.TCP_OFOMERGE);
                Discard(pool, slot);
                continue;
            }

            TrimFront(pool, slot, overlap);
            Append(pool, slot, connection, ref next, ref streamOffset);
        }
    }

    /// <summary>
    /// Holds a chain aside that begins at <paramref name="sequence"/>. <paramref name="streamOffset"/> is that byte's. Bytes that are there already are dropped; <paramref name="duplicate"/> is the
    /// first contiguous range of them.
    /// </summary>
    public void AddOutOfOrder(PagePool pool, int head, int connection, SeqNumber sequence, long streamOffset, DropCounters drops, out SackRange duplicate)
    {
        duplicate = default;
        while (head != PagePool.NoFragment)
        {
            ref Fragment fragment = ref pool[head];
            int following = fragment.Next;
            int length = fragment.Length;
            fragment.Next = PagePool.NoFragment;
            fragment.Sequence = sequence.Value;
            fragment.StreamOffset = streamOffset;
            fragment.Connection = connection;
            fragment.State = FragmentState.OutOfOrder;
            Insert(pool, head, drops, ref duplicate);
            sequence += length;
            streamOffset += length;
            head = following;
        }
    }

    /// <summary>Takes bytes off the front; see <see cref="TcpConnection.Receive"/>.</summary>
    public int Take(PagePool pool, int maxBytes, int maxFragments, out int head)
    {
        head = PagePool.NoFragment;
        int tail = PagePool.NoFragment;
        int taken = 0;
        while (maxFragments-- > 0 && taken < maxBytes && _inOrder.Head != PagePool.NoFragment)
        {
            int slot = _inOrder.Head;
            int length = pool[slot].Length;
            if (length > maxBytes - taken)
            {
                if (!MaySplit(pool) || pool.Split(slot, maxBytes - taken) == PagePool.NoFragment)
                {
                    break;
                }

                // The rest took its place in the queue, right behind.
                if (_inOrder.Tail == slot)
                {
                    _inOrder.Tail = pool[slot].Next;
                }

                _inOrder.Count++;
                length = maxBytes - taken;
            }

            _inOrder.RemoveHead(pool);
            if (tail == PagePool.NoFragment)
            {
                head = slot;
            }
            else
            {
                pool[tail].Next = slot;
            }

            tail = slot;
            taken += length;
        }

        return taken;
    }

    /// <summary>
    /// A slot for each page that is free or posted stays back: whoever reads byte by byte and holds every lease must not use up the slots that the NIC needs to receive anything at all.
    /// </summary>
    public static bool MaySplit(PagePool pool) => pool.FragmentsInUse + pool.FreePages + pool.PostedPages < pool.FragmentCapacity;

    /// <summary>Drops everything held aside, to make room for what is in order: it was not acknowledged and will be sent again. Returns fragments dropped.</summary>
    public int Prune(PagePool pool, DropCounters drops)
    {
        int pruned = 0;
        while (_outOfOrderHead != PagePool.NoFragment)
        {
            pool.Release(RemoveOutOfOrderHead(pool));
            drops.Count(DropReason.TCP_OFO_QUEUE_PRUNE);
            pruned++;
        }

        return pruned;
    }

    /// <summary>Releases everything.</summary>
    public void Clear(PagePool pool)
    {
        _inOrder.Clear(pool);
        while (_outOfOrderHead != PagePool.NoFragment)
        {
            pool.Release(RemoveOutOfOrderHead(pool));
        }
    }

    internal static void Discard(PagePool pool, int slot)
    {
        if (!Faults.IsOn(Fault.FragmentLeaked))
        {
            pool.Release(slot);
        }
    }

    private void Append(PagePool pool, int slot, int connection, ref SeqNumber next, ref long streamOffset)
    {
        ref Fragment fragment = ref pool[slot];
        fragment.State = FragmentState.Queued;
        fragment.Connection = connection;
        fragment.Sequence = next.Value;
        fragment.StreamOffset = streamOffset;
        next += fragment.Length;
        streamOffset += fragment.Length;
        _inOrder.Append(pool, slot);
    }

    private void Insert(PagePool pool, int slot, DropCounters drops, ref SackRange duplicate)
    {
        int previous = FindPrevious(pool, new SeqNumber(pool[slot].Sequence));
        if (previous != PagePool.NoFragment)
        {
            int overlap = End(pool, previous) - new SeqNumber(pool[slot].Sequence);
            if (overlap >= pool[slot].Length)
            {
                duplicate = duplicate.Extend(new SackRange(new SeqNumber(pool[slot].Sequence), End(pool, slot)));
                drops.Count(DropReason.TCP_OFOMERGE);
                Discard(pool, slot);
                return;
            }

            if (overlap > 0)
            {
                duplicate = duplicate.Extend(new SackRange(new SeqNumber(pool[slot].Sequence), End(pool, previous)));
                TrimFront(pool, slot, overlap);
            }
        }

        int next = previous == PagePool.NoFragment ? _outOfOrderHead : pool[previous].Next;
        while (next != PagePool.NoFragment)
        {
            int overlap = End(pool, slot) - new SeqNumber(pool[next].Sequence);
            if (overlap <= 0)
            {
                break;
            }

            duplicate = duplicate.Extend(new SackRange(new SeqNumber(pool[next].Sequence), SeqNumber.Min(End(pool, next), End(pool, slot))));
            if (End(pool, next) > End(pool, slot))
            {
                pool[slot].Length -= overlap;
                break;
            }

            int covered = next;
            next = pool[next].Next;
            OutOfOrderCount--;
            drops.Count(DropReason.TCP_OFOMERGE);
            Discard(pool, covered);
        }

        if (pool[slot].Length == 0)
        {
            // Began where the next one begins.
            Link(pool, previous, next);
            drops.Count(DropReason.TCP_OFOMERGE);
            Discard(pool, slot);
            return;
        }

        pool[slot].Next = next;
        Link(pool, previous, slot);
        if (next == PagePool.NoFragment)
        {
            _outOfOrderTail = slot;
        }

        OutOfOrderCount++;
    }

    private void Link(PagePool pool, int previous, int slot)
    {
        if (previous == PagePool.NoFragment)
        {
            _outOfOrderHead = slot;
        }
        else
        {
            pool[previous].Next = slot;
        }
    }

    /// <summary>The last fragment that begins at or before a sequence number. Mostly the tail: a sender goes forward.</summary>
    private readonly int FindPrevious(PagePool pool, SeqNumber sequence)
    {
        if (_outOfOrderTail != PagePool.NoFragment && new SeqNumber(pool[_outOfOrderTail].Sequence) <= sequence)
        {
            return _outOfOrderTail;
        }

        int previous = PagePool.NoFragment;
        for (int slot = _outOfOrderHead; slot != PagePool.NoFragment && new SeqNumber(pool[slot].Sequence) <= sequence; slot = pool[slot].Next)
        {
            previous = slot;
        }

        return previous;
    }

    private int RemoveOutOfOrderHead(PagePool pool)
    {
        int slot = _outOfOrderHead;
        _outOfOrderHead = pool[slot].Next;
        if (_outOfOrderHead == PagePool.NoFragment)
        {
            _outOfOrderTail = PagePool.NoFragment;
        }

        pool[slot].Next = PagePool.NoFragment;
        OutOfOrderCount--;
        return slot;
    }

    private static SeqNumber End(PagePool pool, int slot) => new SeqNumber(pool[slot].Sequence) + pool[slot].Length;

    private static void TrimFront(PagePool pool, int slot, int bytes)
    {
        ref Fragment fragment = ref pool[slot];
        fragment.Offset += bytes;
        fragment.Length -= bytes;
        fragment.Sequence += (uint)bytes;
        fragment.StreamOffset += bytes;
    }
}
