using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Ip;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.UnitTests.IpHost;

namespace ZeroCopyDaemon.UnitTests;

public sealed class Ipv6InputTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(1440)]
    [InlineData(8940)]
    public void A_segment_reaches_TCP_with_its_payload_in_the_pages_it_came_in(int length)
    {
        using IpHost host = Ip6.Host();
        byte[] payload = Pattern(length);
        host.Receive(Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp(payload, options: [1, 1, 8, 10, 0, 0, 0, 3, 0, 0, 0, 4])));
        RecordedSegment segment = Assert.Single(host.Tcp.Segments);
        Assert.Equal((new IpEndpoint(Ip6.Peer, 1000), new IpEndpoint(Ip6.Local, 80)), (segment.Source, segment.Destination));
        Assert.Equal((1u, 2u, 3u), (segment.Seq, segment.Ack, segment.Options.TimestampValue));
        Assert.Equal(payload, segment.Payload);
        Assert.Equal((1, 0), (host.Counter("ip6.InDelivers"), host.Counter("ip.InDelivers")));
        host.AssertClean();
    }

    [Fact]
    public void Extension_headers_are_passed_over_wherever_the_device_cut_and_padding_is_left_behind()
    {
        byte[] payload = Pattern(701);
        byte[] pad = new byte[90];
        (pad[0], pad[1]) = (1, 88);
        byte[] frame =
        [
            .. Ip6.Frame(0, [.. Ip6.Options(IpProtocol.Ipv6Options, 5, 2, 0, 0), .. Ip6.Options(IpProtocol.Ipv6Route, pad), 6, 2, 4, 0, .. new byte[20], .. Ip6.Tcp(payload)]),
            1, 2, 3, 4, 5,
        ];
        for (int cut = 54; cut <= frame.Length; cut += cut < 220 ? 1 : 97)
        {
            int headers = Math.Min(cut, HeaderDissector.Dissect(frame).HeaderLength);
            using IpHost host = Ip6.Host();
            int chain = TestFrames.Chain(host.Pool, frame.AsSpan(headers), [3, 40, 57, frame.Length - headers - 100]);
            host.Ip.Receive(new RxFrame(frame.AsSpan(0, headers), chain, frame.Length - headers, RxChecksum.None), 0);
            Assert.Equal(payload, Assert.Single(host.Tcp.Segments).Payload);
            host.AssertClean();
        }
    }

    [Fact]
    public void A_wrong_checksum_is_found_by_software_unless_the_device_vouches_for_it()
    {
        using IpHost host = Ip6.Host();
        byte[] frame = Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp(Pattern(10)));
        host.Receive(frame, RxChecksum.Bad);
        Assert.Single(host.Tcp.Segments);
        frame[70] ^= 1;
        Assert.Equal(DropReason.TCP_CSUM, host.DropOf(() => host.Receive(frame)));
        host.Receive(frame, RxChecksum.Unnecessary);
        Assert.Equal(2, host.Tcp.Segments.Count);

        // The addresses are under it.
        frame[70] ^= 1;
        frame[37] ^= 1;
        Assert.Equal(DropReason.TCP_CSUM, host.DropOf(() => host.Receive(frame)));
        host.AssertClean();
    }

    [Fact]
    public void Addresses_that_cannot_be_and_packets_for_others_are_dropped()
    {
        using IpHost host = Ip6.Host();
        byte[] tcp = Ip6.Tcp([1]);
        foreach (string source in new[] { "::1", "ff02::1", "::ffff:10.0.0.2", "fd00::1", Ip6.LinkLocal.ToString(), "::" })
        {
            Assert.Equal(DropReason.IP_INADDRERRORS, host.DropOf(() => host.Receive(Ip6.Frame(IpProtocol.Tcp, tcp, IpAddress.Parse(source)))));
        }

        foreach (string destination in new[] { "fd00::3", "ff02::2", "::1", "::ffff:10.0.0.1", "::" })
        {
            Assert.Equal(
                DropReason.IP_INADDRERRORS,
                host.DropOf(() => host.Receive(Ip6.Frame(IpProtocol.Tcp, tcp, destination: IpAddress.Parse(destination), destinationMac: LocalMac))));
        }

        Assert.Equal(DropReason.UNICAST_IN_L2_MULTICAST, host.DropOf(() => host.Receive(Ip6.Frame(IpProtocol.Tcp, tcp, destinationMac: EthernetAddress.Broadcast))));
        Assert.Equal(DropReason.UNICAST_IN_L2_MULTICAST, host.DropOf(() => host.Receive(Ip6.Frame(IpProtocol.Tcp, tcp, destinationMac: EthernetAddress.ForGroup(IpAddress.AllNodes)))));
        Assert.Equal(DropReason.OTHERHOST, host.DropOf(() => host.Receive(Ip6.Frame(IpProtocol.Tcp, tcp, destination: IpAddress.Parse("ff02::fb")))));

        // Nobody connects to a group.
        Assert.Equal(DropReason.IP_INADDRERRORS, host.DropOf(() => host.Receive(Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp([], destination: IpAddress.AllNodes), destination: IpAddress.AllNodes))));
        Assert.Empty(host.Tcp.Segments);
        Assert.Empty(host.Device.Frames);
        host.AssertClean();
    }

    [Fact]
    public void Headers_that_lie_are_dropped_by_reason()
    {
        using IpHost host = Ip6.Host();
        byte[] frame = Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp(Pattern(100)));
        Assert.Equal(DropReason.PKT_TOO_SMALL, host.DropOf(() => host.Receive(frame[..^1])));
        Assert.Equal(DropReason.IP_INHDR, host.DropOf(() => host.Receive(frame[..53])));
        frame[14] = 0x45;
        Assert.Equal(DropReason.IP_INHDR, host.DropOf(() => host.Receive(frame)));
        byte[] shortened = Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp(Pattern(100)));
        shortened[19] = 19;
        Assert.Equal(DropReason.TCP_FLAGS, host.DropOf(() => host.Receive(shortened)));
        Assert.Equal(DropReason.IPV6_BAD_EXTHDR, host.DropOf(() => host.Receive(Ip6.Frame(IpProtocol.Ipv6Options, [6, 3, 0, 0, 0, 0, 0, 0]))));
        Assert.Equal(DropReason.IP_NOPROTO, host.DropOf(() => host.Receive(Ip6.Frame(IpProtocol.Ipv6NoNext, Pattern(40)))));
        Assert.Empty(host.Device.Frames);
        host.AssertClean();
    }

    [Fact]
    public void Without_an_IPv6_address_there_is_no_IPv6()
    {
        using var host = new IpHost();
        Assert.Equal(DropReason.UNHANDLED_PROTO, host.DropOf(() => host.Receive(Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp([])))));
        Assert.Equal(DropReason.OTHERHOST, host.DropOf(() => host.Receive(Ip6.Solicitation(Ip6.Peer, Ip6.Local))));
        Assert.Equal(IpSendResult.Unreachable, Ip6.Send(host, Ip6.Peer));
        Assert.Equal((IpAddress.Any, false), (host.Ip.Output.SourceFor(Ip6.Peer), host.Ip.Output.IsLocal(Ip6.Local)));
        host.AssertClean();
    }

    [Fact]
    public void Segments_between_the_families_do_not_leave()
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        Assert.Equal(IpSendResult.Unreachable, Ip6.Send(host, Ip6.Peer, IpHost.Local));
        Assert.Equal(IpSendResult.Unreachable, Ip6.Send(host, IpHost.Peer));
        Assert.Equal(2, host.Counter("ip.OutNoRoutes"));
    }

    [Theory]
    [InlineData("::")]
    [InlineData("::1")]
    [InlineData("fe80::1")]
    [InlineData("ff02::1")]
    [InlineData("::ffff:10.0.0.1")]
    public void An_address_that_no_host_has_is_refused(string address)
    {
        IpAddress given = IpAddress.Parse(address);
        if (given == IpAddress.Any)
        {
            using var host = new IpHost(options => options with { Address6 = given });
            Assert.Null(host.Ip.Ipv6);
            return;
        }

        Assert.Throws<ArgumentException>(() => new IpHost(options => options with { Address6 = given }));
        Assert.Throws<ArgumentException>(() => new IpHost(options => options with { Address6 = Ip6.Local, PrefixLength6 = 129 }));
        Assert.Throws<ArgumentException>(() => new IpHost(options => options with { Address6 = Ip6.Local, Gateway6 = IpHost.Gateway }));
    }

    [Fact]
    public void A_flows_packets_have_one_label_and_flows_have_different_ones()
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        var labels = new HashSet<uint>();
        for (ushort port = 1; port <= 100; port++)
        {
            var header = new TcpHeaderToSend { Source = new IpEndpoint(Ip6.Local, 80), Destination = new IpEndpoint(Ip6.Peer, port), Flags = TcpFlags.Ack };
            host.Ip.Output.SendTcp(header, default, 0, 0, 0);
            host.Ip.Output.SendTcp(header, default, 0, 0, 0);
            uint[] sent = [.. host.Device.TakeAll().Select(Label)];
            Assert.Equal(sent[0], sent[1]);
            Assert.NotEqual(0u, sent[0]);
            labels.Add(sent[0]);
        }

        Assert.InRange(labels.Count, 99, 100);

        static uint Label(byte[] frame)
        {
            Assert.True(Ipv6View.TryParse(frame.AsSpan(14), out Ipv6View ip));
            return ip.FlowLabel;
        }
    }

    [Fact]
    public unsafe void A_sent_segment_has_the_right_checksum_or_a_partial_one()
    {
        byte[] payload = Pattern(999);
        using IpHost host = Ip6.Host().KnowNeighbors();
        fixed (byte* bytes = payload)
        {
            TxChunk[] chunks = [new(bytes, 333), new(bytes + 333, 666)];
            var header = new TcpHeaderToSend { Source = new IpEndpoint(Ip6.Local, 80), Destination = new IpEndpoint(Ip6.Peer, 9), Flags = TcpFlags.Ack, Options = new byte[12] };
            Assert.Equal(IpSendResult.Sent, host.Ip.Output.SendTcp(header, chunks, 999, 0, 0));
            byte[] frame = host.Device.TakeOne();
            Ip6.AssertChecksum(frame);
            Assert.Equal(payload, frame[86..]);
            Assert.Equal(999 + 32, host.Counter("tx.csum_software_bytes"));
            host.Device.TxChecksumOffload = true;
            host.Device.MaxTsoBytes = 64000;
            Assert.Equal(IpSendResult.Sent, host.Ip.Output.SendTcp(header, chunks, 999, 500, 0));
            Assert.Equal((500, true), (host.Device.Details[0].Mss, host.Device.Details[0].ChecksumPartial));
            frame = host.Device.TakeOne();
            Assert.Equal(
                InternetChecksum.Fold(InternetChecksum.PseudoHeader(Ip6.Local, Ip6.Peer, IpProtocol.Tcp, 999 + 32)),
                System.Buffers.Binary.BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(54 + 16)));
        }
    }

    [Fact]
    public void Receiving_segments_fragments_echoes_errors_and_solicitations_allocates_nothing()
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        host.Device.Keep = host.Tcp.Keep = false;
        byte[] segment = Ip6.Tcp(Pattern(1400));
        byte[][] frames =
        [
            Ip6.Frame(IpProtocol.Tcp, segment), Ip6.Fragment(IpProtocol.Tcp, segment.AsSpan(0, 800), 0, more: true), Ip6.Fragment(IpProtocol.Tcp, segment.AsSpan(800), 800, more: false),
            Ip6.Frame(IpProtocol.Icmpv6, Ip6.Icmp(Icmpv6Type.EchoRequest, 0, 1, Pattern(500))), Ip6.Frame(IpProtocol.Udp, Pattern(40)), Ip6.Solicitation(Ip6.Peer, Ip6.Local),
            Ip6.Frame(0, [.. Ip6.Options(IpProtocol.Tcp, 0x80, 0), .. segment]),
        ];
        host.Ip.Tcp = new ReleasingTcp(host.Pool);
        long allocated = 0;
        for (int round = 0; round < 400; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            foreach (byte[] frame in frames)
            {
                TestFrames.Receive(host.Ip, host.Pool, frame, round * 10_000L);
            }

            host.Ip.Poll(round * 10_000L);
            allocated += round < 200 ? 0 : GC.GetAllocatedBytesForCurrentThread() - before;
        }

        Assert.Equal(0, allocated);
        Assert.Equal((400, 400), (host.Counter("ip6.ReasmOKs"), host.Counter("icmp6.OutParmProblems")));
        host.AssertClean();
    }

    private sealed class ReleasingTcp(PagePool pool) : ITcpInput
    {
        public void OnSegment(in TcpSegment segment, long nowUs) => pool.ReleaseChain(segment.Payload);

        public void OnNeighborResolved(IpAddress nextHop, long nowUs)
        {
        }

        public void OnNeighborFailed(IpAddress nextHop, long nowUs)
        {
        }

        public void OnIcmpError(IpEndpoint local, IpEndpoint remote, SeqNumber quotedSeq, byte type, byte code, int nextHopMtu, long nowUs)
        {
        }
    }
}
