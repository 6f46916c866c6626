using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Ip;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.UnitTests.IpHost;

namespace ZeroCopyDaemon.UnitTests;

public sealed class ArpTests
{
    [Fact]
    public void A_request_for_our_address_is_answered_and_its_sender_known_from_then_on()
    {
        using var host = new IpHost();
        host.Receive(Arp(ArpOperation.Request, PeerMac, Peer, Local));
        byte[] reply = host.Device.TakeOne();
        Assert.True(EthernetView.TryParse(reply, out EthernetView ethernet));
        Assert.Equal((PeerMac, LocalMac), (ethernet.Destination, ethernet.Source));
        Assert.True(ArpView.TryParse(ethernet.Payload, out ArpView arp));
        Assert.Equal(
            (ArpOperation.Reply, LocalMac, Local, PeerMac, Peer),
            (arp.Operation, arp.SenderHardware, arp.SenderProtocol, arp.TargetHardware, arp.TargetProtocol));
        Assert.Equal(IpSendResult.Sent, Send(host, Peer));
        host.AssertClean();
    }

    [Fact]
    public void Requests_for_others_are_not_answered_nor_learned_from()
    {
        using var host = new IpHost();
        Assert.Equal(DropReason.ARP_IGNORED, host.DropOf(() => host.Receive(Arp(ArpOperation.Request, PeerMac, Peer, Gateway))));
        Assert.Empty(host.Device.Frames);
        Assert.Equal(0, host.Ip.Arp.Table.Count);
    }

    [Fact]
    public void With_a_whole_prefix_each_host_answers_with_its_own_MAC()
    {
        using var host = new IpHost(options => options with { PrefixLength = 8, OwnsWholePrefix = true, HostPrefix = IpAddress.Parse("10.9.0.0"), HostPrefixLength = 16 });
        IpAddress target = IpAddress.Parse("10.9.3.4");
        host.Receive(Arp(ArpOperation.Request, PeerMac, Peer, target));
        byte[] reply = host.Device.TakeOne();
        Assert.True(ArpView.TryParse(reply.AsSpan(14), out ArpView arp));
        Assert.Equal((EthernetAddress.ForHost(target), target), (arp.SenderHardware, arp.SenderProtocol));
        Assert.Equal(DropReason.ARP_IGNORED, host.DropOf(() => host.Receive(Arp(ArpOperation.Request, PeerMac, Gateway, IpAddress.Parse("10.8.3.4")))));
    }

    [Fact]
    public void A_segment_for_an_unknown_neighbour_asks_and_goes_out_once_answered()
    {
        using var host = new IpHost();
        Assert.Equal(IpSendResult.AwaitingNeighbor, Send(host, Peer));
        Assert.Equal(IpSendResult.AwaitingNeighbor, Send(host, Peer));
        byte[] request = host.Device.TakeOne();
        Assert.True(EthernetView.TryParse(request, out EthernetView ethernet));
        Assert.Equal(EthernetAddress.Broadcast, ethernet.Destination);
        Assert.True(ArpView.TryParse(ethernet.Payload, out ArpView arp));
        Assert.Equal((ArpOperation.Request, LocalMac, Local, Peer), (arp.Operation, arp.SenderHardware, arp.SenderProtocol, arp.TargetProtocol));
        host.Receive(Arp(ArpOperation.Reply, PeerMac, Peer, Local, LocalMac));
        Assert.Equal([Peer], host.Tcp.Resolved);
        Assert.Equal(IpSendResult.Sent, Send(host, Peer));
        Assert.True(EthernetView.TryParse(host.Device.TakeOne(), out ethernet));
        Assert.Equal(PeerMac, ethernet.Destination);
        Assert.Equal(long.MaxValue, host.Ip.NextDeadlineUs);
    }

    [Fact]
    public void Three_unanswered_requests_a_second_apart_are_a_failure_and_a_second_later_it_asks_anew()
    {
        using var host = new IpHost();
        Send(host, Peer);
        for (int second = 1; second <= 3; second++)
        {
            Assert.Equal(second, host.Counter("arp.OutRequests"));
            Assert.Equal(second * 1_000_000, host.Ip.NextDeadlineUs);
            Assert.Empty(host.Tcp.Failed);
            host.Ip.Poll(second * 1_000_000);
        }

        Assert.Equal(3, host.Counter("arp.OutRequests"));
        Assert.Equal([Peer], host.Tcp.Failed);
        Assert.Equal(long.MaxValue, host.Ip.NextDeadlineUs);
        host.NowUs = 3_500_000;
        Assert.Equal(IpSendResult.Unreachable, Send(host, Peer));
        host.NowUs = 4_000_000;
        Assert.Equal(IpSendResult.AwaitingNeighbor, Send(host, Peer));
        host.Receive(Arp(ArpOperation.Reply, PeerMac, Peer, Local, LocalMac));
        Assert.Equal([Peer], host.Tcp.Resolved);
    }

