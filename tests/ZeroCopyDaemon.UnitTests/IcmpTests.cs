using System.Buffers.Binary;
using PacketDotNet;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;
using static ZeroCopyDaemon.UnitTests.IpHost;

namespace ZeroCopyDaemon.UnitTests;

public sealed class IcmpTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(56)]
    [InlineData(1472)]
    public void An_echo_comes_back_with_its_data(int length)
    {
        using var host = new IpHost().KnowPeer();
        byte[] data = Pattern(length);
        host.Receive(Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.Echo, 0, 0x1234_0001, data)));
        byte[] reply = host.Device.TakeOne();
        var oracle = (EthernetPacket)Packet.ParsePacket(LinkLayers.Ethernet, reply);
        var ip = oracle.Extract<IPv4Packet>();
        var icmp = oracle.Extract<IcmpV4Packet>();
        Assert.True(ip.ValidIPChecksum && icmp.ValidIcmpChecksum);
        Assert.Equal((Local.ToString(), Peer.ToString()), (ip.SourceAddress.ToString(), ip.DestinationAddress.ToString()));
        Assert.Equal((IcmpV4TypeCode.EchoReply, 0x1234, 1), (icmp.TypeCode, icmp.Id, icmp.Sequence));
        Assert.Equal(data, reply.AsSpan(42));
        host.Ip.Poll(1);
        host.AssertClean();
    }

    [Fact]
    public unsafe void The_reply_is_read_out_of_the_very_pages_that_the_request_came_in()
    {
        using var host = new IpHost().KnowPeer();
        host.Device.HoldCompletions = true;
        host.Receive(Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.Echo, 0, 1, Pattern(600))));
        LedgerEntry held = Assert.Single(PoolLedger.Entries(host.Pool));
        Assert.Equal((FragmentState.Transmitting, -1, 600), (held.State, held.Connection, held.Length));

        // No completion, no release; and the stack asks to be polled, as completions come without an event.
        host.NowUs = host.Ip.NextDeadlineUs;
        Assert.Equal(1000, host.NowUs);
        host.Ip.Poll(host.NowUs);
        Assert.Equal(1, host.Pool.FragmentsInUse);
        Assert.Equal(2000, host.Ip.NextDeadlineUs);
        host.Device.CompleteAll();
        host.Ip.Poll(2000);
        Assert.Equal(long.MaxValue, host.Ip.NextDeadlineUs);
        host.AssertClean();
    }

    [Fact]
    public void An_echo_longer_than_the_MTU_comes_back_in_fragments()
    {
        using var host = new IpHost(pageSize: 2048).KnowPeer();
        byte[] request = IcmpBytes(IcmpType.Echo, 0, 99, Pattern(5000));
        for (int offset = 0; offset < request.Length; offset += 1480)
        {
            int length = Math.Min(1480, request.Length - offset);
            host.Receive(Ipv4(IpProtocol.Icmp, request.AsSpan(offset, length), offset: offset, more: offset + length < request.Length));
        }

        byte[][] frames = host.Device.TakeAll();
        Assert.Equal(4, frames.Length);
        byte[] reply = new byte[request.Length];
        foreach (byte[] frame in frames)
        {
            Assert.True(Ipv4View.TryParse(frame.AsSpan(14), out Ipv4View ip));
            Assert.True(ip.IsChecksumValid && ip.TotalLength <= 1500 && frame.Length == 14 + ip.TotalLength);
            Assert.Equal(ip.FragmentOffset + ip.TotalLength - 20 < reply.Length, ip.MoreFragments);
            frame.AsSpan(34).CopyTo(reply.AsSpan(ip.FragmentOffset));
        }

        Assert.True(InternetChecksum.IsValid(reply));
        Assert.Equal(0, reply[0]);
        Assert.Equal(request.AsSpan(4), reply.AsSpan(4));
        Assert.Equal((1, 4), (host.Counter("ip.FragOKs"), host.Counter("ip.FragCreates")));
        host.Ip.Poll(1);
        host.AssertClean();
    }

    [Fact]
    public void A_full_ring_drops_the_reply_at_once_or_what_is_left_of_it()
    {
        using var host = new IpHost().KnowPeer();
        host.Device.Room = 0;
        byte[] request = Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.Echo, 0, 1, Pattern(600)));
        Assert.Equal(DropReason.FULL_RING, host.DropOf(() => host.Receive(request)));
        host.AssertClean();

        host.Device.Mtu = 576;
        host.Device.Room = 1;
        host.Device.HoldCompletions = true;
        Assert.Equal(DropReason.FULL_RING, host.DropOf(() => host.Receive(request)));
        Assert.Equal(1, host.Ip.HeldEchoes);
        host.Device.CompleteAll();
        host.Ip.Poll(1);
        host.AssertClean();
    }

    [Fact]
    public void An_echo_of_an_unknown_neighbour_asks_for_it_and_is_dropped()
    {
        using var host = new IpHost();
        Assert.Equal(DropReason.NEIGH_FAILED, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.Echo, 0, 1, Pattern(60))))));
        Assert.Equal(1, host.Counter("arp.OutRequests"));
        host.AssertClean();
    }

    [Fact]
    public void More_unread_replies_than_are_kept_are_dropped()
    {
        using var host = new IpHost().KnowPeer();
        host.Device.HoldCompletions = true;
        for (int i = 0; i < 300; i++)
        {
            host.Receive(Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.Echo, 0, (uint)i, Pattern(60))));
        }

        Assert.Equal((256, 44), (host.Ip.HeldEchoes, host.Drops[DropReason.FULL_RING]));
        host.Device.CompleteAll();
        host.Ip.Poll(1);
        host.AssertClean();
    }

    [Fact]
    public void A_corrupt_or_useless_message_is_dropped_by_reason()
    {
        using var host = new IpHost().KnowPeer();
        byte[] echo = IcmpBytes(IcmpType.Echo, 0, 1, Pattern(601));
        echo[300] ^= 1;
        Assert.Equal(DropReason.ICMP_CSUM, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Icmp, echo), Net.Devices.RxChecksum.Unnecessary)));
        Assert.Equal(DropReason.INVALID_PROTO, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Icmp, [8, 0, 0xF7, 0xFF]))));
        foreach (byte type in new byte[] { 0, 4, 5, 13, 17, 200 })
        {
            Assert.Equal(DropReason.INVALID_PROTO, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Icmp, IcmpBytes((IcmpType)type, 0, 0, Pattern(30))))));
        }

        Assert.Empty(host.Device.Frames);
        host.AssertClean();
    }

    [Fact]
    public void An_unknown_protocol_and_a_UDP_datagram_are_answered_by_unreachable()
    {
        using var host = new IpHost().KnowPeer();
        byte[] sctp = Ipv4((IpProtocol)132, Pattern(100), options: [1, 1, 1, 1]);
        Assert.Equal(DropReason.IP_NOPROTO, host.DropOf(() => host.Receive(sctp)));
        byte[] error = host.Device.TakeOne();
        Assert.Equal((3, 2, 34 + 8 + 24 + 28), (error[34], error[35], error.Length));
        Assert.Equal(sctp.AsSpan(14, 24 + 28), error.AsSpan(42));
        Assert.True(InternetChecksum.IsValid(error.AsSpan(34)));

        byte[] udp = Ipv4(IpProtocol.Udp, [0x10, 0, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
        Assert.Equal(DropReason.NO_SOCKET, host.DropOf(() => host.Receive(udp)));
        error = host.Device.TakeOne();
        Assert.Equal((3, 3), (error[34], error[35]));
        Assert.Equal(udp.AsSpan(14, 20 + 12), error.AsSpan(42));
        Assert.Equal(2, host.Counter("icmp.OutDestUnreachs"));
        host.AssertClean();
    }

    [Fact]
    public void No_error_is_ever_sent_about_an_error_a_broadcast_a_later_fragment_or_an_impossible_source()
    {
        using var host = new IpHost().KnowPeer();
        host.Receive(Ipv4(IpProtocol.Udp, Pattern(20), destination: IpAddress.Parse("10.0.0.255"), destinationMac: EthernetAddress.Broadcast));
        host.Receive(Ipv4(IpProtocol.Udp, Pattern(20), destination: IpAddress.Parse("224.0.0.1"), destinationMac: EthernetAddress.Broadcast));
        host.Receive(Ipv4(IpProtocol.Udp, Pattern(20), destinationMac: EthernetAddress.Broadcast));
        host.Receive(Ipv4(IpProtocol.Udp, Pattern(20), source: IpAddress.Parse("224.0.0.1")));
        host.Receive(Ipv4((IpProtocol)132, Pattern(80), offset: 80, more: true));

        // A datagram that timed out: an ICMP error in fragments, and one too short to tell.
        byte[] icmpError = IcmpBytes(IcmpType.DestinationUnreachable, 0, 0, Pattern(200));
        host.Receive(Ipv4(IpProtocol.Icmp, icmpError.AsSpan(0, 80), id: 50, more: true));
        host.Ip.Poll(30_000_000);
        Assert.Empty(host.Device.Frames);
        Assert.Equal(0, host.Counter("icmp.OutMsgs"));

        // But about an echo request in fragments.
        host.KnowPeer();
        host.Receive(Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.Echo, 0, 0, Pattern(200)).AsSpan(0, 80), id: 51, more: true));
        host.Ip.Poll(60_000_000);
        Assert.Single(host.Device.Frames, frame => frame[13] == 0 && frame[34] == 11);
        host.AssertClean();
    }

    [Fact]
    public void Errors_are_sent_at_a_limited_rate()
    {
        using var host = new IpHost(options => options with { IcmpRatePerSecond = 10 }).KnowPeer();
        byte[] udp = Ipv4(IpProtocol.Udp, Pattern(20));
        for (int i = 0; i < 100; i++)
        {
            host.Receive(udp);
        }

        Assert.Equal(10, host.Device.TakeAll().Length);
        Assert.Equal(90, host.Counter("icmp.OutRateLimitGlobal"));
        host.NowUs = 250_000;
        for (int i = 0; i < 100; i++)
        {
            host.Receive(udp);
        }

        Assert.Equal(2, host.Device.TakeAll().Length);
        host.NowUs = 20_000_000;
        for (int i = 0; i < 100; i++)
        {
            host.Receive(udp);
        }

        Assert.Equal(10, host.Device.TakeAll().Length);
        host.AssertClean();
    }

    [Fact]
    public void An_error_that_quotes_a_segment_of_ours_is_told_to_TCP()
    {
        using var host = new IpHost();
        IpAddress far = IpAddress.Parse("192.0.2.1");
        host.Receive(Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.DestinationUnreachable, 4, 1280, Quote(Local, far)), source: Gateway));
        host.Receive(Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.DestinationUnreachable, 1, 1280, Quote(Local, far, options: 40))));
        host.Receive(Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.TimeExceeded, 0, 0, Quote(Local, far))));
        host.Receive(Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.ParameterProblem, 0, 0, Quote(Local, far))));
        var local = new IpEndpoint(Local, 80);
        var remote = new IpEndpoint(far, 5000);
        Assert.Equal([(local, remote, 77u, 3, 4, 1280), (local, remote, 77u, 3, 1, 0), (local, remote, 77u, 11, 0, 0), (local, remote, 77u, 12, 0, 0)], host.Tcp.Errors);
        host.AssertClean();
    }

    [Fact]
    public void A_quote_that_we_cannot_have_sent_is_of_no_use()
    {
        using var host = new IpHost();
        byte[] good = Quote(Local, Peer);
        byte[] notFirst = [.. good];
        notFirst[7] = 5;
        byte[] notTcp = [.. good];
        notTcp[9] = 17;
        byte[] badHeader = [.. good];
        badHeader[0] = 0x43;
        foreach (byte[] quote in new[] { Quote(Peer, Local), Quote(Local, IpAddress.Parse("255.255.255.255")), good[..27], good[..8], [], notFirst, notTcp, badHeader })
        {
            Assert.Equal(
                DropReason.INVALID_PROTO,
                host.DropOf(() => host.Receive(Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.DestinationUnreachable, 1, 0, quote)))));
        }

        Assert.Empty(host.Tcp.Errors);
        host.AssertClean();
    }

    private static byte[] Quote(IpAddress source, IpAddress destination, int options = 0)
    {
        byte[] quote = new byte[20 + options + 8];
        Ipv4Header.Write(quote, source, destination, IpProtocol.Tcp, 1500, 0, Ipv4Header.DontFragment);
        quote[0] = (byte)(0x45 + (options / 4));
        BinaryPrimitives.WriteUInt16BigEndian(quote.AsSpan(20 + options), 80);
        BinaryPrimitives.WriteUInt16BigEndian(quote.AsSpan(22 + options), 5000);
        BinaryPrimitives.WriteUInt32BigEndian(quote.AsSpan(24 + options), 77);
        return quote;
    }
}
