using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Devices;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>
/// What a connection has been given to send, by reference, in stream order: [acknowledged and not taken back][sent or to be sent]. Positions count bytes from the first one after SYN.
/// The ring grows by doubling up to its limit, so that an idle connection has none.
/// </summary>
internal unsafe struct SendQueue(int limit)
{
    private Entry[]? _ring;
    private int _head;
    private int _count;
    private int _acked;
    private int _done;
    private int _cursor;
    private long _cursorPosition;

    private struct Entry
    {
        public SendItem Item;
        public long DoneAt;
        public bool More;
    }

    /// <summary>One beyond the last byte queued.</summary>
    public long End { get; private set; }

    /// <summary>Position of the first byte of the first item that is not acknowledged in full.</summary>
    private long _unackedStart;

    public readonly int Free => limit - _count;

    /// <summary>True if items are acknowledged that the device may still read.</summary>
    public readonly bool IsDeviceReading => _acked > _done;

    /// <summary>True if the last item queued came with "more follows".</summary>
    public readonly bool EndsWithMore => _count > _acked && _ring![(_head + _count - 1) & (_ring.Length - 1)].More;

    public void Add(in SendItem item, bool more)
    {
        Invariant.That(_count < limit, "a send is queued only where there is room");
        if (_ring is null || _count == _ring.Length)
        {
            Grow();
        }

        _ring![(_head + _count) & (_ring.Length - 1)] = new Entry { Item = item, More = more };
        _count++;
        End += item.Length;
    }

    /// <summary>
    /// Fills chunks with the bytes from <paramref name="position"/> on, at most <paramref name="maxBytes"/>. Returns the bytes gathered.
    /// </summary>
    public int Gather(long position, int maxBytes, Span<TxChunk> chunks, out int chunkCount)
    {
        Seek(position);
        chunkCount = 0;
        int gathered = 0;
        int index = _cursor;
        long start = _cursorPosition;
        while (gathered < maxBytes && chunkCount < chunks.Length && index < _count)
        {
            ref SendItem item = ref _ring![(_head + index) & (_ring.Length - 1)].Item;
            int offset = (int)(position + gathered - start);
            int length = Math.Min(item.Length - offset, maxBytes - gathered);
            chunks[chunkCount++] = new TxChunk(item.Pointer + offset, length);
            gathered += length;
            if (offset + length == item.Length)
            {
                start += item.Length;
                index++;
            }
        }

        if (index < _count)
        {
            _cursor = index;
            _cursorPosition = start;
        }

        return gathered;
    }

    /// <summary>Everything before <paramref name="position"/> was acknowledged; frames up to <paramref name="posted"/> may still read it. True if items became done.</summary>
    public bool Acknowledge(long position, long posted)
    {
        bool any = false;
        while (_acked < _count)
        {
            ref Entry entry = ref _ring![(_head + _acked) & (_ring.Length - 1)];
            if (_unackedStart + entry.Item.Length > position)
            {
                break;
            }

            _unackedStart += entry.Item.Length;
            entry.DoneAt = posted;
            _acked++;
            any = true;
        }

        if (_cursor < _acked)
        {
            _cursor = _acked;
            _cursorPosition = _unackedStart;
        }

        return any;
    }

    /// <summary>The device has completed so many frames. True if items became free to be taken back by that.</summary>
    public bool AdvanceDone(long completed)
    {
        bool any = false;
        while (_done < _acked && _ring![(_head + _done) & (_ring.Length - 1)].DoneAt <= completed)
        {
            _done++;
            any = true;
        }

        return any;
    }

    /// <summary>The connection is over: every item is done once the device is.</summary>
    public void Abandon(long posted) => Acknowledge(long.MaxValue, posted);

    /// <summary>Takes the oldest done item back; its fragment, if it was one, is released.</summary>
    public bool TryTake(PagePool pool, long completed, out SendItem item)
    {
        if (_done == 0 && !AdvanceDone(completed))
        {
            item = default;
            return false;
        }

        item = _ring![_head].Item;
        if (item.Fragment != PagePool.NoFragment)
        {
            pool.Release(item.Fragment);
        }

        _head = (_head + 1) & (_ring.Length - 1);
        _count--;
        _acked--;
        _done--;
        _cursor--;
        return true;
    }

    private void Seek(long position)
    {
        Invariant.That(position >= _unackedStart && position < End, "only bytes that are queued and not acknowledged are sent");
        if (position < _cursorPosition || _cursor >= _count)
        {
            _cursor = _acked;
            _cursorPosition = _unackedStart;
        }

        while (true)
        {
            int length = _ring![(_head + _cursor) & (_ring.Length - 1)].Item.Length;
            if (position < _cursorPosition + length)
            {
                return;
            }

            _cursorPosition += length;
            _cursor++;
        }
    }

    private void Grow()
    {
        var larger = new Entry[_ring is null ? 8 : _ring.Length * 2];
        for (int i = 0; i < _count; i++)
        {
            larger[i] = _ring![(_head + i) & (_ring.Length - 1)];
        }

        _ring = larger;
        _head = 0;
    }
}