    [Fact]
    public void A_stale_neighbour_is_used_and_asked_again_by_unicast()
    {
        using var host = new IpHost().KnowPeer();
        host.NowUs = NeighborTable.ReachableUs;
        Assert.Equal(IpSendResult.Sent, Send(host, Peer));
        byte[][] frames = host.Device.TakeAll();
        Assert.True(EthernetView.TryParse(frames[0], out EthernetView ethernet));
        Assert.Equal((EtherType.Arp, PeerMac, 2), (ethernet.EtherType, ethernet.Destination, frames.Length));
        host.Receive(Arp(ArpOperation.Reply, PeerMac, Peer, Local, LocalMac));
        Assert.Equal(long.MaxValue, host.Ip.NextDeadlineUs);
        Send(host, Peer);
        Assert.Single(host.Device.TakeAll());
        Assert.Empty(host.Tcp.Resolved);

        host.NowUs = 2 * NeighborTable.ReachableUs;
        Send(host, Peer);
        for (int second = 1; second <= 3; second++)
        {
            Assert.Equal(IpSendResult.Sent, Send(host, Peer));
            host.Ip.Poll(host.NowUs + (second * 1_000_000));
        }

        Assert.Equal([Peer], host.Tcp.Failed);
        Assert.Equal(IpSendResult.Unreachable, Send(host, Peer));
    }

    [Fact]
    public void A_gratuitous_ARP_updates_what_is_known_and_adds_nothing()
    {
        using var host = new IpHost();
        var moved = new EthernetAddress(0x0200_0000_00AA);
        Assert.Equal(DropReason.ARP_IGNORED, host.DropOf(() => host.Receive(Arp(ArpOperation.Request, moved, Peer, Peer))));
        Assert.Equal(0, host.Ip.Arp.Table.Count);
        host.KnowPeer();
        host.Receive(Arp(ArpOperation.Request, moved, Peer, Peer));
        Send(host, Peer);
        Assert.True(EthernetView.TryParse(host.Device.TakeOne(), out EthernetView ethernet));
        Assert.Equal(moved, ethernet.Destination);
    }

    [Fact]
    public void Nobody_takes_our_address_and_a_probe_for_it_is_answered_without_learning()
    {
        using var host = new IpHost();
        Assert.Equal(DropReason.ARP_IGNORED, host.DropOf(() => host.Receive(Arp(ArpOperation.Reply, PeerMac, Local, Peer))));
        Assert.Equal(1, host.Counter("arp.conflicts"));
        Assert.Equal(PeerMac, host.Ip.Arp.LastConflict);

        // It is defended by an announcement, but not at every claim (RFC 5227 section 2.4).
        Assert.True(EthernetView.TryParse(Assert.Single(host.Device.TakeAll()), out EthernetView defence));
        Assert.True(ArpView.TryParse(defence.Payload, out ArpView arp));
        Assert.Equal((EthernetAddress.Broadcast, Local, Local), (defence.Destination, arp.SenderProtocol, arp.TargetProtocol));
        host.Receive(Arp(ArpOperation.Reply, PeerMac, Local, Peer));
        Assert.Equal(2, host.Counter("arp.conflicts"));
        Assert.Empty(host.Device.TakeAll());
        host.Receive(Arp(ArpOperation.Request, PeerMac, default, Local));
        Assert.Single(host.Device.TakeAll());
        Assert.Equal(0, host.Ip.Arp.Table.Count);
        host.AssertClean();
    }

    [Fact]
    public void Unsolicited_replies_and_impossible_senders_are_ignored()
    {
        using var host = new IpHost();
        Assert.Equal(DropReason.ARP_IGNORED, host.DropOf(() => host.Receive(Arp(ArpOperation.Reply, PeerMac, Peer, Local))));
        Assert.Equal(DropReason.ARP_IGNORED, host.DropOf(() => host.Receive(Arp(ArpOperation.Request, EthernetAddress.Broadcast, Peer, Local))));
        Assert.Equal(DropReason.ARP_IGNORED, host.DropOf(() => host.Receive(Arp(ArpOperation.Request, default, Peer, Local))));
        Assert.Equal(DropReason.ARP_IGNORED, host.DropOf(() => host.Receive(Arp(ArpOperation.Request, PeerMac, IpAddress.Parse("10.0.0.255"), Local))));
        Assert.Equal(DropReason.ARP_IGNORED, host.DropOf(() => host.Receive(Arp(ArpOperation.Request, PeerMac, IpAddress.Parse("224.0.0.9"), Local))));
        Assert.Equal(DropReason.ARP_IGNORED, host.DropOf(() => host.Receive(Arp((ArpOperation)3, PeerMac, Peer, Local))));
        Assert.Equal(DropReason.ARP_IGNORED, host.DropOf(() => host.Receive(Arp(ArpOperation.Request, PeerMac, Peer, Local)[..41])));
        Assert.Equal(0, host.Ip.Arp.Table.Count);
        Assert.Empty(host.Device.Frames);
    }

