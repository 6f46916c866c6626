using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Memory.Counters;

namespace ZeroCopyDaemon.Memory.Pages;

/// <summary>Is told when a page or fragment that was charged to a connection is given back.</summary>
public interface IPageChargeSink
{
    /// <summary>Takes <paramref name="bytes"/> of truesize off what <paramref name="connection"/> is charged. The connection may be gone.</summary>
    void Uncharge(int connection, int bytes);
}

/// <summary>What a lease that somebody named turned out to be.</summary>
public enum LeaseStatus
{
    /// <summary>A live lease of that worker.</summary>
    Valid,

    /// <summary>The slot exists but was released (or given to another use) since: a double release, or an old lease.</summary>
    Stale,

    /// <summary>A live lease, but another worker's.</summary>
    Foreign,

    /// <summary>No such slot, or a slot that isn't leased.</summary>
    Unknown,
}

/// <summary>
/// The page pool: which page is free, posted to a NIC or in use, the fragments in it, and who holds each of them. A page's reference count is
/// the number of its live fragments, plus one while a NIC is still filling it; at zero it goes back to the free list.
/// <para>The payload itself lies in memory that the caller mapped and keeps mapped for the pool's life; the pool never copies any of it. All
/// bookkeeping is in this process's private memory.</para>
/// <para>Single-threaded: every call comes from the thread that runs the stack.</para>
/// </summary>
public sealed unsafe partial class PagePool : ICounterSource
{
    /// <summary>The slot number that stands for no fragment.</summary>
    public const int NoFragment = -1;

    private readonly byte* _memory;
    private readonly PageEntry[] _pages;
    private readonly Fragment[] _fragments;
    private readonly int[] _freePages;
    private int _freePageCount;
    private int _postedCount;
    private int _freeFragment;
    private int _freeFragmentCount;
    private long _allocated;
    private long _recycled;
    private long _emptyCount;
    private long _fragmentsExhausted;
    private long _leased;
    private long _splits;

    private struct PageEntry
    {
        public int References;
        public int ChargedConnection;
        public int ChargedBytes;

        /// <summary>Fragments that <see cref="ChargedBytes"/> pays for.</summary>
        public int CoveredFragments;

        /// <summary>What the others are charged for themselves.</summary>
        public int FragmentChargedBytes;

        public uint Uses;
        public PageState State;
        public bool NicHold;
        public bool Shared;
    }

    /// <param name="memory">Start of <paramref name="geometry"/>.TotalBytes mapped bytes. The caller unmaps, after the pool's last use.</param>
    /// <param name="geometry">Sizes.</param>
    /// <param name="fragmentCapacity">Most fragments alive at once; 0 means four per page, which will do while no two frames share a page; else <see cref="PoolGeometry.FragmentsPerPage"/>.</param>
    public PagePool(byte* memory, PoolGeometry geometry, int fragmentCapacity = 0)
    {
        geometry.Validate();
        ArgumentNullException.ThrowIfNull(memory);
        _memory = memory;
        Geometry = geometry;
        if (fragmentCapacity == 0)
        {
            fragmentCapacity = checked(geometry.PageCount * 4);
        }

        _pages = GC.AllocateUninitializedArray<PageEntry>(geometry.PageCount, pinned: true);
        _fragments = GC.AllocateUninitializedArray<Fragment>(fragmentCapacity, pinned: true);
        _charges = GC.AllocateUninitializedArray<OwnCharge>(fragmentCapacity);
        InitializeCharges();
        _freePages = new int[geometry.PageCount];
        for (int page = 0; page < geometry.PageCount; page++)
        {
            _pages[page] = new PageEntry { ChargedConnection = -1 };
            _freePages[page] = geometry.PageCount - 1 - page;
        }

        _freePageCount = geometry.PageCount;
        for (int slot = 0; slot < fragmentCapacity; slot++)
        {
            _fragments[slot] = new Fragment { Next = slot + 1 < fragmentCapacity ? slot + 1 : NoFragment, Connection = -1 };
        }

        _freeFragment = 0;
        _freeFragmentCount = fragmentCapacity;
    }

    /// <summary>Sizes of the pool.</summary>
    public PoolGeometry Geometry { get; }

    /// <summary>Pages on the free list.</summary>
    public int FreePages => _freePageCount;

    /// <summary>Pages that a NIC holds and that have no fragment.</summary>
    public int PostedPages => _postedCount;

