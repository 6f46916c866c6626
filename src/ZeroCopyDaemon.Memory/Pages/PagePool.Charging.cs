namespace ZeroCopyDaemon.Memory.Pages;

/// <summary>
/// Who pays for a page. One that a single connection has bytes in is charged to it whole, once, however few bytes they are. In a page that many may have bytes in (<see cref="MarkShared"/>),
/// or that another one pays for, a fragment carries a charge of its own.
/// </summary>
public sealed unsafe partial class PagePool
{
    /// <summary>A fragment's own charge is a multiple of this.</summary>
    private const int ChargeUnit = 64;

    /// <summary>Of <see cref="Fragment.ChargeMark"/>: charged to nobody.</summary>
    private const int NotCharged = 0;

    /// <summary>Of <see cref="Fragment.ChargeMark"/>: what its page is charged with covers it. Above 0: the number of its own charge, plus one.</summary>
    private const int Covered = -1;

    private readonly OwnCharge[] _charges;
    private int _freeCharge;
    private long _overcommitted;

    /// <summary>What a fragment is charged for itself; pieces that it was split into share it, and the last of them takes it off.</summary>
    private struct OwnCharge
    {
        public int Connection;
        public int Bytes;

        /// <summary>Pieces alive; 0 on the free list.</summary>
        public int Pieces;

        public int NextFree;
    }

    /// <summary>
    /// Bytes of pages that fragments with charges of their own keep from being free, beyond what those charges come to. A page in a NIC's hold doesn't count: it belongs to the rings' reserve.
    /// Who decides whether more may be charged takes this off what is left.
    /// </summary>
    public long OvercommittedBytes => _overcommitted;

    /// <summary>
    /// Says of a page that somebody holds that fragments of many connections may come to lie in it, so that each is charged for itself. Holds until the page is free again.
    /// </summary>
    public void MarkShared(int page)
    {
        ref PageEntry entry = ref _pages[page];
        Invariant.That(entry.State != PageState.Free, "only a page that somebody holds is shared");
        entry.Shared = true;
    }

    /// <summary>
    /// Charges a fragment's memory to a connection. Returns the bytes newly charged: the page size for the first fragment in a page that nobody else has anything in, 0 for the ones that follow it there;
    /// in a page that is shared or charged to another one, the fragment's length, but a sixteenth of the page at least: what it keeps from being free is the whole page.
    /// A page's charge is taken off with the page's last fragment, a fragment's own with that fragment.
    /// </summary>
    public int Charge(int slot, int connection)
    {
        ref Fragment fragment = ref _fragments[slot];
        if (fragment.ChargeMark != NotCharged)
        {
            return 0;
        }

        ref PageEntry entry = ref _pages[fragment.Page];
        if (IsCoveredByPage(entry, connection))
        {
            fragment.ChargeMark = Covered;
            entry.CoveredFragments++;
            if (entry.ChargedBytes != 0)
            {
                return 0;
            }

            entry.ChargedConnection = connection;
            ChargePage(ref entry, Geometry.PageSize);
            return Geometry.PageSize;
        }

        int bytes = OwnChargeFor(fragment.Length);
        int charge = _freeCharge;
        Invariant.That(charge != NoFragment, "there are as many charges as fragments");
        _freeCharge = _charges[charge].NextFree;
        _charges[charge] = new OwnCharge { Connection = connection, Bytes = bytes, Pieces = 1 };
        fragment.ChargeMark = charge + 1;
        ChargeFragments(ref entry, bytes);
        return bytes;
    }

    /// <summary>What <see cref="Charge"/> would come to for a whole chain, nothing of which is charged yet. Never less, and more only if the chain comes back to a page that it has left.</summary>
    public long ChargeFor(int chain, int connection)
    {
        long bytes = 0;
        int paidPage = -1;
        int paidFragments = 0;
        for (; chain != NoFragment; chain = _fragments[chain].Next)
        {
            ref Fragment fragment = ref _fragments[chain];
            ref PageEntry entry = ref _pages[fragment.Page];
            paidFragments = fragment.Page == paidPage ? paidFragments + 1 : 0;
            paidPage = fragment.Page;
            if (entry.Shared || (entry.ChargedBytes != 0 && entry.ChargedConnection != connection)
                || entry.CoveredFragments + paidFragments >= Geometry.FragmentsPerPage)
            {
                bytes += OwnChargeFor(fragment.Length);
            }
            else if (entry.ChargedBytes == 0 && paidFragments == 0)
            {
                bytes += Geometry.PageSize;
            }
        }

        return bytes;
    }

    /// <summary>Adds up what is charged, by connection: pages and fragments. For tests and the inspector; walks the whole pool.</summary>
    internal Dictionary<int, long> SumCharges()
    {
        var sums = new Dictionary<int, long>();
        foreach (ref PageEntry entry in _pages.AsSpan())
        {
            if (entry.ChargedBytes != 0)
            {
                sums[entry.ChargedConnection] = sums.GetValueOrDefault(entry.ChargedConnection) + entry.ChargedBytes;
            }
        }

        foreach (ref OwnCharge charge in _charges.AsSpan())
        {
            if (charge.Pieces > 0)
            {
                sums[charge.Connection] = sums.GetValueOrDefault(charge.Connection) + charge.Bytes;
            }
        }

        return sums;
    }

