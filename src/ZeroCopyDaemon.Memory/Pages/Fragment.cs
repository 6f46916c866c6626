namespace ZeroCopyDaemon.Memory.Pages;

/// <summary>Where a page is in its life.</summary>
public enum PageState : byte
{
    /// <summary>On the pool's free list.</summary>
    Free,

    /// <summary>A NIC holds the one reference: the page is on its RX ring, or open for more while everything that was in it has been given back.</summary>
    Posted,

    /// <summary>Holds at least one fragment.</summary>
    InUse,
}

/// <summary>Who holds a fragment. Each fragment has exactly one holder.</summary>
public enum FragmentState : byte
{
    /// <summary>The slot is on the free list.</summary>
    Free,

    /// <summary>DMA is done; the driver or the stack is working on it and no queue has it yet.</summary>
    Received,

    /// <summary>On the receive queue (in order) of <see cref="Fragment.Connection"/>.</summary>
    Queued,

    /// <summary>Held aside by <see cref="Fragment.Connection"/> (or by IP reassembly, connection -1) until what comes before it arrives.</summary>
    OutOfOrder,

    /// <summary>Leased to worker <see cref="Fragment.Worker"/>.</summary>
    Leased,

    /// <summary>On the send queue of <see cref="Fragment.Connection"/> until the peer has acknowledged it.</summary>
    Transmitting,
}

/// <summary>
/// A piece of a page that has one holder. Lives in the private memory of the process that owns the pool; nothing that a worker
/// writes can reach it. Identified by its slot number; <see cref="PagePool.NoFragment"/> means none.
/// </summary>
public struct Fragment
{
    /// <summary>Page number.</summary>
    public int Page;

    /// <summary>Byte offset of the first payload byte within the page.</summary>
    public int Offset;

    /// <summary>Payload bytes. 0 only transiently, while a holder trims.</summary>
    public int Length;

    /// <summary>Next slot in the chain or queue this fragment is on, or <see cref="PagePool.NoFragment"/>.</summary>
    public int Next;

    /// <summary>Holder: the connection's id, or -1.</summary>
    public int Connection;

    /// <summary>TCP sequence number of the first byte while queued or out of order (for the holder's use; not interpreted here).</summary>
    public uint Sequence;

    /// <summary>Counts the slot's uses; with the slot number it makes a lease that can't be forged by repetition.</summary>
    public uint Generation;

    /// <summary>Holder: the worker's id while leased, else 0.</summary>
    public ushort Worker;

    /// <summary>Kind of holder.</summary>
    public FragmentState State;

    /// <summary>For the holder's use.</summary>
    public byte Flags;

    /// <summary>How it is paid for; the pool's own.</summary>
    internal int ChargeMark;

    /// <summary>Offset of the first byte in the connection's received stream, counted from 0, for the inspector.</summary>
    public long StreamOffset;
}

/// <summary>
/// A singly linked queue of fragments, by slot number. A plain value: the owner keeps it in a field and passes the pool to each call.
/// Not thread-safe.
/// </summary>
public struct FragmentQueue
{
    /// <summary>An empty queue. A <c>default</c> one is not valid: slot 0 is a real slot.</summary>
    public static FragmentQueue Empty => new() { Head = PagePool.NoFragment, Tail = PagePool.NoFragment };

    /// <summary>First slot or <see cref="PagePool.NoFragment"/>.</summary>
    public int Head;

    /// <summary>Last slot or <see cref="PagePool.NoFragment"/>.</summary>
    public int Tail;

    /// <summary>Number of fragments.</summary>
    public int Count;

    /// <summary>Payload bytes in all fragments together.</summary>
    public long Bytes;

    /// <summary>Appends one fragment whose <see cref="Fragment.Next"/> is overwritten.</summary>
    public void Append(PagePool pool, int slot)
    {
        ref Fragment fragment = ref pool[slot];
        fragment.Next = PagePool.NoFragment;
        if (Tail == PagePool.NoFragment)
        {
            Head = slot;
        }
        else
        {
            pool[Tail].Next = slot;
        }

        Tail = slot;
        Count++;
        Bytes += fragment.Length;
    }

    /// <summary>Takes the first fragment off; the queue must not be empty.</summary>
    public int RemoveHead(PagePool pool)
    {
        int slot = Head;
        Invariant.That(slot != PagePool.NoFragment, "a fragment is only taken from a queue that has one");
        ref Fragment fragment = ref pool[slot];
        Head = fragment.Next;
        if (Head == PagePool.NoFragment)
        {
            Tail = PagePool.NoFragment;
        }

        fragment.Next = PagePool.NoFragment;
        Count--;
        Bytes -= fragment.Length;
        return slot;
    }

    /// <summary>Releases every fragment back to the pool.</summary>
    public void Clear(PagePool pool)
    {
        while (Head != PagePool.NoFragment)
        {
            pool.Release(RemoveHead(pool));
        }
    }
}
