using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>What became of a question for a neighbour's address.</summary>
internal enum NeighborLookup
{
    Resolved,

    /// <summary>ARP is under way; the listener will be told how it ended.</summary>
    Awaiting,

    /// <summary>It didn't answer a moment ago, or the table is full of neighbours that are asked for.</summary>
    Failed,
}

/// <summary>
/// ARP (RFC 826): answers for our addresses, and finds the neighbours'. Asks three times, a second apart (RFC 1122 section 2.3.2.1: no more than once a second), then tells
/// the listener. An entry in use that grew stale is asked again by unicast and used meanwhile.
/// </summary>
internal sealed class ArpLayer(AddressPlan addresses, int capacity, IFrameDevice device, IpCounters counters, DropCounters drops)
{
    private const long RetryUs = 1_000_000;
    private const long FailedHoldUs = 1_000_000;
    private const int MaxRequests = 3;

    // RFC 5227 section 1.1, DEFEND_INTERVAL.
    private const long DefendUs = 10_000_000;

    private long _failures;
    private long _defendAgainUs;

    /// <summary>Is told when a neighbour that was awaited is known, or isn't to be found.</summary>
    public ITcpInput? Listener { get; set; }

    public NeighborTable Table { get; } = new(capacity);

    public long NextDeadlineUs => Table.NextTimerUs;

    /// <summary>Who last claimed an address of ours.</summary>
    public EthernetAddress LastConflict { get; private set; }

    /// <summary>Neighbours that didn't answer.</summary>
    public long Failures => _failures;

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

    /// <summary>Takes in an ARP packet (what follows the Ethernet header).</summary>
    public void Receive(ReadOnlySpan<byte> bytes, long nowUs)
    {
        if (!ArpView.TryParse(bytes, out ArpView arp) || arp.Operation is not (ArpOperation.Request or ArpOperation.Reply))
        {
            drops.Count(DropReason.ARP_IGNORED);
            return;
        }

        IpAddress sender = arp.SenderProtocol, target = arp.TargetProtocol;
        EthernetAddress hardware = arp.SenderHardware;
        bool isRequest = arp.Operation == ArpOperation.Request;
        bool isForUs = addresses.IsLocal(target);

        // A probe for a duplicate (RFC 5227) has no sender address: answered, not learned from.
        bool isProbe = isRequest && sender.IsAny;
        if (addresses.IsLocal(sender))
        {
            counters.ArpConflicts++;
            LastConflict = hardware;
            drops.Count(DropReason.ARP_IGNORED);
            Defend(nowUs);
            return;
        }

        if (hardware.IsGroup || hardware.Value == 0 || (!isProbe && !addresses.IsSingleHost(sender)))
        {
            drops.Count(DropReason.ARP_IGNORED);
            return;
        }

        // Who asks for us will be talked to: a new entry. Anything else, a gratuitous ARP too, only refreshes what is there.
        int entry = isProbe ? NeighborTable.None : Table.Find(sender, nowUs);
        if (entry == NeighborTable.None && !(isRequest && isForUs))
        {
            drops.Count(DropReason.ARP_IGNORED);
            return;
        }

        if (isRequest)
        {
            counters.ArpInRequests++;
        }
        else
        {
            counters.ArpInReplies++;
        }

        if (isRequest && isForUs && !Transmit(ArpOperation.Reply, hardware, target, hardware, sender))
        {
            drops.Count(DropReason.FULL_RING);
        }
        else
        {
            counters.FramesDelivered++;
        }

        if (!isProbe)
        {
            Learn(entry, sender, hardware, nowUs);
        }
    }

    /// <summary>Says who has our address to everybody on the link (RFC 5227 section 2.3). A stack that has many addresses says nothing.</summary>
    public void Announce()
    {
        if (addresses.SingleAddress is { } address)
        {
            _ = Transmit(ArpOperation.Request, EthernetAddress.Broadcast, address, default, address);
        }
    }

    /// <summary>We keep our address, and say so, but not more often than the RFC allows: two who both did would never end (RFC 5227 section 2.4 (b)).</summary>
    private void Defend(long nowUs)
    {
        if (nowUs >= _defendAgainUs)
        {
            _defendAgainUs = nowUs + DefendUs;
            Announce();
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
            _failures++;
            Listener?.OnNeighborFailed(neighbor.Address, nowUs);
        }
    }

    private void Learn(int entry, IpAddress sender, EthernetAddress hardware, long nowUs)
    {
        if (entry == NeighborTable.None)
        {
            entry = Table.Add(sender);
            if (entry == NeighborTable.None)
            {
                return;
            }

            Table.Confirm(entry, hardware, nowUs);
            return;
        }

        bool wasAwaited = Table[entry].State == NeighborState.Incomplete;
        Table.Confirm(entry, hardware, nowUs);
        if (wasAwaited)
        {
            Listener?.OnNeighborResolved(sender, nowUs);
        }
    }

    private void Ask(int entry, IpAddress local, long nowUs)
    {
        ref Neighbor neighbor = ref Table[entry];
        neighbor.AskedBy = local;
        neighbor.Requests++;
        Table.StartTimer(entry, nowUs + RetryUs);
        EthernetAddress destination = neighbor.State == NeighborState.Probe ? neighbor.Hardware : EthernetAddress.Broadcast;

        // With the TX ring full this question is lost; the timer asks again.
        _ = Transmit(ArpOperation.Request, destination, local, default, neighbor.Address);
    }

    [SkipLocalsInit]
    private bool Transmit(ArpOperation operation, EthernetAddress destination, IpAddress local, EthernetAddress targetHardware, IpAddress target)
    {
        EthernetAddress source = addresses.HardwareOf(local);
        Span<byte> frame = stackalloc byte[EthernetHeader.Length + ArpPacket.Length];
        EthernetHeader.Write(frame, destination, source, EtherType.Arp);
        ArpPacket.Write(frame[EthernetHeader.Length..], operation, source, local, targetHardware, target);
        if (!device.TryTransmit(new TxFrame(frame, default, 0)))
        {
            return false;
        }

        if (operation == ArpOperation.Request)
        {
            counters.ArpOutRequests++;
        }
        else
        {
            counters.ArpOutReplies++;
        }

        return true;
    }
}