    /// <summary>Pages that hold at least one fragment.</summary>
    public int PagesInUse => Geometry.PageCount - _freePageCount - _postedCount;

    /// <summary>Most fragments that can be alive at once.</summary>
    public int FragmentCapacity => _fragments.Length;

    /// <summary>Fragments alive.</summary>
    public int FragmentsInUse => _fragments.Length - _freeFragmentCount;

    /// <summary>Who is told of charges that end; set once by the stack that charges.</summary>
    public IPageChargeSink? ChargeSink { get; set; }

    /// <summary>The fragment in a slot. The slot must be a live one that the caller holds.</summary>
    public ref Fragment this[int slot] => ref _fragments[slot];

    /// <summary>First byte of a page.</summary>
    public byte* PageAddress(int page)
    {
        Invariant.That((uint)page < (uint)Geometry.PageCount, "a page number lies within the pool");
        return _memory + ((long)page * Geometry.PageSize);
    }

    /// <summary>The payload of a fragment, in place.</summary>
    public Span<byte> Payload(int slot)
    {
        ref Fragment fragment = ref _fragments[slot];
        return new Span<byte>(PageAddress(fragment.Page) + fragment.Offset, fragment.Length);
    }

    /// <summary>First payload byte of a fragment, in place.</summary>
    public byte* PayloadAddress(int slot) => PageAddress(_fragments[slot].Page) + _fragments[slot].Offset;

    /// <summary>Byte offset of a fragment from the start of the pool's memory: what a worker is told.</summary>
    public long PoolOffset(int slot) => ((long)_fragments[slot].Page * Geometry.PageSize) + _fragments[slot].Offset;

    /// <summary>Takes a free page and gives it to a NIC's RX ring. False (and counted) when no page is free.</summary>
    public bool TryPost(out int page)
    {
        if (_freePageCount == 0)
        {
            _emptyCount++;
            page = -1;
            return false;
        }

        page = _freePages[--_freePageCount];
        ref PageEntry entry = ref _pages[page];
        Invariant.That(entry.State == PageState.Free && entry.References == 0, "a page on the free list is free");
        entry.State = PageState.Posted;
        entry.References = 1;
        entry.NicHold = true;
        entry.Uses++;
        _postedCount++;
        _allocated++;
        return true;
    }

    /// <summary>
    /// The NIC wrote payload into a page that it holds: makes a fragment (state <see cref="FragmentState.Received"/>, owned by the caller).
    /// Returns <see cref="NoFragment"/> (and counts) when the fragment table is full; the page is then as it was.
    /// </summary>
    public int AddFragment(int page, int offset, int length)
    {
        ref PageEntry entry = ref _pages[page];
        Invariant.That(entry.State != PageState.Free, "a fragment is only made in a page that somebody holds");
        Invariant.That(offset >= 0 && length > 0 && offset + length <= Geometry.PageSize, "a fragment lies within its page");
        int slot = TakeSlot();
        if (slot == NoFragment)
        {
            return NoFragment;
        }

        if (entry.State == PageState.Posted)
        {
            entry.State = PageState.InUse;
            _postedCount--;
        }

        entry.References++;
        ref Fragment fragment = ref _fragments[slot];
        fragment.Page = page;
        fragment.Offset = offset;
        fragment.Length = length;
        fragment.State = FragmentState.Received;
        return slot;
    }

    /// <summary>The NIC will write no more into this page (it is full, or was taken off the ring). Without fragments it becomes free.</summary>
    public void EndPosting(int page)
    {
        ref PageEntry entry = ref _pages[page];
        Invariant.That(entry.NicHold, "only a page that the NIC holds can leave the NIC");
        EndNicHold(ref entry);
        if (entry.State == PageState.Posted)
        {
            entry.State = PageState.InUse;
            _postedCount--;
        }

        DropReference(page, default);
    }

