using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Ip;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.UnitTests.IpHost;

namespace ZeroCopyDaemon.UnitTests;

public sealed class IpInputTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(1460)]
    [InlineData(8960)]
    public void A_segment_reaches_TCP_with_its_payload_in_the_pages_it_came_in(int length)
    {
        using var host = new IpHost();
        byte[] payload = Pattern(length);
        host.Receive(Ipv4(IpProtocol.Tcp, TcpBytes(payload, flags: TcpFlags.Ack | TcpFlags.Psh, options: [1, 1, 8, 10, 0, 0, 0, 3, 0, 0, 0, 4])));
        RecordedSegment segment = Assert.Single(host.Tcp.Segments);
        Assert.Equal((new IpEndpoint(Peer, 1000), new IpEndpoint(Local, 80)), (segment.Source, segment.Destination));
        Assert.Equal((1u, 2u, TcpFlags.Ack | TcpFlags.Psh, 3u, 4u), (segment.Seq, segment.Ack, segment.Flags, segment.Options.TimestampValue, segment.Options.TimestampEcho));
        Assert.Equal(payload, segment.Payload);
        Assert.Equal(1, host.Counter("ip.InDelivers"));
        host.AssertClean();
    }

    [Fact]
    public void Payload_in_pieces_of_odd_lengths_sums_up_right_and_a_changed_byte_is_found()
    {
        using var host = new IpHost();
        byte[] payload = Pattern(701);
        byte[] frame = Ipv4(IpProtocol.Tcp, TcpBytes(payload));
        foreach (bool corrupt in new[] { false, true })
        {
            payload[400] ^= corrupt ? (byte)1 : (byte)0;
            int chain = TestFrames.Chain(host.Pool, payload, [1, 3, 97, 333, 267]);
            host.Ip.Receive(new RxFrame(frame.AsSpan(0, 54), chain, payload.Length, RxChecksum.None), 0);
            Assert.Equal(corrupt ? 1 : 0, host.Drops[DropReason.TCP_CSUM]);
        }

        Assert.Single(host.Tcp.Segments);
        Assert.Equal(1, host.Counter("tcp.InCsumErrors"));
        Assert.Equal(2 * (20 + 701), host.Counter("rx.csum_software_bytes"));
        host.AssertClean();
    }

    [Fact]
    public void The_devices_word_on_checksums_is_taken_only_when_it_says_right()
    {
        using var host = new IpHost();
        byte[] segment = TcpBytes(Pattern(10));
        host.Receive(Ipv4(IpProtocol.Tcp, segment), RxChecksum.Bad);
        Assert.Single(host.Tcp.Segments);
        segment[16] ^= 0x55;
        Assert.Equal(DropReason.TCP_CSUM, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, segment), RxChecksum.Bad)));
        long verified = host.Counter("rx.csum_software_bytes");
        host.Receive(Ipv4(IpProtocol.Tcp, segment), RxChecksum.Unnecessary);
        Assert.Equal(2, host.Tcp.Segments.Count);
        Assert.Equal(verified, host.Counter("rx.csum_software_bytes"));
        host.AssertClean();
    }

    [Fact]
    public void Padding_beyond_the_datagram_is_no_payload()
    {
        using var host = new IpHost();
        byte[] frame = Ipv4(IpProtocol.Tcp, TcpBytes([9]));
        Assert.Equal(60, frame.Length);
        host.Receive(frame);
        Assert.Equal([9], Assert.Single(host.Tcp.Segments).Payload);

        Array.Resize(ref frame, 9000);
        host.Receive(frame);
        Assert.Equal([9], host.Tcp.Segments[1].Payload);
        host.AssertClean();
    }

    [Fact]
    public void A_frame_that_ends_before_its_datagram_is_dropped()
    {
        using var host = new IpHost();
        byte[] frame = Ipv4(IpProtocol.Tcp, TcpBytes(Pattern(100)));
        Assert.Equal(DropReason.PKT_TOO_SMALL, host.DropOf(() => host.Receive(frame[..^1])));
        Assert.Equal(1, host.Counter("ip.InTruncatedPkts"));
        Assert.Equal(DropReason.PKT_TOO_SMALL, host.DropOf(() => host.Receive(frame[..10])));
        Assert.Equal(DropReason.IP_INHDR, host.DropOf(() => host.Receive(frame[..30])));
        host.AssertClean();
    }

    [Fact]
    public void Frames_for_others_are_dropped()
    {
        using var host = new IpHost();
        byte[] segment = TcpBytes(Pattern(100));
        Assert.Equal(DropReason.OTHERHOST, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, segment, destinationMac: new EthernetAddress(0x0200_0000_0009)))));
        Assert.Equal(DropReason.OTHERHOST, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, segment, destinationMac: new EthernetAddress(0x0100_5E00_0001)))));
        Assert.Equal(DropReason.UNICAST_IN_L2_MULTICAST, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, segment, destinationMac: EthernetAddress.Broadcast))));
        byte[] ipv6 = Ipv4(IpProtocol.Tcp, segment);
        (ipv6[12], ipv6[13]) = (0x86, 0xDD);
        Assert.Equal(DropReason.UNHANDLED_PROTO, host.DropOf(() => host.Receive(ipv6)));
        host.AssertClean();
    }

    [Theory]
    [InlineData("10.0.0.3")]
    [InlineData("10.0.0.255")]
    [InlineData("255.255.255.255")]
    [InlineData("224.0.0.1")]
    public void Datagrams_that_are_not_for_our_address_are_dropped(string destination)
    {
        using var host = new IpHost();
        Assert.Equal(
            DropReason.IP_INADDRERRORS,
            host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, TcpBytes(Pattern(50)), destination: IpAddress.Parse(destination)))));
        host.AssertClean();
    }

    [Theory]
    [InlineData("0.0.0.0")]
    [InlineData("0.1.2.3")]
    [InlineData("127.0.0.1")]
    [InlineData("224.0.0.5")]
    [InlineData("240.0.0.1")]
    [InlineData("255.255.255.255")]
    [InlineData("10.0.0.255")]
    [InlineData("10.0.0.1")]
    public void Datagrams_from_an_impossible_address_are_dropped(string source)
    {
        using var host = new IpHost();
        Assert.Equal(DropReason.IP_INADDRERRORS, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, TcpBytes([]), source: IpAddress.Parse(source)))));
        Assert.Empty(host.Device.Frames);
        host.AssertClean();
    }

    [Fact]
    public void A_broken_IP_header_is_dropped_by_what_is_wrong_with_it()
    {
        using var host = new IpHost();
        byte[] good = Ipv4(IpProtocol.Tcp, TcpBytes(Pattern(30)));
        byte[] checksum = [.. good];
        checksum[22] ^= 1;
        Assert.Equal(DropReason.IP_CSUM, host.DropOf(() => host.Receive(checksum)));
        foreach ((int offset, byte value) in new (int, byte)[] { (14, 0x65), (14, 0x44), (16, 0) })
        {
            byte[] broken = [.. good];
            broken[offset] = value;
            broken[17] = 10;
            FixIpChecksum(broken);
            Assert.Equal(DropReason.IP_INHDR, host.DropOf(() => host.Receive(broken)));
        }

        Assert.Equal(4, host.Counter("ip.InHdrErrors"));
        host.AssertClean();
    }

    [Fact]
    public void Options_are_passed_over_but_source_routes_refused()
    {
        using var host = new IpHost();
        byte[] segment = TcpBytes(Pattern(5));
        host.Receive(Ipv4(IpProtocol.Tcp, segment, options: [1, 7, 7, 4, 0, 0, 0, 0]));
        host.Receive(Ipv4(IpProtocol.Tcp, segment, options: [0, 131, 99, 99]));
        Assert.Equal(2, host.Tcp.Segments.Count);
        Assert.Equal(DropReason.IP_OPTIONS, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, segment, options: [131, 7, 4, 1, 2, 3, 4, 0]))));
        Assert.Equal(DropReason.IP_OPTIONS, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, segment, options: [1, 137, 3, 4]))));
        Assert.Equal(DropReason.IP_INHDR, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, segment, options: [7, 1, 0, 0]))));
        Assert.Equal(DropReason.IP_INHDR, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, segment, options: [7, 5, 0, 0]))));
        host.AssertClean();
    }

    [Fact]
    public void A_TCP_header_that_is_cut_short_or_lies_is_dropped()
    {
        using var host = new IpHost();
        byte[] segment = TcpBytes(Pattern(40));
        Assert.Equal(DropReason.TCP_FLAGS, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, segment.AsSpan(0, 19)))));
        Assert.Equal(DropReason.TCP_FLAGS, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, []))));
        foreach (byte dataOffset in new byte[] { 0x00, 0x40 })
        {
            byte[] broken = [.. segment];
            broken[12] = dataOffset;
            Assert.Equal(DropReason.TCP_FLAGS, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, broken))));
        }

        byte[] tooLong = [.. segment.AsSpan(0, 30)];
        tooLong[12] = 0xF0;
        Assert.Equal(DropReason.TCP_FLAGS, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, tooLong))));
        Assert.Equal(5, host.Counter("tcp.InErrs"));
        host.AssertClean();
    }

    [Fact]
    public void A_device_that_leaves_payload_in_the_header_buffer_breaks_an_invariant()
    {
        using var host = new IpHost();
        byte[] frame = Ipv4(IpProtocol.Tcp, TcpBytes(Pattern(20)));
        Assert.Throws<InvariantViolationException>(() => host.Ip.Receive(new RxFrame(frame, PagePool.NoFragment, 0, RxChecksum.None), 0));
    }

    [Fact]
    public void With_a_whole_prefix_every_host_of_it_is_ours_under_its_own_MAC()
    {
        IpAddress host7 = IpAddress.Parse("10.0.7.7");
        using var host = new IpHost(options => options with { PrefixLength = 16, OwnsWholePrefix = true, HostPrefix = IpAddress.Parse("10.0.7.0"), HostPrefixLength = 24 });
        byte[] segment = TcpBytes(Pattern(8), destination: host7);
        host.Receive(Ipv4(IpProtocol.Tcp, segment, destination: host7, destinationMac: EthernetAddress.ForHost(host7)));
        Assert.Equal(host7, Assert.Single(host.Tcp.Segments).Destination.Address);
        Assert.Equal(DropReason.OTHERHOST, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, segment, destination: host7))));
        Assert.Equal(
            DropReason.OTHERHOST,
            host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, segment, destination: host7, destinationMac: EthernetAddress.ForHost(IpAddress.Parse("10.0.8.7"))))));
        host.AssertClean();
    }

    [Fact]
    public void Receiving_segments_fragments_echoes_and_ARP_allocates_nothing()
    {
        using var host = new IpHost().KnowPeer();
        host.Device.Keep = false;
        host.Ip.Tcp = new ReleasingTcp(host.Pool);
        byte[] segment = TcpBytes(Pattern(1400));
        byte[][] frames =
        [
            Ipv4(IpProtocol.Tcp, segment), Ipv4(IpProtocol.Tcp, segment.AsSpan(0, 800), more: true), Ipv4(IpProtocol.Tcp, segment.AsSpan(800), offset: 800),
            Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.Echo, 0, 1, Pattern(500))), Ipv4(IpProtocol.Udp, Pattern(40)), Arp(ArpOperation.Request, PeerMac, Peer, Local),
        ];
        long allocated = 0;
        for (int round = 0; round < 400; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            foreach (byte[] frame in frames)
            {
                TestFrames.Receive(host.Ip, host.Pool, frame, round);
            }

            host.Ip.Poll(round);
            allocated += round < 200 ? 0 : GC.GetAllocatedBytesForCurrentThread() - before;
        }

        Assert.Equal(0, allocated);
        Assert.Equal(400, host.Counter("ip.ReasmOKs"));
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
