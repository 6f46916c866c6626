using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>
/// Neighbour discovery (RFC 4861 section 7) of a host whose next hop is given: answers for our addresses, and finds the neighbours'. Routers aren't listened to, and redirects aren't followed. As with
/// ARP, a stale entry in use is asked at once (no DELAY state), and our own address isn't asked for before we use it.
/// </summary>
internal sealed class NdpLayer(Ipv6Addresses addresses, int capacity, IFrameDevice device, Ipv6Counters counters) : NeighborResolver(capacity, "ndisc")
{
    /// <summary>As much of a message as is looked at: far more than the options that anybody sends.</summary>
    public const int MaxMessageBytes = 256;

    /// <summary>Takes in a solicitation or an advertisement, whose checksum is right. Says why if it is of no use.</summary>
    /// <param name="datagram">Where it came from and was sent to.</param>
    /// <param name="message">The message, its first <see cref="MaxMessageBytes"/> at most.</param>
    /// <param name="hopLimit">The packet's.</param>
    /// <param name="hasFragmentHeader">The packet has a fragment header.</param>
    /// <param name="nowUs">The time.</param>
    public DropReason? Receive(in IpDatagram datagram, ReadOnlySpan<byte> message, byte hopLimit, bool hasFragmentHeader, long nowUs)
    {
        // RFC 6980: fragments would let what is at the end of an attack's message go unseen by those who watch over the link.
        if (hasFragmentHeader)
        {
            return DropReason.IPV6_NDISC_FRAG;
        }

        if (hopLimit != NeighborMessage.HopLimit)
        {
            return DropReason.IPV6_NDISC_HOP_LIMIT;
        }

        if (!Icmpv6View.TryParse(message, out Icmpv6View icmp) || icmp.Code != 0)
        {
            return DropReason.IPV6_NDISC_BAD_CODE;
        }

        bool isSolicitation = icmp.Type == Icmpv6Type.NeighborSolicitation;
        if (!NeighborView.TryParse(message, out NeighborView neighbor)
            || neighbor.Target.IsMulticast
            || !neighbor.TryReadOptions(isSolicitation ? NeighborMessage.SourceLinkLayer : NeighborMessage.TargetLinkLayer, out EthernetAddress? hardware)
            || hardware is { IsGroup: true })
        {
            return DropReason.IPV6_NDISC_BAD_OPTIONS;
        }

        return isSolicitation ? OnSolicitation(datagram, neighbor.Target, hardware, nowUs) : OnAdvertisement(datagram, neighbor, hardware, nowUs);
    }

    /// <summary>Tells everybody on the link who has our addresses (RFC 4861 section 7.2.6).</summary>
    public void Announce()
    {
        Announce(addresses.Global);
        Announce(addresses.LinkLocal);
    }

    // With the TX ring full this question is lost; the timer asks again.
    protected override void Ask(in Neighbor neighbor, EthernetAddress? hardware)
    {
        IpAddress destination = hardware is null ? neighbor.Address.SolicitedNode : neighbor.Address;
        if (Transmit(Icmpv6Type.NeighborSolicitation, NeighborFlags.None, neighbor.Address, neighbor.AskedBy, destination, hardware ?? EthernetAddress.ForGroup(destination)))
        {
            counters.OutNeighborSolicits++;
        }
    }

    /// <summary>RFC 4861 section 7.2.3.</summary>
    private DropReason? OnSolicitation(in IpDatagram datagram, IpAddress target, EthernetAddress? hardware, long nowUs)
    {
        // Who asks whether an address is taken (RFC 4862 section 5.4) has none itself, and says nothing of its own.
        bool isProbe = datagram.Source.IsAny;
        if (isProbe && (hardware is not null || datagram.Destination != target.SolicitedNode))
        {
            return DropReason.IPV6_NDISC_BAD_OPTIONS;
        }

        if (!addresses.IsLocal(target))
        {
            return DropReason.IPV6_NDISC_NS_OTHERHOST;
        }

        counters.InNeighborSolicits++;
        if (isProbe)
        {
            return Announce(target) ? null : DropReason.FULL_RING;
        }

        if (hardware is { } known)
        {
            int entry = Table.Find(datagram.Source, nowUs);
            if (entry == NeighborTable.None || Table[entry].State is NeighborState.Incomplete or NeighborState.Failed || Table[entry].Hardware != known)
            {
                Learn(entry, datagram.Source, known, NeighborState.Stale, nowUs);
            }
        }
        else if (Resolve(datagram.Source, target, nowUs, out known) != NeighborLookup.Resolved)
        {
            return DropReason.NEIGH_FAILED;
        }

        return Advertise(NeighborFlags.Solicited | NeighborFlags.Override, target, datagram.Source, known) ? null : DropReason.FULL_RING;
    }