    /// <summary>
    /// Cuts a fragment in two without touching payload: <paramref name="slot"/> keeps the first <paramref name="length"/> bytes, the returned slot (same
    /// state, holder and chain position: the first one's Next is the second) has the rest. <see cref="NoFragment"/> when the table is full.
    /// </summary>
    public int Split(int slot, int length)
    {
        Invariant.That(length > 0 && length < _fragments[slot].Length, "a split leaves bytes on both sides");
        int rest = TakeSlot();
        if (rest == NoFragment)
        {
            return NoFragment;
        }

        ref Fragment first = ref _fragments[slot];
        ref Fragment second = ref _fragments[rest];
        uint generation = second.Generation;
        second = first;
        second.Generation = generation;
        second.Offset += length;
        second.Length -= length;
        second.Sequence += (uint)length;
        second.StreamOffset += length;
        first.Length = length;
        first.Next = rest;
        _pages[first.Page].References++;
        ShareCharge(first);
        _splits++;
        return rest;
    }

    /// <summary>Gives a fragment back. Its page is freed with its last reference; the charge, if any, is taken off.</summary>
    public void Release(int slot)
    {
        ref Fragment fragment = ref _fragments[slot];
        Invariant.That(fragment.State != FragmentState.Free, "a fragment is released once");
        int page = fragment.Page;
        (int Connection, int Bytes) charge = EndCharge(ref fragment);
        fragment.State = FragmentState.Free;
        fragment.Worker = 0;
        fragment.Connection = -1;
        fragment.Next = _freeFragment;
        _freeFragment = slot;
        _freeFragmentCount++;
        DropReference(page, charge);
    }

    /// <summary>Releases a whole chain, following <see cref="Fragment.Next"/>. <see cref="NoFragment"/> is an empty chain.</summary>
    public void ReleaseChain(int head)
    {
        while (head != NoFragment)
        {
            int next = _fragments[head].Next;
            Release(head);
            head = next;
        }
    }

    /// <summary>Marks a fragment as leased to a worker and returns the lease (generation in the upper half, slot in the lower).</summary>
    public ulong Lease(int slot, int worker)
    {
        ref Fragment fragment = ref _fragments[slot];
        Invariant.That(fragment.State is FragmentState.Queued or FragmentState.Received, "only a queued fragment is leased");
        Invariant.That(worker > 0 && worker <= ushort.MaxValue, "a lease goes to a worker");
        fragment.State = FragmentState.Leased;
        fragment.Worker = (ushort)worker;
        _leased++;
        return ((ulong)fragment.Generation << 32) | (uint)slot;
    }

    /// <summary>Looks up a lease that a worker named. Never throws: the lease is whatever the worker wrote.</summary>
    public LeaseStatus TryResolve(ulong lease, int worker, out int slot)
    {
        slot = NoFragment;
        uint index = (uint)lease;
        if (index >= (uint)_fragments.Length)
        {
            return LeaseStatus.Unknown;
        }

        ref Fragment fragment = ref _fragments[index];
        uint generation = (uint)(lease >> 32);
        if (generation != fragment.Generation)
        {
            return generation - 1 < fragment.Generation ? LeaseStatus.Stale : LeaseStatus.Unknown;
        }

        if (fragment.State != FragmentState.Leased)
        {
            return LeaseStatus.Stale;
        }

        if (fragment.Worker != worker)
        {
            return LeaseStatus.Foreign;
        }

        slot = (int)index;
        return LeaseStatus.Valid;
    }

    /// <summary>Releases every lease that a worker holds (it died or detached). Returns how many.</summary>
    public int ReclaimLeases(int worker)
    {
        int reclaimed = 0;
        for (int slot = 0; slot < _fragments.Length; slot++)
        {
            if (_fragments[slot].State == FragmentState.Leased && _fragments[slot].Worker == worker)
            {
                Release(slot);
                reclaimed++;
            }
        }

        return reclaimed;
    }

    /// <summary>State and reference count of a page, and whom it is charged to whole (-1: nobody).</summary>
    public (PageState State, int References, bool NicHold, uint Uses, int ChargedConnection) DescribePage(int page)
    {
        ref PageEntry entry = ref _pages[page];
        return (entry.State, entry.References, entry.NicHold, entry.Uses, entry.ChargedBytes != 0 ? entry.ChargedConnection : -1);
    }

