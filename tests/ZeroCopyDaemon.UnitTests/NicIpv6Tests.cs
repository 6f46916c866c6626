using System.Buffers.Binary;
using CsCheck;
using PacketDotNet;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Nic.Rss;
using ZeroCopyDaemon.Nic.Rx;
using static ZeroCopyDaemon.UnitTests.NicFrames;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>What the NIC does for IPv6: placement, checksums, RSS, segmentation.</summary>
public sealed unsafe class NicIpv6Tests
{
    private const int Ipv6 = 40;
    private const int TcpAt = Ethernet + Ipv6;

    [Theory]
    [InlineData(Placement.None)]
    [InlineData(Placement.Split)]
    [InlineData(Placement.Packed)]
    [InlineData(Placement.Merge)]
    public void A_right_checksum_is_unnecessary_to_check_and_any_flipped_bit_makes_it_bad(Placement placement)
    {
        using var bench = new NicBench(NicBench.Small(placement) with { Mtu = 9000 }, pageSize: 2048, fragments: 4096);
        Gen.Select(Gen.Int[0, 6001], Gen.Int[0, 5], Gen.Int[0, 1 << 20], Gen.Int[1, 999].Array[0, 4]).Sample(
            (length, options, bit, cuts) =>
            {
                byte[] frame = TcpFrame6(Pattern(length, bit), options * 4);
                Assert.Equal(RxChecksum.Unnecessary, bench.Pass(frame, TcpAt, cuts).Checksum);

                // Anywhere in the addresses or behind them, but not where TCP says how long its header is: nothing that changes what the frame is.
                int at = Ethernet + 8 + (bit / 8 % (frame.Length - Ethernet - 8));
                if (at != TcpAt + 12)
                {
                    frame[at] ^= (byte)(1 << (bit % 8));
                    Assert.Equal(RxChecksum.Bad, bench.Pass(frame, TcpAt, cuts).Checksum);
                }

                bench.Received.Clear();
            },
            iter: 1000,
            threads: 1);
    }

    [Fact]
    public void Headers_are_split_from_payload_behind_TCPs_options_and_extension_headers()
    {
        using var bench = new NicBench(NicBench.Small());
        byte[] payload = Pattern(1000);
        ReceivedFrame received = bench.Pass(TcpFrame6(payload, 12));
        Assert.Equal(86, received.Headers.Length);
        Assert.Equal(payload, received.Payload);
        byte[] segment = Ip6.Tcp(payload);
        received = bench.Pass(Ip6.Frame(0, [.. Ip6.Options(IpProtocol.Ipv6Options, 5, 2, 0, 0), .. Ip6.Options(IpProtocol.Tcp), .. segment]));
        Assert.Equal((54 + 16 + 20, RxChecksum.Unnecessary), (received.Headers.Length, received.Checksum));
        Assert.Equal(payload, received.Payload);
        received = bench.Pass(Ip6.Fragment(IpProtocol.Tcp, segment.AsSpan(0, 800), 0, more: true));
        Assert.Equal((62, 800, RxChecksum.None), (received.Headers.Length, received.Payload.Length, received.Checksum));
    }

    [Fact]
    public void What_cannot_be_verified_alone_is_left_to_software()
    {
        using var bench = new NicBench(NicBench.Small());
        byte[] noUdpChecksum = new byte[30];
        noUdpChecksum[5] = 30;
        byte[][] frames =
        [
            Ip6.Fragment(IpProtocol.Tcp, Pattern(80), 0, more: true), Ip6.Frame(IpProtocol.Icmpv6, Pattern(30)), Ip6.Frame(IpProtocol.Udp, noUdpChecksum), TcpFrame6(Pattern(100))[..^1],
            Ip6.Frame(IpProtocol.Ipv6Options, [.. Ip6.Options(IpProtocol.Tcp, 0xC3, 0), .. Ip6.Tcp([])]),
        ];
        Assert.All(frames, frame => Assert.Equal(RxChecksum.None, bench.Pass(frame).Checksum));
    }

    [Fact]
    public void A_TCP_frame_is_hashed_with_its_ports_and_a_fragment_without()
    {
        using var bench = new NicBench(NicBench.Small());
        var toeplitz = new ToeplitzHash([]);
        byte[] frame = TcpFrame6([1]);
        Assert.Equal(toeplitz.Hash([.. frame[22..54], .. frame[54..58]]), bench.Pass(frame).RssHash);
        byte[] fragment = Ip6.Fragment(IpProtocol.Tcp, Pattern(80), 80, more: true);
        Assert.Equal(toeplitz.Hash(fragment.AsSpan(22, 32)), bench.Pass(fragment).RssHash);
    }

