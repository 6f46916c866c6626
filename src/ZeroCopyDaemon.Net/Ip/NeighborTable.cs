using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>What is known of a neighbour; names as in RFC 4861 section 7.3.2, which fits ARP as well.</summary>
internal enum NeighborState : byte
{
    /// <summary>Asked for, no answer yet.</summary>
    Incomplete,

    /// <summary>Heard of within <see cref="NeighborTable.ReachableUs"/>.</summary>
    Reachable,

    /// <summary>Not heard of since; used all the same, and asked again when it is.</summary>
    Stale,

    /// <summary>Stale and being asked again; used meanwhile.</summary>
    Probe,

    /// <summary>Didn't answer. Not asked again before <see cref="Neighbor.FailedUntilUs"/>.</summary>
    Failed,
}

/// <summary>An entry of the neighbour table.</summary>
internal struct Neighbor
{
    public IpAddress Address;
    public EthernetAddress Hardware;

    /// <summary>On whose behalf it is asked for.</summary>
    public IpAddress AskedBy;
    public long ConfirmedUs;
    public long TimerUs;
    public long FailedUntilUs;
    public NeighborState State;
    public byte Requests;
    public bool TimerRuns;

    /// <summary>Neighbours in the list of entries by age, or the free list's next.</summary>
    public int Older, Newer;
    public int TimerBefore, TimerAfter;
}

/// <summary>
/// The neighbours: at most a fixed number, in order of when they were last heard of, with a timer for those being asked. Does no I/O. Memory
/// grows with the entries used, up to the limit.
/// </summary>
internal sealed class NeighborTable(int capacity, string protocol) : ICounterSource
{
    public const int None = -1;

    /// <summary>How long an address counts as confirmed.</summary>
    public const long ReachableUs = 30_000_000;

    private readonly string[] _names = Array.ConvertAll(["entries", "allocs", "destroys", "lookups", "hits", "table_fulls"], name => $"{protocol}.{name}");
    private readonly Dictionary<IpAddress, int> _index = [];
    private Neighbor[] _entries = new Neighbor[Math.Min(capacity, 16)];
    private int _used;
    private int _free = None;
    private int _oldest = None, _newest = None;
    private int _timerFirst = None, _timerLast = None;
    private long _allocs, _destroys, _lookups, _hits, _full;

    public int Count => _index.Count;

    /// <summary>When the first timer is due.</summary>
    public long NextTimerUs => _timerFirst == None ? long.MaxValue : _entries[_timerFirst].TimerUs;

    /// <summary>The entry whose timer is due first, or <see cref="None"/>.</summary>
    public int FirstTimer => _timerFirst;

    public ref Neighbor this[int entry] => ref _entries[entry];

    /// <summary>Finds an entry, and lets it grow stale if its time has come. <see cref="None"/> if there is none.</summary>
    public int Find(IpAddress address, long nowUs)
    {
        _lookups++;
        if (!_index.TryGetValue(address, out int entry))
        {
            return None;
        }

        _hits++;
        ref Neighbor neighbor = ref _entries[entry];
        if (neighbor.State == NeighborState.Reachable && nowUs - neighbor.ConfirmedUs >= ReachableUs)
        {
            neighbor.State = NeighborState.Stale;
        }

        return entry;
    }

    /// <summary>
    /// Makes an entry (state <see cref="NeighborState.Incomplete"/>, no timer) for an address that has none. When the table is full the one heard of longest ago goes, but none
    /// that is still asked for; <see cref="None"/> if all are.
    /// </summary>
    public int Add(IpAddress address)
    {
        if (_index.Count == capacity && !EvictOldest())
        {
            _full++;
            return None;
        }

        int entry = _free;
        if (entry != None)
        {
            _free = _entries[entry].Older;
        }
        else
        {
            if (_used == _entries.Length)
            {
                Array.Resize(ref _entries, Math.Min(capacity, _used * 2));
            }

            entry = _used++;
        }

        _entries[entry] = new Neighbor { Address = address, State = NeighborState.Incomplete };
        _index.Add(address, entry);
        LinkNewest(entry);
        _allocs++;
        return entry;
    }

