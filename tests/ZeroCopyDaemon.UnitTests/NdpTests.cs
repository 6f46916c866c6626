using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Ip;
using ZeroCopyDaemon.Net.Packets;
using static ZeroCopyDaemon.UnitTests.IpHost;

namespace ZeroCopyDaemon.UnitTests;

public sealed class NdpTests
{
    [Fact]
    public void A_solicitation_for_each_of_our_addresses_is_answered_and_its_sender_known_from_then_on()
    {
        foreach (IpAddress target in new[] { Ip6.Local, Ip6.LinkLocal })
        {
            using IpHost host = Ip6.Host();
            host.Receive(Ip6.Solicitation(Ip6.Peer, target));
            byte[] reply = host.Device.TakeOne();
            AssertNeighborMessage(reply, Icmpv6Type.NeighborAdvertisement, NeighborFlags.Solicited | NeighborFlags.Override, target, LocalMac, target, Ip6.Peer, PeerMac);
            Assert.Equal(IpSendResult.Sent, Ip6.Send(host, Ip6.Peer));
            Assert.Equal((1, 1), (host.Counter("icmp6.InNeighborSolicits"), host.Counter("icmp6.OutNeighborAdvertisements")));
            host.AssertClean();
        }
    }

    [Fact]
    public void Who_asks_whether_our_address_is_taken_is_told_in_front_of_everybody()
    {
        using IpHost host = Ip6.Host();
        host.Receive(Ip6.Solicitation(IpAddress.Any, Ip6.Local));
        AssertNeighborMessage(
            host.Device.TakeOne(), Icmpv6Type.NeighborAdvertisement, NeighborFlags.Override, Ip6.Local, LocalMac, Ip6.Local, IpAddress.AllNodes, new EthernetAddress(0x3333_0000_0001));
        Assert.Equal(0, host.Ip.Ipv6!.Ndp.Table.Count);

        // Only in the form that this question has.
        Assert.Equal(DropReason.IPV6_NDISC_BAD_OPTIONS, host.DropOf(() => host.Receive(Ip6.Solicitation(IpAddress.Any, Ip6.Local, destination: Ip6.Local))));
        byte[] withOption = new byte[32];
        NeighborMessage.Write(withOption, Icmpv6Type.NeighborSolicitation, 0, Ip6.Local, PeerMac, IpAddress.Any, Ip6.Local.SolicitedNode);
        Assert.Equal(DropReason.IPV6_NDISC_BAD_OPTIONS, host.DropOf(() => host.Receive(Ip6.Solicitation(IpAddress.Any, Ip6.Local, body: withOption))));
        Assert.Empty(host.Device.Frames);
        host.AssertClean();
    }

    [Fact]
    public void What_came_from_beyond_the_link_or_is_malformed_or_in_fragments_is_not_listened_to()
    {
        using IpHost host = Ip6.Host();
        Assert.Equal(DropReason.IPV6_NDISC_HOP_LIMIT, host.DropOf(() => host.Receive(Ip6.Solicitation(Ip6.Peer, Ip6.Local, hopLimit: 254))));
        Assert.Equal(DropReason.IPV6_NDISC_NS_OTHERHOST, host.DropOf(() => host.Receive(Ip6.Solicitation(Ip6.Peer, Ip6.Peer, destination: Ip6.Local))));
        Assert.Equal(DropReason.IPV6_NDISC_BAD_OPTIONS, host.DropOf(() => host.Receive(Ip6.Solicitation(Ip6.Peer, IpAddress.AllNodes, destination: Ip6.Local))));
        Assert.Equal(DropReason.IPV6_NDISC_BAD_OPTIONS, host.DropOf(() => host.Receive(Ip6.Solicitation(Ip6.Peer, Ip6.Local, hardware: EthernetAddress.Broadcast))));
        byte[] message = new byte[32];
        NeighborMessage.Write(message, Icmpv6Type.NeighborSolicitation, 0, Ip6.Local, PeerMac, Ip6.Peer, Ip6.Local.SolicitedNode);
        Assert.Equal(DropReason.IPV6_NDISC_BAD_CODE, host.DropOf(() => host.Receive(Ip6.Solicitation(Ip6.Peer, Ip6.Local, body: [135, 1, .. message[2..]]))));
        Assert.Equal(DropReason.IPV6_NDISC_BAD_OPTIONS, host.DropOf(() => host.Receive(Ip6.Solicitation(Ip6.Peer, Ip6.Local, body: message[..20]))));
        Assert.Equal(DropReason.IPV6_NDISC_BAD_OPTIONS, host.DropOf(() => host.Receive(Ip6.Solicitation(Ip6.Peer, Ip6.Local, body: [.. message, 7, 0, 0, 0, 0, 0, 0, 0]))));
        byte[] wrong = Ip6.Solicitation(Ip6.Peer, Ip6.Local);
        wrong[60] ^= 1;
        Assert.Equal(DropReason.ICMP_CSUM, host.DropOf(() => host.Receive(wrong)));

        // A fragment header, even one of a datagram in one piece (RFC 6980).
        Ip6.FixIcmp(message, Ip6.Peer, Ip6.Local);
        byte[] atomic = Ip6.Fragment(IpProtocol.Icmpv6, message, 0, more: false);
        atomic[21] = 255;
        Assert.Equal(DropReason.IPV6_NDISC_FRAG, host.DropOf(() => host.Receive(atomic)));
        host.Receive(Ip6.Fragment(IpProtocol.Icmpv6, message.AsSpan(0, 16), 0, more: true));
        Assert.Equal(1, host.Ip.Ipv6!.Reassembly.HeldFrames);
        host.Receive(Ip6.Fragment(IpProtocol.Icmpv6, message.AsSpan(16), 16, more: false));
        Assert.Equal(3, host.Drops[DropReason.IPV6_NDISC_FRAG]);
        Assert.Empty(host.Device.Frames);
        Assert.Equal(0, host.Ip.Ipv6!.Ndp.Table.Count);
        host.AssertClean();
    }