    /// <summary>RFC 4861 section 7.2.5.</summary>
    private DropReason? OnAdvertisement(in IpDatagram datagram, scoped in NeighborView neighbor, EthernetAddress? hardware, long nowUs)
    {
        bool solicited = (neighbor.Flags & NeighborFlags.Solicited) != 0;
        if (datagram.Source.IsAny || (solicited && datagram.Destination.IsMulticast))
        {
            return DropReason.IPV6_NDISC_BAD_OPTIONS;
        }

        IpAddress target = neighbor.Target;
        if (addresses.IsLocal(target))
        {
            counters.Conflicts++;
            LastConflict = hardware ?? default;
            if (MayDefend(nowUs))
            {
                Announce(target);
            }

            return DropReason.INVALID_PROTO;
        }

        int entry = Table.Find(target, nowUs);
        if (entry == NeighborTable.None)
        {
            return DropReason.INVALID_PROTO;
        }

        counters.InNeighborAdvertisements++;
        NeighborState before = Table[entry].State;
        if (before is NeighborState.Incomplete or NeighborState.Failed)
        {
            if (hardware is not { } first)
            {
                return DropReason.INVALID_PROTO;
            }

            Learn(entry, target, first, solicited ? NeighborState.Reachable : NeighborState.Stale, nowUs);
            return null;
        }

        bool differs = hardware is { } told && told != Table[entry].Hardware;
        if (differs && (neighbor.Flags & NeighborFlags.Override) == 0)
        {
            if (before == NeighborState.Reachable)
            {
                Table[entry].State = NeighborState.Stale;
            }

            return null;
        }

        if (solicited)
        {
            Learn(entry, target, hardware ?? Table[entry].Hardware, NeighborState.Reachable, nowUs);
        }
        else if (differs)
        {
            Learn(entry, target, hardware!.Value, NeighborState.Stale, nowUs);
        }

        return null;
    }

    private bool Announce(IpAddress address) =>
        Advertise(NeighborFlags.Override, address, IpAddress.AllNodes, EthernetAddress.ForGroup(IpAddress.AllNodes));

    private bool Advertise(NeighborFlags flags, IpAddress target, IpAddress destination, EthernetAddress hardware)
    {
        bool sent = Transmit(Icmpv6Type.NeighborAdvertisement, flags, target, target, destination, hardware);
        counters.OutNeighborAdvertisements += sent ? 1 : 0;
        return sent;
    }

    [SkipLocalsInit]
    private bool Transmit(Icmpv6Type type, NeighborFlags flags, IpAddress target, IpAddress source, IpAddress destination, EthernetAddress hardware)
    {
        Span<byte> frame = stackalloc byte[EthernetHeader.Length + Ipv6Header.Length + NeighborMessage.Length];
        int at = EthernetHeader.Write(frame, hardware, addresses.Hardware, EtherType.Ipv6);
        at += Ipv6Header.Write(frame[at..], source, destination, IpProtocol.Icmpv6, NeighborMessage.Length, NeighborMessage.HopLimit);
        NeighborMessage.Write(frame[at..], type, flags, target, addresses.Hardware, source, destination);
        if (!device.TryTransmit(new TxFrame(frame, default, 0)))
        {
            return false;
        }

        counters.OutRequests++;
        counters.IcmpOutMsgs++;
        return true;
    }
}
