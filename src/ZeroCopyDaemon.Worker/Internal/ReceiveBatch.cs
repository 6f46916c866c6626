using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using ZeroCopyDaemon.Memory;

namespace ZeroCopyDaemon.Worker.Internal;

/// <summary>
/// The leases of one receive. Filled by the loop, then the application's; when the last of its leases has gone (released, or sent on) it is used for another receive, under another version, so
/// that whoever kept a <see cref="Lease"/> or a <see cref="Received"/> of it is found out. Different leases may be released by different threads.
/// </summary>
internal sealed unsafe class ReceiveBatch(WorkerCore core)
{
    private Entry[] _entries = new Entry[4];
    private uint _version = 1;
    private int _live;

    private struct Entry
    {
        public ulong Lease;
        public byte* Data;
        public int Length;

        /// <summary>The batch's version while the application holds this lease; 0 from the moment it doesn't.</summary>
        public uint Held;

        /// <summary>Part of it was copied out, so what is left is not what the kernel would send for it.</summary>
        public bool Partial;

        public PageSegment? Segment;
    }

    public WorkerCore Core => core;

    public uint Version => _version;

    public int Count { get; private set; }

    public int Length { get; private set; }

    /// <summary>The next batch of the idle list.</summary>
    public ReceiveBatch? NextIdle { get; set; }

    public void Add(ulong lease, byte* data, int length)
    {
        if (Count == _entries.Length)
        {
            Array.Resize(ref _entries, Count * 2);
        }

        ref Entry entry = ref _entries[Count++];
        entry.Lease = lease;
        entry.Data = data;
        entry.Length = length;
        entry.Held = _version;
        entry.Partial = false;
        Length += length;
        _live++;
    }

    public ReadOnlySpan<byte> Span(int index, uint version)
    {
        ref Entry entry = ref Held(index, version);
        return new ReadOnlySpan<byte>(entry.Data, entry.Length);
    }

    public int LengthOf(int index, uint version) => Held(index, version).Length;

    public bool IsHeld(int index, uint version) => Volatile.Read(ref _entries[index].Held) == version;

    /// <summary>All of it as one sequence over the pages.</summary>
    public ReadOnlySequence<byte> Sequence(uint version, int count)
    {
        PageSegment? first = null;
        PageSegment? last = null;
        for (int i = 0; i < count; i++)
        {
            ref Entry entry = ref Held(i, version);
            PageSegment segment = entry.Segment ??= new PageSegment(this, i);
            last = segment.Set(entry.Data, entry.Length, version, last);
            first ??= segment;
        }

        return last is null ? default : new ReadOnlySequence<byte>(first!, 0, last, last.Memory.Length);
    }

    /// <summary>Gives one lease back to the kernel; not yet published.</summary>
    public void Release(int index, uint version)
    {
        ulong lease = _entries[index].Lease;
        if (Interlocked.CompareExchange(ref _entries[index].Held, 0, version) != version)
        {
            ThrowGone();
        }

        core.SubmitRelease(lease);
        DropOne();
    }

    /// <summary>Gives back what is still held; not yet published. Returns how many leases that were.</summary>
    public int ReleaseHeld(uint version, int count)
    {
        int released = 0;
        for (int i = 0; i < count && Volatile.Read(ref _version) == version; i++)
        {
            ulong lease = _entries[i].Lease;
            if (Interlocked.CompareExchange(ref _entries[i].Held, 0, version) == version)
            {
                core.SubmitRelease(lease);
                released++;
                DropOne();
            }
        }

        return released;
    }

    /// <summary>Takes a lease from the application for a send.</summary>
    public void TakeForSend(int index, uint version, out ulong lease, out int length)
    {
        ref Entry entry = ref Held(index, version);
        if (entry.Partial)
        {
            throw new InvalidOperationException("Part of this lease was copied out before, so it can't be sent as a whole: send its bytes.");
        }

        lease = entry.Lease;
        length = entry.Length;
        if (Interlocked.CompareExchange(ref entry.Held, 0, version) != version)
        {
            ThrowGone();
        }

        DropOne();
    }

