using System.Runtime.CompilerServices;

namespace ZeroCopyDaemon.Memory.Rings;

/// <summary>
/// The writing end of a single-producer, single-consumer ring in shared memory. Indices are free-running u32s, so that full and empty differ. This side writes the entries and the tail;
/// the head is the peer's and is believed only as far as it makes sense: it may move from where it was to what has been published, no further. One thread at a time; allocates nothing.
/// It owns no memory: the mapping must outlive it.
/// </summary>
/// <typeparam name="T">A descriptor of fixed size.</typeparam>
public sealed unsafe class RingProducer<T>
    where T : unmanaged
{
    private readonly byte* _entries;
    private readonly uint* _ownTail;
    private readonly uint* _peerHead;
    private readonly uint _capacity;
    private RingCursors _cursors;

    /// <summary>Goes on from the tail that is in memory already; 0 in a fresh area.</summary>
    /// <param name="entries">Room for <paramref name="capacity"/> entries.</param>
    /// <param name="capacity">Entries; a power of two.</param>
    /// <param name="ownTail">u32 that this side alone writes.</param>
    /// <param name="peerHead">u32 that the consumer writes.</param>
    public RingProducer(byte* entries, int capacity, byte* ownTail, byte* peerHead)
    {
        RingGeometry.Check(capacity, entries, ownTail, peerHead);
        _entries = entries;
        _capacity = (uint)capacity;
        _ownTail = (uint*)ownTail;
        _peerHead = (uint*)peerHead;
        uint tail = *_ownTail;
        _cursors.Next = tail;
        _cursors.Published = tail;

        // The furthest that a head can be behind: what is really read from the peer is then checked like any later value.
        _cursors.Peer = tail - _capacity;
    }

    /// <summary>Entries the ring has room for.</summary>
    public int Capacity => (int)_capacity;

    /// <summary>The peer's index was out of range: sticky, nothing is written any more.</summary>
    public bool Corrupt => _cursors.Corrupt;

    /// <summary>Entries that can be written at least. Looks at the peer's index only when the ring looks full.</summary>
    public int Free
    {
        get
        {
            uint free = _capacity - (_cursors.Next - _cursors.Peer);
            if (free == 0)
            {
                free = Refresh();
            }

            return (int)free;
        }
    }

    /// <summary>Entries written and not yet published.</summary>
    public int Unpublished => (int)(_cursors.Next - _cursors.Published);

    /// <summary>Whether so many entries can be written. Looks at the peer's index only when it seems that they can't.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool HasRoomFor(int count) =>
        _capacity - (_cursors.Next - _cursors.Peer) >= (uint)count || Refresh() >= (uint)count;

    /// <summary>Writes an entry, which the peer doesn't see before <see cref="Publish"/>. False: the ring is full, or corrupt.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryWrite(in T entry)
    {
        uint next = _cursors.Next;
        if (next - _cursors.Peer == _capacity && Refresh() == 0)
        {
            return false;
        }

        ((T*)_entries)[next & (_capacity - 1)] = entry;
        _cursors.Next = next + 1;
        return true;
    }

    /// <summary>Lets the peer see what was written (release). True if there was anything.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Publish()
    {
        uint next = _cursors.Next;
        if (next == _cursors.Published)
        {
            return false;
        }

        _cursors.Published = next;
        Volatile.Write(ref *_ownTail, next);
        return true;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private uint Refresh()
    {
        if (_cursors.Corrupt)
        {
            return 0;
        }

        // Acquire: our overwriting an entry must not come before the peer's last look at it.
        uint head = Volatile.Read(ref *_peerHead);
        if (head - _cursors.Peer > _cursors.Published - _cursors.Peer)
        {
            // Looks full from now on, so the fast path needs no look at the flag.
            _cursors.Corrupt = true;
            _cursors.Peer = _cursors.Next - _capacity;
            return 0;
        }

        _cursors.Peer = head;
        return _capacity - (_cursors.Next - head);
    }
}
