using System.Buffers.Binary;
using PacketDotNet;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;
using static ZeroCopyDaemon.UnitTests.IpHost;

namespace ZeroCopyDaemon.UnitTests;

public sealed class Icmpv6Tests
{
    [Theory]
    [InlineData(0, 0)]
    [InlineData(56, 0)]
    [InlineData(1452, 3)]
    public void An_echo_comes_back_with_its_data(int length, byte code)
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        byte[] data = Pattern(length);
        host.Receive(Ip6.Frame(IpProtocol.Icmpv6, Ip6.Icmp(Icmpv6Type.EchoRequest, code, 0x1234_0001, data)));
        byte[] reply = host.Device.TakeOne();
        Ip6.AssertChecksum(reply);
        var oracle = (EthernetPacket)Packet.ParsePacket(LinkLayers.Ethernet, reply);
        var ip = oracle.Extract<IPv6Packet>();
        Assert.Equal((Ip6.Local.ToString(), Ip6.Peer.ToString(), 64), (ip.SourceAddress.ToString(), ip.DestinationAddress.ToString(), ip.HopLimit));
        Assert.Equal((129, 0, 0x1234_0001u), (reply[54], reply[55], BinaryPrimitives.ReadUInt32BigEndian(reply.AsSpan(58))));
        Assert.Equal(data, reply.AsSpan(62));
        host.Ip.Poll(1);
        host.AssertClean();
    }

    [Fact]
    public void An_echo_to_all_nodes_is_answered_by_our_own_address_of_the_askers_scope()
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        foreach ((IpAddress asker, IpAddress answerer) in new[] { (Ip6.Peer, Ip6.Local), (Ip6.PeerLinkLocal, Ip6.LinkLocal) })
        {
            host.Receive(Ip6.Frame(IpProtocol.Icmpv6, Ip6.Icmp(Icmpv6Type.EchoRequest, 0, 7, Pattern(33), asker, IpAddress.AllNodes), asker, IpAddress.AllNodes));
            byte[] reply = host.Device.TakeOne();
            Ip6.AssertChecksum(reply);
            Assert.Equal((answerer, asker), (IpAddress.Read(reply.AsSpan(22, 16)), IpAddress.Read(reply.AsSpan(38, 16))));
        }

        host.Ip.Poll(1);
        host.AssertClean();
    }

    [Fact]
    public void The_reply_is_read_out_of_the_very_pages_that_the_request_came_in()
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        host.Device.HoldCompletions = true;
        host.Receive(Ip6.Frame(IpProtocol.Icmpv6, Ip6.Icmp(Icmpv6Type.EchoRequest, 0, 1, Pattern(600))));
        LedgerEntry held = Assert.Single(PoolLedger.Entries(host.Pool));
        Assert.Equal((FragmentState.Transmitting, -1, 600), (held.State, held.Connection, held.Length));
        Assert.Equal(1000, host.Ip.NextDeadlineUs);
        host.Device.CompleteAll();
        host.Ip.Poll(1000);
        Assert.Equal(long.MaxValue, host.Ip.NextDeadlineUs);
        host.AssertClean();
    }

    [Fact]
    public void An_echo_longer_than_the_MTU_comes_back_in_fragments_and_after_a_packet_too_big_in_shorter_ones()
    {
        using IpHost host = Ip6.Host(pageSize: 2048).KnowNeighbors();
        byte[] request = Ip6.Icmp(Icmpv6Type.EchoRequest, 0, 99, Pattern(5000));
        Assert.Equal(4, Reply(1500).Length);

        // A forged or a genuine message may shorten the pieces, but never below what every link carries.
        host.Receive(TooBig(1279));
        Assert.Equal(4, Reply(1500).Length);
        host.Receive(TooBig(1280));
        Assert.Equal(5, Reply(1280).Length);
        host.Receive(TooBig(1400));
        Assert.Equal(5, Reply(1280).Length);

        // For ten minutes.
        host.NowUs = 601_000_000;
        host.KnowNeighbors();
        Assert.Equal(4, Reply(1500).Length);
        Assert.Equal((5, 22), (host.Counter("ip6.FragOKs"), host.Counter("ip6.FragCreates")));
        host.AssertClean();

        byte[] TooBig(uint mtu)
        {
            byte[] quote = new byte[100];
            Ipv6Header.Write(quote, Ip6.Local, Ip6.Peer, IpProtocol.Ipv6Fragment, 1460);
            return Ip6.Frame(IpProtocol.Icmpv6, Ip6.Icmp(Icmpv6Type.PacketTooBig, 0, mtu, quote));
        }

        byte[][] Reply(int mtu)
        {
            for (int offset = 0; offset < request.Length; offset += 1448)
            {
                int length = Math.Min(1448, request.Length - offset);
                host.Receive(Ip6.Fragment(IpProtocol.Icmpv6, request.AsSpan(offset, length), offset, more: offset + length < request.Length));
            }

            byte[][] frames = host.Device.TakeAll();
            byte[] reply = new byte[request.Length];
            uint? identification = null;
            foreach (byte[] frame in frames)
            {
                Assert.True(Ipv6View.TryParse(frame.AsSpan(14), out Ipv6View ip));
                Assert.True(ip.NextHeader == IpProtocol.Ipv6Fragment && ip.TotalLength <= mtu && frame.Length == 14 + ip.TotalLength);
                var fragment = new Ipv6FragmentView(frame.AsSpan(54));
                identification ??= fragment.Identification;
                Assert.Equal((identification.Value, IpProtocol.Icmpv6), (fragment.Identification, fragment.NextHeader));
                Assert.Equal(fragment.FragmentOffset + frame.Length - 62 < reply.Length, fragment.MoreFragments);
                frame.AsSpan(62).CopyTo(reply.AsSpan(fragment.FragmentOffset));
            }

            Assert.True(InternetChecksum.IsValid(reply, InternetChecksum.PseudoHeader(Ip6.Local, Ip6.Peer, IpProtocol.Icmpv6, reply.Length)));
            Assert.Equal(129, reply[0]);
            Assert.Equal(request.AsSpan(4), reply.AsSpan(4));
            host.Ip.Poll(host.NowUs + 1);
            return frames;
        }
    }

    [Fact]
    public void A_corrupt_or_useless_message_is_dropped_by_reason_and_nobody_is_told()
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        byte[] echo = Ip6.Icmp(Icmpv6Type.EchoRequest, 0, 1, Pattern(601));
        echo[300] ^= 1;
        Assert.Equal(DropReason.ICMP_CSUM, host.DropOf(() => host.Receive(Ip6.Frame(IpProtocol.Icmpv6, echo), Net.Devices.RxChecksum.Unnecessary)));
        Assert.Equal(DropReason.INVALID_PROTO, host.DropOf(() => host.Receive(Ip6.Frame(IpProtocol.Icmpv6, [128, 0, 0, 0]))));
        foreach (byte type in new byte[] { 5, 100, 127, 129, 130, 133, 134, 137, 143, 200, 255 })
        {
            Assert.Equal(DropReason.INVALID_PROTO, host.DropOf(() => host.Receive(Ip6.Frame(IpProtocol.Icmpv6, Ip6.Icmp((Icmpv6Type)type, 0, 0, Pattern(30))))));
        }

        byte[] fromNobody = Ip6.Icmp(Icmpv6Type.EchoRequest, 0, 0, Pattern(30), IpAddress.Any, IpAddress.AllNodes);
        Assert.Equal(DropReason.IP_INADDRERRORS, host.DropOf(() => host.Receive(Ip6.Frame(IpProtocol.Icmpv6, fromNobody, IpAddress.Any, IpAddress.AllNodes))));
        Assert.Empty(host.Device.Frames);
        host.AssertClean();
    }

    [Fact]
    public void UDP_and_what_is_unknown_are_answered_with_as_much_of_the_packet_as_every_link_carries()
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        byte[] udp = Ip6.Frame(IpProtocol.Udp, Pattern(1452));
        Assert.Equal(DropReason.NO_SOCKET, host.DropOf(() => host.Receive(udp)));
        AssertError(host.Device.TakeOne(), 1, 4, 0, udp);

        byte[] sctp = Ip6.Frame((IpProtocol)132, Pattern(100));
        Assert.Equal(DropReason.IP_NOPROTO, host.DropOf(() => host.Receive(sctp)));
        AssertError(host.Device.TakeOne(), 4, 1, 6, sctp);

        byte[] behindOptions = Ip6.Frame(IpProtocol.Ipv6Options, [.. Ip6.Options((IpProtocol)50, 5, 2, 0, 0), .. Pattern(100)]);
        Assert.Equal(DropReason.IP_NOPROTO, host.DropOf(() => host.Receive(behindOptions)));
        AssertError(host.Device.TakeOne(), 4, 1, 40, behindOptions);
        Assert.Equal((1, 2), (host.Counter("icmp6.OutDestUnreachs"), host.Counter("icmp6.OutParmProblems")));
        host.AssertClean();
    }

    [Fact]
    public void Extension_headers_that_we_refuse_are_answered_and_the_byte_to_blame_is_named()
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        byte[] tcp = Ip6.Tcp(Pattern(100));
        byte[] routed = Ip6.Frame(IpProtocol.Ipv6Route, [6, 2, 0, 1, .. new byte[20], .. tcp]);
        Assert.Equal(DropReason.IPV6_BAD_EXTHDR, host.DropOf(() => host.Receive(routed)));
        AssertError(host.Device.TakeOne(), 4, 0, 42, routed);
        byte[] option = Ip6.Frame(0, [.. Ip6.Options(IpProtocol.Ipv6Options), .. Ip6.Options(IpProtocol.Tcp, 1, 0, 0xC7, 0), .. tcp]);
        Assert.Equal(DropReason.IPV6_BAD_EXTHDR, host.DropOf(() => host.Receive(option)));
        AssertError(host.Device.TakeOne(), 4, 2, 52, option);

        // Silently.
        Assert.Equal(DropReason.IPV6_BAD_EXTHDR, host.DropOf(() => host.Receive(Ip6.Frame(0, [.. Ip6.Options(IpProtocol.Tcp, 0x47, 0), .. tcp]))));
        Assert.Empty(host.Device.Frames);
        host.AssertClean();
    }

    [Fact]
    public void No_error_is_ever_sent_about_an_error_a_redirect_or_a_packet_to_many_but_for_the_option_that_asks_for_it()
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        byte[] refused = Ip6.Options(IpProtocol.Icmpv6, 0xC7, 0), always = Ip6.Options(IpProtocol.Icmpv6, 0x87, 0);
        foreach (Icmpv6Type type in new[] { Icmpv6Type.DestinationUnreachable, Icmpv6Type.ParameterProblem, (Icmpv6Type)99, Icmpv6Type.Redirect })
        {
            host.Receive(Ip6.Frame(IpProtocol.Ipv6Options, [.. refused, .. Ip6.Icmp(type, 0, 0, Pattern(100))]));
        }

        // Too short to tell what it is.
        host.Receive(Ip6.Frame(IpProtocol.Ipv6Options, [.. refused, 128, 0]));
        byte[] echo = Ip6.Icmp(Icmpv6Type.EchoRequest, 0, 0, Pattern(100), destination: IpAddress.AllNodes);
        host.Receive(Ip6.Frame(IpProtocol.Ipv6Options, [.. refused, .. echo], destination: IpAddress.AllNodes));
        host.Receive(Ip6.Frame(IpProtocol.Udp, Pattern(30), destination: IpAddress.AllNodes));
        host.Receive(Ip6.Frame((IpProtocol)132, Pattern(30), destination: IpAddress.AllNodes));
        host.Receive(Ip6.Frame(IpProtocol.Ipv6Options, [.. always, .. echo], source: IpAddress.Any, destination: IpAddress.AllNodes));
        Assert.Empty(host.Device.Frames);

        byte[] toAll = Ip6.Frame(IpProtocol.Ipv6Options, [.. always, .. echo], destination: IpAddress.AllNodes);
        host.Receive(toAll);
        AssertError(host.Device.TakeOne(), 4, 2, 42, toAll);
        host.AssertClean();
    }

    [Fact]
    public void Errors_are_sent_at_a_limited_rate_and_only_as_the_device_reads_them()
    {
        using IpHost host = Ip6.Host(options => options with { IcmpRatePerSecond = 100 }).KnowNeighbors();
        byte[] udp = Ip6.Frame(IpProtocol.Udp, Pattern(20));
        for (int i = 0; i < 200; i++)
        {
            host.Receive(udp);
        }

        Assert.Equal(100, host.Device.TakeAll().Length);
        Assert.Equal(100, host.Counter("icmp6.OutRateLimitHost"));
        host.NowUs = 20_000_000;
        host.Device.CompleteAll();
        host.Device.HoldCompletions = true;
        for (int i = 0; i < 50; i++)
        {
            host.Receive(udp);
        }

        Assert.Equal((32, 18), (host.Device.TakeAll().Length, host.Counter("icmp6.OutErrors")));
        host.Device.CompleteAll();
        host.Receive(udp);
        AssertError(host.Device.TakeOne(), 1, 4, 0, udp);
        host.AssertClean();
    }

    [Fact]
    public void An_error_that_quotes_a_segment_of_ours_is_told_to_TCP_as_ICMP_would_tell_it()
    {
        using IpHost host = Ip6.Host();
        foreach ((Icmpv6Type type, byte code, uint rest) in new (Icmpv6Type, byte, uint)[]
        {
            (Icmpv6Type.PacketTooBig, 0, 1280), (Icmpv6Type.DestinationUnreachable, 0, 0), (Icmpv6Type.DestinationUnreachable, 1, 0), (Icmpv6Type.DestinationUnreachable, 3, 0),
            (Icmpv6Type.DestinationUnreachable, 4, 0), (Icmpv6Type.TimeExceeded, 0, 0), (Icmpv6Type.ParameterProblem, 1, 6), (Icmpv6Type.ParameterProblem, 0, 4),
        })
        {
            host.Receive(Ip6.Frame(IpProtocol.Icmpv6, Ip6.Icmp(type, code, rest, Quote(Ip6.Local, Ip6.Far), Ip6.Gateway), Ip6.Gateway));
        }

        var local = new IpEndpoint(Ip6.Local, 80);
        var remote = new IpEndpoint(Ip6.Far, 5000);
        Assert.All(host.Tcp.Errors, error => Assert.Equal((local, remote, 77u), (error.Local, error.Remote, error.Seq)));
        Assert.Equal([(3, 4, 1280), (3, 0, 0), (3, 10, 0), (3, 1, 0), (3, 3, 0), (11, 0, 0), (3, 2, 0), (12, 0, 0)], host.Tcp.Errors.Select(error => ((int)error.Type, (int)error.Code, error.Mtu)));
        host.AssertClean();
    }

    [Fact]
    public void A_quote_that_we_cannot_have_sent_and_an_MTU_that_no_link_has_are_of_no_use()
    {
        using IpHost host = Ip6.Host();
        byte[] good = Quote(Ip6.Local, Ip6.Peer);
        byte[] notTcp = [.. good];
        notTcp[6] = 17;
        byte[] badHeader = [.. good];
        badHeader[0] = 0x40;
        foreach (byte[] quote in new[] { Quote(Ip6.Peer, Ip6.Local), Quote(Ip6.Local, IpAddress.AllNodes), Quote(Ip6.LinkLocal, Ip6.Peer), good[..47], good[..8], [], notTcp, badHeader })
        {
            Assert.Equal(
                DropReason.INVALID_PROTO, host.DropOf(() => host.Receive(Ip6.Frame(IpProtocol.Icmpv6, Ip6.Icmp(Icmpv6Type.DestinationUnreachable, 1, 0, quote)))));
        }

        Assert.Equal(DropReason.INVALID_PROTO, host.DropOf(() => host.Receive(Ip6.Frame(IpProtocol.Icmpv6, Ip6.Icmp(Icmpv6Type.PacketTooBig, 0, 1279, good)))));
        Assert.Empty(host.Tcp.Errors);
        host.AssertClean();
    }

    private static void AssertError(byte[] error, byte type, byte code, uint rest, byte[] about)
    {
        Ip6.AssertChecksum(error);
        Assert.Equal((type, code, rest), (error[54], error[55], BinaryPrimitives.ReadUInt32BigEndian(error.AsSpan(58))));
        Assert.Equal(Math.Min(14 + 1280, about.Length + 48), error.Length);
        Assert.Equal(about.AsSpan(14, error.Length - 62), error.AsSpan(62));
        Assert.True(Ip6.Local == IpAddress.Read(error.AsSpan(22, 16)) && Ip6.Peer == IpAddress.Read(error.AsSpan(38, 16)));
    }

    private static byte[] Quote(IpAddress source, IpAddress destination)
    {
        byte[] quote = new byte[48];
        Ipv6Header.Write(quote, source, destination, IpProtocol.Tcp, 1440);
        BinaryPrimitives.WriteUInt16BigEndian(quote.AsSpan(40), 80);
        BinaryPrimitives.WriteUInt16BigEndian(quote.AsSpan(42), 5000);
        BinaryPrimitives.WriteUInt32BigEndian(quote.AsSpan(44), 77);
        return quote;
    }
}