    /// <summary>A page pays for so many fragments as <see cref="PoolGeometry.FragmentsPerPage"/>: who fills one with single bytes pays for the fragments too, or they would be used up before the pages.</summary>
    private bool IsCoveredByPage(in PageEntry entry, int connection) =>
        !entry.Shared && (entry.ChargedBytes == 0 || entry.ChargedConnection == connection) && entry.CoveredFragments < Geometry.FragmentsPerPage;

    private int OwnChargeFor(int length) => Math.Max((length + ChargeUnit - 1) & -ChargeUnit, Geometry.PageSize / 16);

    private void InitializeCharges()
    {
        for (int charge = 0; charge < _charges.Length; charge++)
        {
            _charges[charge] = new OwnCharge { NextFree = charge + 1 < _charges.Length ? charge + 1 : NoFragment };
        }

        _freeCharge = 0;
    }

    /// <summary>A charged fragment was split: both pieces hang on to the charge.</summary>
    private void ShareCharge(in Fragment fragment)
    {
        if (fragment.ChargeMark == Covered)
        {
            _pages[fragment.Page].CoveredFragments++;
        }
        else if (fragment.ChargeMark != NotCharged)
        {
            _charges[fragment.ChargeMark - 1].Pieces++;
        }
    }

    /// <summary>A fragment goes. Returns what is to be taken off its own charge's connection, once nobody is looking at the pool's tables any more.</summary>
    private (int Connection, int Bytes) EndCharge(ref Fragment fragment)
    {
        int mark = fragment.ChargeMark;
        fragment.ChargeMark = NotCharged;
        if (mark == Covered)
        {
            _pages[fragment.Page].CoveredFragments--;
        }
        else if (mark != NotCharged)
        {
            ref OwnCharge charge = ref _charges[mark - 1];
            if (--charge.Pieces == 0)
            {
                charge.NextFree = _freeCharge;
                _freeCharge = mark - 1;
                ChargeFragments(ref _pages[fragment.Page], -charge.Bytes);
                return (charge.Connection, charge.Bytes);
            }
        }

        return (-1, 0);
    }

    // What a page adds to the overcommitment depends on these three alone; each change goes through here.

    private void ChargePage(ref PageEntry entry, int bytes)
    {
        _overcommitted -= Overcommitment(entry);
        entry.ChargedBytes = bytes;
        _overcommitted += Overcommitment(entry);
    }

    private void ChargeFragments(ref PageEntry entry, int bytes)
    {
        _overcommitted -= Overcommitment(entry);
        entry.FragmentChargedBytes += bytes;
        _overcommitted += Overcommitment(entry);
    }

    private void EndNicHold(ref PageEntry entry)
    {
        _overcommitted -= Overcommitment(entry);
        entry.NicHold = false;
        _overcommitted += Overcommitment(entry);
    }

    private int Overcommitment(in PageEntry entry) =>
        entry.FragmentChargedBytes == 0 || entry.NicHold ? 0 : Math.Max(0, Geometry.PageSize - entry.ChargedBytes - entry.FragmentChargedBytes);

    private void CheckCharges()
    {
        int[] pieces = new int[_charges.Length];
        int[] covered = new int[_pages.Length];
        int[] bytes = new int[_pages.Length];
        foreach (ref Fragment fragment in _fragments.AsSpan())
        {
            if (fragment.State == FragmentState.Free)
            {
                Invariant.That(fragment.ChargeMark == NotCharged, "nobody pays for a slot on the free list");
                continue;
            }

            if (fragment.ChargeMark > 0 && pieces[fragment.ChargeMark - 1]++ == 0)
            {
                bytes[fragment.Page] += _charges[fragment.ChargeMark - 1].Bytes;
            }

            covered[fragment.Page] += fragment.ChargeMark == Covered ? 1 : 0;
        }

        for (int charge = 0; charge < _charges.Length; charge++)
        {
            Invariant.That(_charges[charge].Pieces == pieces[charge], "a fragment's own charge is as many pieces' as hang on to it");
        }

        long overcommitted = 0;
        for (int page = 0; page < _pages.Length; page++)
        {
            ref PageEntry entry = ref _pages[page];
            bool hasFragments = entry.References > (entry.NicHold ? 1 : 0);
            Invariant.That(entry.CoveredFragments == covered[page] && entry.FragmentChargedBytes == bytes[page], "what a page's fragments are charged is counted right");
            Invariant.That(entry.ChargedBytes == 0 || hasFragments, "a page without fragments is charged to nobody");
            Invariant.That(entry.ChargedBytes != 0 || covered[page] == 0, "a page that covers fragments is charged to somebody");
            Invariant.That(!entry.Shared || entry.State != PageState.Free, "a free page is not shared");
            overcommitted += Overcommitment(entry);
        }

        Invariant.That(overcommitted == _overcommitted, "the overcommitment is that of all pages together");
    }
}
