using System.Runtime.CompilerServices;

namespace ZeroCopyDaemon.Memory.Rings;

/// <summary>
/// The reading end of a single-producer, single-consumer ring in shared memory. An entry is copied out once, so that what is validated is what is used, whatever the peer writes meanwhile.
/// The tail is the peer's and is believed only as far as it makes sense: it may move from where it was to one capacity beyond what was retired, no further. One thread at a time; allocates nothing.
/// It owns no memory: the mapping must outlive it.
/// </summary>
/// <typeparam name="T">A descriptor of fixed size.</typeparam>
public sealed unsafe class RingConsumer<T>
    where T : unmanaged
{
    private readonly byte* _entries;
    private readonly uint* _ownHead;
    private readonly uint* _peerTail;
    private readonly uint _capacity;
    private RingCursors _cursors;

    /// <summary>Goes on from the head that is in memory already; 0 in a fresh area.</summary>
    /// <param name="entries">Room for <paramref name="capacity"/> entries.</param>
    /// <param name="capacity">Entries; a power of two.</param>
    /// <param name="ownHead">u32 that this side alone writes.</param>
    /// <param name="peerTail">u32 that the producer writes.</param>
    public RingConsumer(byte* entries, int capacity, byte* ownHead, byte* peerTail)
    {
        RingGeometry.Check(capacity, entries, ownHead, peerTail);
        _entries = entries;
        _capacity = (uint)capacity;
        _ownHead = (uint*)ownHead;
        _peerTail = (uint*)peerTail;
        uint head = *_ownHead;
        _cursors.Next = head;
        _cursors.Published = head;
        _cursors.Peer = head;
    }

    /// <summary>Entries the ring has room for.</summary>
    public int Capacity => (int)_capacity;

    /// <summary>The peer's index was out of range: sticky, nothing is read any more.</summary>
    public bool Corrupt => _cursors.Corrupt;

    /// <summary>Entries that can be read at least. Looks at the peer's index only when the ring looks empty.</summary>
    public int Available
    {
        get
        {
            uint available = _cursors.Peer - _cursors.Next;
            if (available == 0)
            {
                available = Refresh();
            }

            return (int)available;
        }
    }

    /// <summary>Copies the next entry out. False: the ring is empty, or corrupt. The entry's place is the peer's again after <see cref="Retire"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryRead(out T entry)
    {
        uint next = _cursors.Next;
        if (next == _cursors.Peer && Refresh() == 0)
        {
            entry = default;
            return false;
        }

        entry = ((T*)_entries)[next & (_capacity - 1)];
        _cursors.Next = next + 1;
        return true;
    }

    /// <summary>Gives the places of all entries read so far back to the peer (release). True if there were any.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Retire()
    {
        uint next = _cursors.Next;
        if (next == _cursors.Published)
        {
            return false;
        }

        _cursors.Published = next;
        Volatile.Write(ref *_ownHead, next);
        return true;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private uint Refresh()
    {
        if (_cursors.Corrupt)
        {
            return 0;
        }

        // Acquire: the entries' contents must not be read before the index that says they are there.
        uint tail = Volatile.Read(ref *_peerTail);
        if (tail - _cursors.Peer > _capacity - (_cursors.Peer - _cursors.Published))
        {
            _cursors.Corrupt = true;
            _cursors.Peer = _cursors.Next;
            return 0;
        }

        _cursors.Peer = tail;
        return tail - _cursors.Next;
    }
}