    [Fact]
    public void Merged_payloads_of_two_flows_that_differ_in_one_address_lie_apart()
    {
        using var bench = new NicBench(NicBench.Small(Placement.Merge), fragments: 4096);
        byte[] first = TcpFrame6(Pattern(1000), sequence: 1), second = TcpFrame6(Pattern(1000, 5), sequence: 1001);
        byte[] other = TcpFrame6(Pattern(1000, 9), sequence: 1001);
        other[30] ^= 1;
        bench.Pass(first);
        bench.Pass(other);
        bench.Pass(second);
        (int page, int offset, _) = Assert.Single(bench.Received[0].Fragments);
        Assert.Equal([(page, offset + 1000, 1000)], bench.Received[2].Fragments);
        Assert.NotEqual(page, Assert.Single(bench.Received[1].Fragments).Page);
    }

    [Theory]
    [InlineData(1440, 1440, 1)]
    [InlineData(1440, 1441, 2)]
    [InlineData(1428, 64_000, 45)]
    [InlineData(1440, 0, 1)]
    public void A_super_frame_becomes_segments_of_at_most_the_MSS(int mss, int length, int segments)
    {
        using var bench = new NicBench(NicBench.Small());
        var wire = new NicWire();
        bench.Nic.Wire = wire;
        byte[] payload = Pattern(length);
        byte[] super = TcpFrame6(payload, mss == 1428 ? 12 : 0, Ack | Psh | Fin | Cwr, sequence: 0xffff_f000);
        Transmit(bench, super, mss, segments);
        Assert.Equal(payload, wire.Carried.SelectMany(frame => frame[(super.Length - length)..]));
        for (int i = 0; i < segments; i++)
        {
            byte[] frame = wire.Carried[i];
            Assert.Equal(TransportChecksum6(frame), BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(TcpAt + 16)));
            Assert.Equal(frame.Length - TcpAt, BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(18)));
            Assert.Equal(0xffff_f000 + (uint)(i * mss), BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(TcpAt + 4)));
            Assert.Equal(Ack | (i == 0 ? Cwr : 0) | (i == segments - 1 ? Psh | Fin : 0), frame[TcpAt + 13]);
            Assert.Equal(super[..18], frame[..18]);
            Assert.Equal(super[20..54], frame[20..54]);
            Assert.NotNull(((EthernetPacket)Packet.ParsePacket(LinkLayers.Ethernet, frame)).Extract<IPv6Packet>());
        }
    }

    [Fact]
    public void A_partial_checksum_is_completed()
    {
        using var bench = new NicBench(NicBench.Small());
        var wire = new NicWire();
        bench.Nic.Wire = wire;
        byte[] frame = TcpFrame6(Pattern(777));
        Transmit(bench, frame, mss: 0, segments: 1);
        Assert.Equal(frame, Assert.Single(wire.Carried));
    }

    [Fact]
    public void A_direct_queue_guesses_IPv6_headers_like_others()
    {
        using var bench = new NicBench(NicBench.Small() with { DirectReceive = true, Mtu = 9000 }, pages: 400);
        byte[] payload = Pattern(3000);
        byte[] frame = TcpFrame6(payload, 12);
        ReceivedFrame received = Write(bench, frame);
        Assert.Equal(frame[..86], received.Headers);
        Assert.Equal([(20, 3000)], received.Fragments.Select(f => (f.Offset, f.Length)));
        Write(bench, frame);
        Assert.Equal(86, bench.Nic.DirectQueues[0].GuessedHeaderLength);
        received = Write(bench, frame);
        Assert.Equal(frame[..86], received.Headers);
        Assert.Equal(payload, received.Payload);
        Assert.Equal([(0, 3000)], received.Fragments.Select(f => (f.Offset, f.Length)));

        // IPv4 in between: what of its payload is in the header buffer stays there.
        received = Write(bench, TcpFrame(payload, tcpOptions: 12));
        Assert.Equal(66, received.Headers.Length);
        Assert.Equal(payload, received.Payload);
        Assert.Equal(86, bench.Nic.DirectQueues[0].GuessedHeaderLength);
        Assert.Equal((20 + 20 + 20, 3), (bench.Counter("rx.split_fixup_bytes"), bench.Counter("rx.split_fixup_packets")));
    }

    [Theory]
    [InlineData(Placement.None)]
    [InlineData(Placement.Split)]
    [InlineData(Placement.Packed)]
    public void Whatever_comes_in_directly_is_handed_up_byte_for_byte(Placement placement)
    {
        using var bench = new NicBench(NicBench.Small(placement) with { DirectReceive = true, Lro = true, Mtu = 9000, RxRingSize = 64 }, pages: 400);
        var random = new Random(20261124);
        byte[] tcp = Ip6.Tcp(Pattern(2000), options: new byte[40]);
        byte[][] seeds =
        [
            TcpFrame6(Pattern(3000), 12), TcpFrame6(Pattern(10)), TcpFrame(Pattern(500), tcpOptions: 12), Ip6.Frame(IpProtocol.Icmpv6, Pattern(100)), Ip6.Fragment(IpProtocol.Tcp, Pattern(800), 0, true),
            Ip6.Frame(0, [.. Ip6.Options(IpProtocol.Ipv6Options, [1, 60, .. new byte[60]]), .. Ip6.Options(IpProtocol.Tcp), .. tcp]),
            Ip6.Frame(IpProtocol.Ipv6Options, [.. Ip6.Options(IpProtocol.Tcp, [1, 200, .. new byte[200]]), .. tcp]),
        ];
        for (int round = 0; round < 20_000; round++)
        {
            byte[] frame = [.. seeds[random.Next(seeds.Length)]];
            for (int flips = random.Next(4); flips > 0; flips--)
            {
                frame[random.Next(Math.Min(frame.Length, 120))] = (byte)random.Next(256);
            }

            frame = frame[..(random.Next(3) == 0 ? random.Next(14, frame.Length + 1) : frame.Length)];
            byte[] bytes = Write(bench, frame).Bytes;
            Assert.Equal(frame[..bytes.Length], bytes);
            FrameDissection found = HeaderDissector.Dissect(frame);

            // A header buffer has room for all of a TCP header that begins within what is dissected.
            bool isTold = placement != Placement.None && found.FullHeaderLength > 0 && found.FullHeaderLength <= frame.Length;
            Assert.Equal(isTold ? found.FullHeaderLength : found.HeaderLength, bench.Received[^1].Headers.Length);
            Assert.True(bytes.Length == frame.Length || (found.IsIp && bytes.Length >= Math.Min(frame.Length, 14 + found.IpTotalLength)));
            bench.Received.Clear();
        }

        bench.Pool.CheckInvariants();
    }

    /// <summary>A TCP segment over IPv6, byte by byte.</summary>
    private static byte[] TcpFrame6(ReadOnlySpan<byte> payload, int tcpOptions = 0, byte flags = Ack, uint sequence = 1000)
    {
        byte[] frame = new byte[TcpAt + Tcp + tcpOptions + payload.Length];
        "\x02\0\0\0\0\x01\x02\0\0\0\0\x02"u8.CopyTo(frame);
        (frame[12], frame[13], frame[14], frame[20], frame[21]) = (0x86, 0xDD, 0x60, 6, 64);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(18), (ushort)(frame.Length - TcpAt));
        Ip6.Peer.Write(frame.AsSpan(22, 16));
        Ip6.Local.Write(frame.AsSpan(38, 16));
        Span<byte> tcp = frame.AsSpan(TcpAt);
        BinaryPrimitives.WriteUInt16BigEndian(tcp, 1234);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[2..], 80);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[4..], sequence);
        tcp[12] = (byte)((Tcp + tcpOptions) / 4 << 4);
        tcp[13] = flags;
        tcp.Slice(Tcp, tcpOptions).Fill(1);
        payload.CopyTo(tcp[(Tcp + tcpOptions)..]);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[16..], TransportChecksum6(frame));
        return frame;
    }

    private static ushort TransportChecksum6(byte[] frame)
    {
        byte[] transport = frame[TcpAt..];
        transport.AsSpan(16, 2).Clear();
        return (ushort)~Sum(transport, Sum(frame.AsSpan(22, 32), (uint)(6 + transport.Length)));
    }

    /// <summary>Posts a frame with a partial checksum and works it off.</summary>
    private static void Transmit(NicBench bench, byte[] frame, int mss, int segments)
    {
        int headerBytes = TcpAt + ((frame[TcpAt + 12] >> 4) * 4);
        byte[] headers = frame[..headerBytes];
        BinaryPrimitives.WriteUInt16BigEndian(headers.AsSpan(TcpAt + 16), Sum(frame.AsSpan(22, 32), (uint)(6 + frame.Length - TcpAt)));
        fixed (byte* bytes = frame)
        {
            TxChunk[] chunks = [new(bytes + headerBytes, frame.Length - headerBytes)];
            Assert.True(bench.Driver.TryTransmit(new TxFrame(headers, chunks, frame.Length - headerBytes, mss, checksumPartial: true)));
            Assert.Equal(segments, bench.Nic.ProcessTx(0));
        }
    }

    private static ReceivedFrame Write(NicBench bench, byte[] frame)
    {
        DirectQueue queue = bench.Nic.DirectQueues[0];
        BufferSegment* segments = stackalloc BufferSegment[queue.MostSegments];
        int count = queue.Prepare(segments);
        int at = 0;
        for (int i = 0; i < count && at < frame.Length; i++)
        {
            int length = Math.Min((int)segments[i].Length, frame.Length - at);
            frame.AsSpan(at, length).CopyTo(new Span<byte>(segments[i].Address, length));
            at += length;
        }

        Assert.True(queue.Complete(frame.Length, RxChecksum.Unnecessary, 0));
        Assert.Equal(1, bench.Poll());
        return bench.Received[^1];
    }
}
