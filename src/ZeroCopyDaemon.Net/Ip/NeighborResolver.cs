using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>What became of a question for a neighbour's address.</summary>
internal enum NeighborLookup
{
    Resolved,

    /// <summary>It is being asked for; the listener will be told how it ended.</summary>
    Awaiting,

    /// <summary>It didn't answer a moment ago, or the table is full of neighbours that are asked for.</summary>
    Failed,
}

/// <summary>
/// Finding neighbours' hardware addresses, whatever the protocol that asks for them: three questions a second apart (RFC 1122 section 2.3.2.1, RFC 4861 section 10), then the listener is told. An entry in
/// use that grew stale is asked again by unicast and used meanwhile.
/// </summary>
internal abstract class NeighborResolver(int capacity, string protocol)
{
    private const long RetryUs = 1_000_000;
    private const long FailedHoldUs = 1_000_000;
    private const int MaxRequests = 3;

    // RFC 5227 section 1.1, DEFEND_INTERVAL.
    private const long DefendUs = 10_000_000;

    private long _defendAgainUs;

    /// <summary>Is told when a neighbour that was awaited is known, or isn't to be found.</summary>
    public ITcpInput? Listener { get; set; }

    public NeighborTable Table { get; } = new(capacity, protocol);

    public long NextDeadlineUs => Table.NextTimerUs;

    /// <summary>Who last claimed an address of ours.</summary>
    public EthernetAddress LastConflict { get; protected set; }

    /// <summary>Neighbours that didn't answer.</summary>
    public long Failures { get; private set; }

    /// <summary>The MAC of a next hop, if it is known; else starts asking for it on behalf of <paramref name="local"/>.</summary>
    public NeighborLookup Resolve(IpAddress nextHop, IpAddress local, long nowUs, out EthernetAddress hardware)
    {
        int entry = Table.Find(nextHop, nowUs);
        if (entry == NeighborTable.None)
        {
            hardware = default;
            entry = Table.Add(nextHop);
            if (entry == NeighborTable.None)
            {
                return NeighborLookup.Failed;
            }

            Ask(entry, local, nowUs);
            return NeighborLookup.Awaiting;
        }

        ref Neighbor neighbor = ref Table[entry];
        hardware = neighbor.Hardware;
        switch (neighbor.State)
        {
            case NeighborState.Incomplete:
                return NeighborLookup.Awaiting;
            case NeighborState.Failed when nowUs < neighbor.FailedUntilUs:
                return NeighborLookup.Failed;
            case NeighborState.Failed:
                neighbor.State = NeighborState.Incomplete;
                Ask(entry, local, nowUs);
                return NeighborLookup.Awaiting;
            case NeighborState.Stale:
                neighbor.State = NeighborState.Probe;
                Ask(entry, local, nowUs);
                return NeighborLookup.Resolved;
            default:
                return NeighborLookup.Resolved;
        }
    }

    /// <summary>Asks again, or gives up, where a second has passed.</summary>
    public void RunTimers(long nowUs)
    {
        while (Table.NextTimerUs <= nowUs)
        {
            int entry = Table.FirstTimer;
            ref Neighbor neighbor = ref Table[entry];
            if (neighbor.Requests < MaxRequests)
            {
                Ask(entry, neighbor.AskedBy, nowUs);
                continue;
            }

            Table.StopTimer(entry);
            neighbor.State = NeighborState.Failed;
            neighbor.FailedUntilUs = nowUs + FailedHoldUs;
            neighbor.Requests = 0;
            Failures++;
            Listener?.OnNeighborFailed(neighbor.Address, nowUs);
        }
    }

    /// <summary>Asks once. <paramref name="hardware"/>: where it was last known to be; null = ask everybody.</summary>
    protected abstract void Ask(in Neighbor neighbor, EthernetAddress? hardware);

    /// <summary>A neighbour's address was told; <paramref name="entry"/> is its entry, or none and one is made.</summary>
    protected void Learn(int entry, IpAddress address, EthernetAddress hardware, NeighborState state, long nowUs)
    {
        if (entry == NeighborTable.None)
        {
            entry = Table.Add(address);
            if (entry != NeighborTable.None)
            {
                Table.Learn(entry, hardware, state, nowUs);
            }

            return;
        }

        bool wasAwaited = Table[entry].State == NeighborState.Incomplete;
        Table.Learn(entry, hardware, state, nowUs);
        if (wasAwaited)
        {
            Listener?.OnNeighborResolved(address, nowUs);
        }
    }

    /// <summary>Whether a claim to our address is answered by saying that it is ours: not more often than the RFC allows, for two who both did would never end (RFC 5227 section 2.4 (b)).</summary>
    protected bool MayDefend(long nowUs)
    {
        if (nowUs < _defendAgainUs)
        {
            return false;
        }

        _defendAgainUs = nowUs + DefendUs;
        return true;
    }

    private void Ask(int entry, IpAddress local, long nowUs)
    {
        ref Neighbor neighbor = ref Table[entry];
        neighbor.AskedBy = local;
        neighbor.Requests++;
        Table.StartTimer(entry, nowUs + RetryUs);
        Ask(neighbor, neighbor.State == NeighborState.Probe ? neighbor.Hardware : null);
    }
}