    [Fact]
    public void Solicitations_to_groups_of_others_are_not_even_looked_at()
    {
        using IpHost host = Ip6.Host();
        Assert.Equal(DropReason.OTHERHOST, host.DropOf(() => host.Receive(Ip6.Solicitation(Ip6.Gateway, Ip6.Peer))));
        host.AssertClean();
    }

    [Fact]
    public void A_segment_for_an_unknown_neighbour_asks_its_group_and_goes_out_once_answered()
    {
        using IpHost host = Ip6.Host();
        Assert.Equal(IpSendResult.AwaitingNeighbor, Ip6.Send(host, Ip6.Peer));
        Assert.Equal(IpSendResult.AwaitingNeighbor, Ip6.Send(host, Ip6.Peer));
        AssertNeighborMessage(
            host.Device.TakeOne(), Icmpv6Type.NeighborSolicitation, NeighborFlags.None, Ip6.Peer, LocalMac, Ip6.Local, Ip6.Peer.SolicitedNode, new EthernetAddress(0x3333_FF00_0002));
        host.Receive(Ip6.Advertisement(Ip6.Peer, NeighborFlags.Solicited | NeighborFlags.Override, PeerMac));
        Assert.Equal([Ip6.Peer], host.Tcp.Resolved);
        Assert.Equal(IpSendResult.Sent, Ip6.Send(host, Ip6.Peer));
        byte[] segment = host.Device.TakeOne();
        Assert.True(EthernetView.TryParse(segment, out EthernetView ethernet));
        Assert.Equal((PeerMac, LocalMac, EtherType.Ipv6), (ethernet.Destination, ethernet.Source, ethernet.EtherType));
        Ip6.AssertChecksum(segment);
        Assert.Equal(long.MaxValue, host.Ip.NextDeadlineUs);
        host.AssertClean();
    }

    [Fact]
    public void A_link_local_neighbour_is_asked_for_in_the_name_of_our_own_link_local_address()
    {
        using IpHost host = Ip6.Host();
        Ip6.Send(host, Ip6.PeerLinkLocal, host.Ip.Output.SourceFor(Ip6.PeerLinkLocal));
        Assert.True(Ipv6View.TryParse(host.Device.TakeOne().AsSpan(14), out Ipv6View ip));
        Assert.Equal((Ip6.LinkLocal, Ip6.PeerLinkLocal.SolicitedNode), (ip.Source, ip.Destination));
        Assert.Equal(Ip6.Local, host.Ip.Output.SourceFor(Ip6.Far));
    }