    /// <summary>The neighbour's address is known: it is the newest, and nobody is asked for it any more.</summary>
    /// <param name="entry">Its entry.</param>
    /// <param name="hardware">Its MAC.</param>
    /// <param name="state"><see cref="NeighborState.Reachable"/> if it answered, <see cref="NeighborState.Stale"/> if it was merely heard of.</param>
    /// <param name="nowUs">The time.</param>
    public void Learn(int entry, EthernetAddress hardware, NeighborState state, long nowUs)
    {
        StopTimer(entry);
        ref Neighbor neighbor = ref _entries[entry];
        neighbor.Hardware = hardware;
        neighbor.State = state;
        neighbor.ConfirmedUs = nowUs;
        neighbor.Requests = 0;
        Unlink(entry);
        LinkNewest(entry);
    }

    /// <summary>Starts an entry's timer. All timers run equally long, so that the list stays in order of their deadlines.</summary>
    public void StartTimer(int entry, long deadlineUs)
    {
        StopTimer(entry);
        ref Neighbor neighbor = ref _entries[entry];
        neighbor.TimerUs = deadlineUs;
        neighbor.TimerRuns = true;
        neighbor.TimerBefore = _timerLast;
        neighbor.TimerAfter = None;
        if (_timerLast == None)
        {
            _timerFirst = entry;
        }
        else
        {
            _entries[_timerLast].TimerAfter = entry;
        }

        _timerLast = entry;
    }

    /// <summary>Stops an entry's timer, if it runs.</summary>
    public void StopTimer(int entry)
    {
        ref Neighbor neighbor = ref _entries[entry];
        if (!neighbor.TimerRuns)
        {
            return;
        }

        neighbor.TimerRuns = false;
        if (neighbor.TimerBefore == None)
        {
            _timerFirst = neighbor.TimerAfter;
        }
        else
        {
            _entries[neighbor.TimerBefore].TimerAfter = neighbor.TimerAfter;
        }

        if (neighbor.TimerAfter == None)
        {
            _timerLast = neighbor.TimerBefore;
        }
        else
        {
            _entries[neighbor.TimerAfter].TimerBefore = neighbor.TimerBefore;
        }
    }

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        visitor.Counter(_names[0], Count);
        visitor.Counter(_names[1], _allocs);
        visitor.Counter(_names[2], _destroys);
        visitor.Counter(_names[3], _lookups);
        visitor.Counter(_names[4], _hits);
        visitor.Counter(_names[5], _full);
    }

    private bool EvictOldest()
    {
        int entry = _oldest;
        while (entry != None && _entries[entry].State == NeighborState.Incomplete)
        {
            entry = _entries[entry].Newer;
        }

        if (entry == None)
        {
            return false;
        }

        StopTimer(entry);
        Unlink(entry);
        bool removed = _index.Remove(_entries[entry].Address);
        Invariant.That(removed, "every neighbour in the list is in the index");
        _entries[entry].Older = _free;
        _free = entry;
        _destroys++;
        return true;
    }

    private void LinkNewest(int entry)
    {
        _entries[entry].Older = _newest;
        _entries[entry].Newer = None;
        if (_newest == None)
        {
            _oldest = entry;
        }
        else
        {
            _entries[_newest].Newer = entry;
        }

        _newest = entry;
    }

    private void Unlink(int entry)
    {
        (int older, int newer) = (_entries[entry].Older, _entries[entry].Newer);
        if (older == None)
        {
            _oldest = newer;
        }
        else
        {
            _entries[older].Newer = newer;
        }

        if (newer == None)
        {
            _newest = older;
        }
        else
        {
            _entries[newer].Older = older;
        }
    }
}