    /// <summary>
    /// Copies out, and releases what was copied entirely: for a receive into the caller's buffer, before the application has seen the batch. Returns bytes copied. What is left, if
    /// anything, stays at the front of the batch; if not, the batch is already in use for something else.
    /// </summary>
    public int Drain(Span<byte> destination, out bool left)
    {
        uint version = _version;
        int count = Count;
        int copied = 0;
        left = false;
        for (int i = 0; i < count; i++)
        {
            ref Entry entry = ref _entries[i];
            int bytes = Math.Min(entry.Length, destination.Length - copied);
            new ReadOnlySpan<byte>(entry.Data, bytes).CopyTo(destination[copied..]);
            if (core.FindLoss())
            {
                // The page may have been given to somebody else while it was copied.
                ReleaseHeld(version, count);
                throw core.LostException();
            }

            copied += bytes;
            Length -= bytes;
            core.Count(Protocol.WorkerCounter.RxPayloadCopiedBytes, bytes);
            if (bytes == entry.Length)
            {
                Release(i, version);
                continue;
            }

            entry.Data += bytes;
            entry.Length -= bytes;
            entry.Partial |= bytes > 0;
            left = true;
            DropFront(i);
            break;
        }

        return copied;
    }

    /// <summary>Leaves the first entries, which are released, out.</summary>
    private void DropFront(int entries)
    {
        for (int i = 0; entries > 0 && i + entries < Count; i++)
        {
            ref Entry from = ref _entries[i + entries];
            ref Entry to = ref _entries[i];

            // Each segment is made for its place and stays there.
            PageSegment? segment = to.Segment;
            to = from;
            to.Segment = segment;
            from.Held = 0;
        }

        Count -= entries;
    }

    private ref Entry Held(int index, uint version)
    {
        ref Entry entry = ref _entries[index];
        if (Volatile.Read(ref entry.Held) != version)
        {
            ThrowGone();
        }

        if (core.FindLoss())
        {
            throw core.LostException();
        }

        return ref entry;
    }

    private void DropOne()
    {
        int live = Interlocked.Decrement(ref _live);
        Invariant.That(live >= 0, "a batch has as many leases as were added");
        if (live == 0)
        {
            Count = 0;
            Length = 0;

            // 0 means "not held".
            _version = _version == uint.MaxValue ? 1 : _version + 1;
            core.Recycle(this);
        }
    }

    private static void ThrowGone() =>
        throw new InvalidOperationException("This lease was released or sent before: its page is the kernel's again, and may hold other data already.");

    /// <summary>One lease as a link of a <see cref="ReadOnlySequence{T}"/>.</summary>
    [SuppressMessage("Reliability", "CA1001:Types that own disposable fields should be disposable", Justification = "A memory manager over a mapping owns nothing that could be disposed.")]
    private sealed class PageSegment : ReadOnlySequenceSegment<byte>
    {
        private readonly PageMemory _memory;

        public PageSegment(ReceiveBatch batch, int index)
        {
            _memory = new PageMemory(batch, index);
        }

        public PageSegment Set(byte* data, int length, uint version, PageSegment? before)
        {
            _memory.Set(data, length, version);
            Memory = _memory.Memory;
            Next = null;
            RunningIndex = 0;
            if (before is not null)
            {
                RunningIndex = before.RunningIndex + before.Memory.Length;
                before.Next = this;
            }

            return this;
        }
    }

    private sealed class PageMemory(ReceiveBatch batch, int index) : MemoryManager<byte>
    {
        private byte* _data;
        private int _length;
        private uint _version;

        public override Memory<byte> Memory => CreateMemory(_length);

        public void Set(byte* data, int length, uint version)
        {
            _data = data;
            _length = length;
            _version = version;
        }

        public override Span<byte> GetSpan()
        {
            batch.Held(index, _version);
            return new Span<byte>(_data, _length);
        }

        public override MemoryHandle Pin(int elementIndex = 0)
        {
            batch.Held(index, _version);
            return new MemoryHandle(_data + elementIndex);
        }

        public override void Unpin()
        {
        }

        protected override void Dispose(bool disposing)
        {
        }
    }
}