    [Fact]
    public void What_is_far_away_goes_to_the_gateway()
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        Assert.Equal(IpSendResult.Sent, Ip6.Send(host, Ip6.Far));
        using IpHost alone = Ip6.Host(options => options with { Gateway6 = IpAddress.Any });
        Assert.Equal(IpSendResult.Unreachable, Ip6.Send(alone, Ip6.Far));
        foreach (string impossible in new[] { "::1", "ff02::1", "::", "fd00::1" })
        {
            Assert.Equal(IpSendResult.Unreachable, Ip6.Send(host, IpAddress.Parse(impossible)));
        }

        Assert.Equal(4, host.Counter("ip6.OutNoRoutes"));
    }

    [Fact]
    public void Three_unanswered_questions_a_second_apart_are_a_failure_and_a_second_later_it_asks_anew()
    {
        using IpHost host = Ip6.Host();
        Ip6.Send(host, Ip6.Peer);
        for (int second = 1; second <= 3; second++)
        {
            Assert.Equal(second, host.Counter("icmp6.OutNeighborSolicits"));
            Assert.Equal(second * 1_000_000, host.Ip.NextDeadlineUs);
            Assert.Empty(host.Tcp.Failed);
            host.Ip.Poll(second * 1_000_000);
        }

        Assert.Equal([Ip6.Peer], host.Tcp.Failed);
        host.NowUs = 3_500_000;
        Assert.Equal(IpSendResult.Unreachable, Ip6.Send(host, Ip6.Peer));
        host.NowUs = 4_000_000;
        Assert.Equal(IpSendResult.AwaitingNeighbor, Ip6.Send(host, Ip6.Peer));
        Assert.Equal((4, 1), (host.Counter("icmp6.OutNeighborSolicits"), host.Counter("ndisc.res_failed")));
    }

    [Fact]
    public void A_stale_neighbour_in_use_is_asked_by_unicast_and_used_meanwhile()
    {
        using IpHost host = Reached();
        host.NowUs = NeighborTable.ReachableUs;
        Assert.Equal(IpSendResult.Sent, Ip6.Send(host, Ip6.Peer));
        byte[][] frames = host.Device.TakeAll();
        Assert.Equal(2, frames.Length);
        AssertNeighborMessage(frames[0], Icmpv6Type.NeighborSolicitation, NeighborFlags.None, Ip6.Peer, LocalMac, Ip6.Local, Ip6.Peer, PeerMac);
        host.Receive(Ip6.Advertisement(Ip6.Peer, NeighborFlags.Solicited, null));
        Assert.Equal(IpSendResult.Sent, Ip6.Send(host, Ip6.Peer));
        Assert.Single(host.Device.TakeAll());
        Assert.Equal(long.MaxValue, host.Ip.NextDeadlineUs);
    }

    [Fact]
    public void Another_MAC_for_a_known_neighbour_is_believed_if_it_overrides_and_only_doubted_if_not()
    {
        var other = new EthernetAddress(0x0200_0000_0099);
        using IpHost host = Reached();
        host.Receive(Ip6.Advertisement(Ip6.Peer, NeighborFlags.None, other));
        Assert.Equal((NeighborState.Stale, PeerMac), StateOf(host));
        host.Receive(Ip6.Advertisement(Ip6.Peer, NeighborFlags.Solicited, other));
        Assert.Equal((NeighborState.Stale, PeerMac), StateOf(host));
        host.Receive(Ip6.Advertisement(Ip6.Peer, NeighborFlags.Override, other));
        Assert.Equal((NeighborState.Stale, other), StateOf(host));
        host.Receive(Ip6.Advertisement(Ip6.Peer, NeighborFlags.Override | NeighborFlags.Solicited, PeerMac));
        Assert.Equal((NeighborState.Reachable, PeerMac), StateOf(host));

        // Unsolicited and nothing new: says nothing of whether it hears us.
        host.Receive(Ip6.Advertisement(Ip6.Peer, NeighborFlags.Override, PeerMac, destination: IpAddress.AllNodes));
        Assert.Equal((NeighborState.Reachable, PeerMac), StateOf(host));
        host.Receive(Ip6.Solicitation(Ip6.Peer, Ip6.Local, hardware: other));
        Assert.Equal((NeighborState.Stale, other), StateOf(host));
        host.AssertClean();
    }

    [Fact]
    public void Advertisements_that_nobody_waits_for_or_that_contradict_themselves_are_of_no_use()
    {
        using IpHost host = Ip6.Host();
        Assert.Equal(DropReason.INVALID_PROTO, host.DropOf(() => host.Receive(Ip6.Advertisement(Ip6.Peer, NeighborFlags.Override, PeerMac))));
        Assert.Equal(0, host.Ip.Ipv6!.Ndp.Table.Count);
        Ip6.Send(host, Ip6.Peer);
        Assert.Equal(DropReason.INVALID_PROTO, host.DropOf(() => host.Receive(Ip6.Advertisement(Ip6.Peer, NeighborFlags.Solicited, null))));
        Assert.Equal(
            DropReason.IPV6_NDISC_BAD_OPTIONS,
            host.DropOf(() => host.Receive(Ip6.Advertisement(Ip6.Peer, NeighborFlags.Solicited, PeerMac, destination: IpAddress.AllNodes))));
        Assert.Empty(host.Tcp.Resolved);
        host.AssertClean();
    }

    [Fact]
    public void A_claim_to_our_address_is_counted_and_defended_once_in_a_while()
    {
        using IpHost host = Ip6.Host();
        byte[] claim = Ip6.Frame(IpProtocol.Icmpv6, Claim(), Ip6.Peer, IpAddress.AllNodes, 255);
        host.Receive(claim);
        host.Receive(claim);
        AssertNeighborMessage(
            host.Device.TakeOne(), Icmpv6Type.NeighborAdvertisement, NeighborFlags.Override, Ip6.Local, LocalMac, Ip6.Local, IpAddress.AllNodes, new EthernetAddress(0x3333_0000_0001));
        Assert.Equal((2, PeerMac), (host.Counter("ndisc.conflicts"), host.Ip.Ipv6!.Ndp.LastConflict));
        host.NowUs = 10_000_000;
        host.Receive(claim);
        Assert.Single(host.Device.TakeAll());
        host.AssertClean();

        static byte[] Claim()
        {
            byte[] message = new byte[32];
            NeighborMessage.Write(message, Icmpv6Type.NeighborAdvertisement, NeighborFlags.Override, Ip6.Local, PeerMac, Ip6.Peer, IpAddress.AllNodes);
            return message;
        }
    }

    [Fact]
    public void Both_addresses_are_announced()
    {
        using IpHost host = Ip6.Host();
        host.Ip.Ipv6!.Ndp.Announce();
        IpAddress[] announced = [.. host.Device.TakeAll().Select(frame => IpAddress.Read(frame.AsSpan(54 + 8, 16)))];
        Assert.Equal([Ip6.Local, Ip6.LinkLocal], announced);
    }

    private static IpHost Reached()
    {
        IpHost host = Ip6.Host();
        Ip6.Send(host, Ip6.Peer);
        host.Receive(Ip6.Advertisement(Ip6.Peer, NeighborFlags.Solicited | NeighborFlags.Override, PeerMac));
        host.Device.TakeAll();
        return host;
    }

    private static (NeighborState State, EthernetAddress Hardware) StateOf(IpHost host)
    {
        NeighborTable table = host.Ip.Ipv6!.Ndp.Table;
        int entry = table.Find(Ip6.Peer, host.NowUs);
        return (table[entry].State, table[entry].Hardware);
    }

    private static void AssertNeighborMessage(
        byte[] frame, Icmpv6Type type, NeighborFlags flags, IpAddress target, EthernetAddress hardware, IpAddress source, IpAddress destination, EthernetAddress destinationMac)
    {
        Ip6.AssertChecksum(frame);
        Assert.True(EthernetView.TryParse(frame, out EthernetView ethernet));
        Assert.Equal((destinationMac, LocalMac), (ethernet.Destination, ethernet.Source));
        Assert.True(Ipv6View.TryParse(ethernet.Payload, out Ipv6View ip));
        Assert.Equal((source, destination, 255, IpProtocol.Icmpv6), (ip.Source, ip.Destination, ip.HopLimit, ip.NextHeader));
        Assert.Equal((type, 0), ((Icmpv6Type)frame[54], frame[55]));
        Assert.True(NeighborView.TryParse(frame.AsSpan(54), out NeighborView message));
        Assert.Equal((flags, target), (message.Flags, message.Target));
        Assert.True(message.TryReadOptions(type == Icmpv6Type.NeighborSolicitation ? (byte)1 : (byte)2, out EthernetAddress? told));
        Assert.Equal(hardware, told);
    }
}