    /// <summary>The state of every page into <paramref name="states"/>, which holds at least one element per page.</summary>
    public void CopyPageStates(Span<PageState> states)
    {
        for (int page = 0; page < _pages.Length; page++)
        {
            states[page] = _pages[page].State;
        }
    }

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        visitor.Counter("pool.pages", Geometry.PageCount);
        visitor.Counter("pool.page_bytes", Geometry.PageSize);
        visitor.Counter("pool.free", FreePages);
        visitor.Counter("pool.posted", PostedPages);
        visitor.Counter("pool.in_use", PagesInUse);
        visitor.Counter("pool.fragments", FragmentsInUse);
        visitor.Counter("pool.alloc", _allocated);
        visitor.Counter("pool.recycle", _recycled);
        visitor.Counter("pool.alloc_empty", _emptyCount);
        visitor.Counter("pool.fragments_exhausted", _fragmentsExhausted);
        visitor.Counter("pool.leases", _leased);
        visitor.Counter("pool.splits", _splits);
        visitor.Counter("pool.overcommitted_bytes", _overcommitted);
    }

    private int TakeSlot()
    {
        int slot = _freeFragment;
        if (slot == NoFragment)
        {
            _fragmentsExhausted++;
            return NoFragment;
        }

        ref Fragment fragment = ref _fragments[slot];
        Invariant.That(fragment.State == FragmentState.Free, "a slot on the free list is free");
        _freeFragment = fragment.Next;
        _freeFragmentCount--;
        uint generation = fragment.Generation + 1;
        fragment = new Fragment { Next = NoFragment, Connection = -1, Generation = generation == 0 ? 1 : generation };
        return slot;
    }

    /// <param name="page">The page that loses a fragment, or the NIC's hold.</param>
    /// <param name="own">The fragment's own charge, if that ends with it.</param>
    private void DropReference(int page, (int Connection, int Bytes) own)
    {
        ref PageEntry entry = ref _pages[page];
        Invariant.That(entry.References > 0, "a page in use has a reference");
        entry.References--;
        int connection = entry.ChargedConnection;
        int bytes = 0;
        if (entry.References == (entry.NicHold ? 1 : 0))
        {
            // Its last fragment is gone: nobody pays for it any more, though the NIC may not be done with it.
            bytes = entry.ChargedBytes;
            ChargePage(ref entry, 0);
            entry.ChargedConnection = -1;
            if (entry.NicHold)
            {
                entry.State = PageState.Posted;
                _postedCount++;
            }
            else
            {
                Invariant.That(entry.State == PageState.InUse, "a page without references is neither posted nor free");
                entry.State = PageState.Free;
                entry.Shared = false;
                _freePages[_freePageCount++] = page;
                _recycled++;
            }
        }

        if (own.Bytes != 0)
        {
            ChargeSink?.Uncharge(own.Connection, own.Bytes);
        }

        if (bytes != 0)
        {
            ChargeSink?.Uncharge(connection, bytes);
        }
    }

    /// <summary>
    /// Recounts everything from the fragments up and throws <see cref="InvariantViolationException"/> on the first difference. Walks the whole pool
    /// (about a microsecond per hundred pages): for tests, simulation, the inspector, and after a worker's death.
    /// </summary>
    public void CheckInvariants()
    {
        int[] references = new int[_pages.Length];
        int live = 0;
        for (int slot = 0; slot < _fragments.Length; slot++)
        {
            ref Fragment fragment = ref _fragments[slot];
            if (fragment.State == FragmentState.Free)
            {
                continue;
            }

            live++;
            references[fragment.Page]++;
            Invariant.That(
                fragment.Offset >= 0 && fragment.Length >= 0 && fragment.Offset + fragment.Length <= Geometry.PageSize,
                "a fragment lies within its page");
            Invariant.That((fragment.State == FragmentState.Leased) == (fragment.Worker != 0), "a leased fragment names its worker, no other does");
        }

        Invariant.That(live == FragmentsInUse, "live fragments plus free slots are all slots");
        int free = 0, posted = 0;
        for (int page = 0; page < _pages.Length; page++)
        {
            ref PageEntry entry = ref _pages[page];
            Invariant.That(
                entry.References == references[page] + (entry.NicHold ? 1 : 0),
                "a page's reference count is its fragments plus the NIC's hold");
            Invariant.That((entry.State == PageState.Free) == (entry.References == 0), "a page without references is free");
            Invariant.That((entry.State == PageState.Posted) == (entry.NicHold && references[page] == 0), "a posted page is one that the NIC holds and that has no fragments");
            free += entry.State == PageState.Free ? 1 : 0;
            posted += entry.State == PageState.Posted ? 1 : 0;
        }

        Invariant.That(free == _freePageCount && posted == _postedCount, "the counts of free and posted pages are right");
        CheckCharges();
    }
}