    [Fact]
    public void A_flood_of_requests_cannot_grow_the_table_nor_push_out_who_is_being_asked()
    {
        using var host = new IpHost(options => options with { MaxNeighbors = 32, PrefixLength = 8 });
        Send(host, Peer);
        for (uint i = 0; i < 1000; i++)
        {
            host.Receive(Arp(ArpOperation.Request, new EthernetAddress(0x0200_0001_0000UL + i), IpAddress.FromV4(0x0A050000 + i), Local));
        }

        Assert.Equal(32, host.Ip.Arp.Table.Count);
        host.Receive(Arp(ArpOperation.Reply, PeerMac, Peer, Local, LocalMac));
        Assert.Equal([Peer], host.Tcp.Resolved);
        Assert.Equal(IpSendResult.AwaitingNeighbor, Send(host, IpAddress.FromV4(0x0A050000)));
        Assert.Equal(IpSendResult.Sent, Send(host, IpAddress.FromV4(0x0A050000 + 999)));
        host.AssertClean();
    }

    [Fact]
    public void A_table_full_of_neighbours_being_asked_for_takes_no_more_until_one_has_failed()
    {
        using var host = new IpHost(options => options with { MaxNeighbors = 4 });
        for (byte i = 10; i < 14; i++)
        {
            Assert.Equal(IpSendResult.AwaitingNeighbor, Send(host, IpAddress.FromV4(10, 0, 0, i)));
        }

        Assert.Equal(IpSendResult.Unreachable, Send(host, Peer));
        Assert.Equal(1, host.Counter("arp.table_fulls"));
        for (int second = 1; second <= 3; second++)
        {
            host.Ip.Poll(second * 1_000_000);
        }

        Assert.Equal(4, host.Tcp.Failed.Count);
        Assert.Equal(IpSendResult.AwaitingNeighbor, Send(host, Peer));
    }

    [Fact]
    public void Random_use_keeps_the_table_whole()
    {
        var random = new Random(3);
        using var host = new IpHost(options => options with { MaxNeighbors = 16, PrefixLength = 8 });
        host.Device.Keep = false;
        for (int step = 0; step < 20_000; step++)
        {
            host.NowUs += random.Next(0, 400_000);
            IpAddress address = IpAddress.FromV4(0x0A070000 + (uint)random.Next(40));
            switch (random.Next(4))
            {
                case 0:
                    Send(host, address);
                    break;
                case 1:
                    host.Receive(Arp(ArpOperation.Request, PeerMac, address, Local));
                    break;
                case 2:
                    host.Receive(Arp(ArpOperation.Reply, PeerMac, address, Local, LocalMac));
                    break;
                default:
                    host.Ip.Poll(host.NowUs);
                    Assert.True(host.Ip.NextDeadlineUs > host.NowUs);
                    break;
            }

            Assert.True(host.Ip.Arp.Table.Count <= 16);
        }

        Assert.NotEmpty(host.Tcp.Failed);
        Assert.NotEmpty(host.Tcp.Resolved);
        host.AssertClean();
    }

    [Fact]
    public void A_request_lost_to_a_full_ring_is_asked_again()
    {
        using var host = new IpHost();
        host.Device.Room = 0;
        Assert.Equal(IpSendResult.AwaitingNeighbor, Send(host, Peer));
        host.Device.Room = 1;
        host.Ip.Poll(1_000_000);
        Assert.Single(host.Device.TakeAll());
        Assert.Equal(DropReason.FULL_RING, host.DropOf(() => host.Receive(Arp(ArpOperation.Request, PeerMac, Peer, Local))));
    }

    internal static IpSendResult Send(IpHost host, IpAddress to) => host.Ip.Output.SendTcp(
        new TcpHeaderToSend { Source = new IpEndpoint(Local, 80), Destination = new IpEndpoint(to, 1000), Flags = TcpFlags.Ack }, default, 0, 0, host.NowUs);
}
