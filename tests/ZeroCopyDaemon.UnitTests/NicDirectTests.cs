using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Nic.Rx;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>RX queues that a wire fills by itself, before anybody has parsed the frame.</summary>
public sealed unsafe class NicDirectTests
{
    private const int Guess = 66;

    [Fact]
    public void A_right_guess_splits_headers_from_payload_that_begins_at_a_pages_start()
    {
        using NicBench bench = Bench();
        byte[] payload = NicFrames.Pattern(6000);
        byte[] frame = NicFrames.TcpFrame(payload, tcpOptions: 12);
        ReceivedFrame received = Pass(bench, frame);
        Assert.Equal(frame[..Guess], received.Headers);
        Assert.Equal(payload, received.Payload);
        Assert.Equal([(0, 4096), (0, 1904)], received.Fragments.Select(f => (f.Offset, f.Length)));
        Assert.Equal((6000, Guess, 0), (bench.Counter("rx.os_copied_bytes"), bench.Counter("rx.os_copied_header_bytes"), bench.Counter("rx.split_fixup_bytes")));
        Assert.Equal((0, 1), (bench.Counter("rx.dma_bytes"), bench.Counter("nic.rx_header_split_packets")));
    }

    [Fact]
    public void Longer_headers_push_the_payloads_offset_and_nothing_moves()
    {
        using NicBench bench = Bench();
        byte[] payload = NicFrames.Pattern(3000);
        byte[] frame = NicFrames.TcpFrame(payload, tcpOptions: 32);
        ReceivedFrame received = Pass(bench, frame);
        Assert.Equal(frame[..86], received.Headers);
        Assert.Equal(payload, received.Payload);
        Assert.Equal([(20, 3000)], received.Fragments.Select(f => (f.Offset, f.Length)));
        Assert.Equal((20, 1), (bench.Counter("rx.split_fixup_bytes"), bench.Counter("rx.split_fixup_packets")));
    }

    [Fact]
    public void Shorter_headers_leave_payload_in_the_header_buffer_which_is_a_fragment_then()
    {
        using NicBench bench = Bench();
        bench.Hold = true;
        byte[] payload = NicFrames.Pattern(3000);
        ReceivedFrame received = Pass(bench, NicFrames.TcpFrame(payload));
        Assert.Equal(54, received.Headers.Length);
        Assert.Equal(payload, received.Payload);
        Assert.Equal([(54, 12), (0, 2988)], received.Fragments.Select(f => (f.Offset, f.Length)));
        Assert.Equal((12, 1), (bench.Counter("rx.split_fixup_bytes"), bench.Counter("rx.split_fixup_packets")));

        // The buffer is the fragment's as long as that lives: no other frame may be written there.
        bench.OnReceive = null;
        for (int i = 0; i < 40; i++)
        {
            Pass(bench, NicFrames.TcpFrame(NicFrames.Pattern(20, i), tcpOptions: 12));
        }

        Assert.Equal(payload, Bytes(bench, bench.Held[0]));
        bench.ReleaseHeld();
        bench.Pool.CheckInvariants();
        Assert.Equal(0, bench.Pool.PagesInUse);
    }

    [Fact]
    public void The_second_frame_alike_in_a_row_corrects_the_guess()
    {
        using NicBench bench = Bench();
        Assert.Equal(Guess, bench.Nic.DirectQueues[0].GuessedHeaderLength);
        Pass(bench, NicFrames.TcpFrame(NicFrames.Pattern(100)));
        Assert.Equal(Guess, bench.Nic.DirectQueues[0].GuessedHeaderLength);
        Pass(bench, NicFrames.TcpFrame(NicFrames.Pattern(100), tcpOptions: 12));
        Pass(bench, NicFrames.TcpFrame(NicFrames.Pattern(100)));
        Assert.Equal(Guess, bench.Nic.DirectQueues[0].GuessedHeaderLength);
        Pass(bench, NicFrames.TcpFrame([]));
        Pass(bench, NicFrames.TcpFrame(NicFrames.Pattern(100)));
        Assert.Equal(54, bench.Nic.DirectQueues[0].GuessedHeaderLength);
        long before = bench.Counter("rx.split_fixup_bytes");
        ReceivedFrame received = Pass(bench, NicFrames.TcpFrame(NicFrames.Pattern(5000)));
        Assert.Equal([(0, 4096), (0, 904)], received.Fragments.Select(f => (f.Offset, f.Length)));
        Assert.Equal(before, bench.Counter("rx.split_fixup_bytes"));
    }

    [Fact]
    public void Frames_without_payload_take_no_page_and_count_as_no_wrong_guess()
    {
        using NicBench bench = Bench();
        int posted = bench.Pool.PostedPages;
        byte[] arp = NicFrames.Pattern(60);
        BinaryPrimitives.WriteUInt16BigEndian(arp.AsSpan(12), 0x0806);
        byte[] padded = [.. NicFrames.TcpFrame([]), 0, 0, 0, 0, 0, 0];
        foreach (byte[] frame in (byte[][])[NicFrames.TcpFrame([], tcpOptions: 40), NicFrames.TcpFrame([], ipOptions: 40, tcpOptions: 40), NicFrames.TcpFrame([]), padded, arp])
        {
            ReceivedFrame received = Pass(bench, frame);
            Assert.Empty(received.Payload);
            Assert.Equal(frame == padded ? frame[..54] : frame, received.Headers);
        }

        Assert.Equal(posted, bench.Pool.PostedPages);
        Assert.Equal((0, 0), (bench.Counter("rx.split_fixup_bytes"), bench.Pool.PagesInUse));
    }

    [Fact]
    public void A_super_frame_fills_its_pages_end_to_end()
    {
        using NicBench bench = Bench(lro: true);
        byte[] payload = NicFrames.Pattern(65535 - 52);
        ReceivedFrame received = Pass(bench, NicFrames.TcpFrame(payload, tcpOptions: 12));
        Assert.Equal(payload, received.Payload);
        Assert.All(received.Fragments[..^1], f => Assert.Equal((0, 4096), (f.Offset, f.Length)));
    }

    [Fact]
    public void Without_split_the_whole_frame_lies_in_pages()
    {
        using NicBench bench = Bench(Placement.None);
        byte[] frame = NicFrames.TcpFrame(NicFrames.Pattern(5000), tcpOptions: 12);
        ReceivedFrame received = Pass(bench, frame);
        Assert.Equal(frame, received.Bytes);
        Assert.Equal([(66, 4030), (0, 970)], received.Fragments.Select(f => (f.Offset, f.Length)));
        Assert.Equal(0, bench.Counter("nic.rx_header_split_packets"));
    }

    [Fact]
    public void Packed_payloads_of_many_frames_share_a_page_by_cache_lines()
    {
        using NicBench bench = Bench(Placement.Packed);
        var fragments = new List<(int Page, int Offset, int Length)>();
        for (int i = 0; i < 9; i++)
        {
            ReceivedFrame received = Pass(bench, NicFrames.TcpFrame(NicFrames.Pattern(1000, i), tcpOptions: i == 5 ? 24 : 12));
            Assert.Equal(NicFrames.Pattern(1000, i), received.Payload);
            fragments.AddRange(received.Fragments);
        }

        Assert.Equal(
            [(0, 1000), (1024, 1000), (2048, 1000), (3072, 1000), (0, 1000), (1036, 1000), (2048, 1000), (3072, 1000), (0, 1000)],
            fragments.Select(f => (f.Offset, f.Length)));
        Assert.Equal(3, fragments.Select(f => f.Page).Distinct().Count());
    }

    [Fact]
    public void With_too_few_buffers_the_frame_waits_and_none_is_taken()
    {
        using NicBench bench = Bench(lro: true, ring: 32);
        bench.Hold = true;
        byte[] frame = NicFrames.TcpFrame(NicFrames.Pattern(60000), tcpOptions: 12);
        Assert.True(TryWrite(bench, frame));
        Assert.True(TryWrite(bench, frame));
        int left = bench.Nic.Describe().RxQueues[0].PagesPosted;
        Assert.False(TryWrite(bench, frame));
        Assert.Equal(left, bench.Nic.Describe().RxQueues[0].PagesPosted);
        bench.Poll();
        Assert.True(TryWrite(bench, frame));
        bench.Poll();
        Assert.Equal(3, bench.Received.Count);
        Assert.All(bench.Received, received => Assert.Equal(frame[Guess..], received.Payload));
    }

    [Fact]
    public void Header_pages_whose_buffers_all_became_payload_are_replaced()
    {
        using NicBench bench = Bench(ring: 64);
        bench.Hold = true;
        for (int i = 0; i < 100; i++)
        {
            // An odd one between each two alike: the guess stays wrong.
            Pass(bench, NicFrames.TcpFrame(NicFrames.Pattern(8, i), tcpOptions: i % 2 * 4));
            Assert.Equal(NicFrames.Pattern(8, i), bench.Received[^1].Payload);
        }

        Assert.True(bench.Nic.Describe().RxQueues[0].HeaderBuffersPosted >= 4);
        for (int i = 0; i < 100; i++)
        {
            Assert.Equal(NicFrames.Pattern(8, i), Bytes(bench, bench.Held[i]));
        }

        bench.ReleaseHeld();
        bench.Poll();
        bench.Pool.CheckInvariants();
        Assert.Equal(0, bench.Pool.PagesInUse);
    }

    [Fact]
    public void A_grown_MTU_lets_longer_frames_in()
    {
        using NicBench bench = Bench();
        byte[] frame = NicFrames.TcpFrame(NicFrames.Pattern(8000), tcpOptions: 12);
        bench.Nic.SetMtu(1500);
        Assert.Equal(1500, bench.Driver.Mtu);
        Assert.False(TryWrite(bench, frame[..1600]));
        Assert.Equal(1, bench.Counter("nic.rx_oversize_packets"));
        bench.Nic.SetMtu(9000);
        Assert.Equal(NicFrames.Pattern(8000), Pass(bench, frame).Payload);
        Assert.Throws<ArgumentException>(() => bench.Nic.SetMtu(68));
        Assert.Equal(9000, bench.Driver.Mtu);
    }

    [Theory]
    [InlineData(Placement.None)]
    [InlineData(Placement.Split)]
    [InlineData(Placement.Packed)]
    public void Whatever_comes_in_is_handed_up_byte_for_byte_or_dropped_by_reason(Placement placement)
    {
        using NicBench bench = Bench(placement, lro: true);
        var random = new Random(20261123);
        byte[][] seeds =
        [
            NicFrames.TcpFrame(NicFrames.Pattern(3000), tcpOptions: 12), NicFrames.TcpFrame(NicFrames.Pattern(10)), NicFrames.TcpFrame(NicFrames.Pattern(200), ipOptions: 24, tcpOptions: 40),
            NicFrames.UdpFrame(NicFrames.Pattern(100)), NicFrames.UdpFrame([]), NicFrames.Pattern(5000), NicFrames.Pattern(14), NicFrames.TcpFrame([], tcpOptions: 40),
        ];
        for (int round = 0; round < 20_000; round++)
        {
            byte[] frame = [.. seeds[random.Next(seeds.Length)]];
            for (int flips = random.Next(4); flips > 0; flips--)
            {
                frame[random.Next(Math.Min(frame.Length, 80))] = (byte)random.Next(256);
            }

            frame = frame[..(random.Next(3) == 0 ? random.Next(frame.Length + 1) : frame.Length)];
            int before = bench.Received.Count;
            bench.Hold = random.Next(2) == 0 && bench.Held.Count < 20;
            if (!TryWrite(bench, frame))
            {
                Assert.True(frame.Length < 14);
                continue;
            }

            bench.Poll();
            Assert.Equal(before + 1, bench.Received.Count);
            ReceivedFrame received = bench.Received[^1];
            byte[] bytes = received.Bytes;
            Assert.Equal(frame[..bytes.Length], bytes);
            FrameDissection found = HeaderDissector.Dissect(frame);
            Assert.Equal(found.HeaderLength, received.Headers.Length);
            Assert.True(bytes.Length == frame.Length || (found.IsIpv4 && bytes.Length >= Math.Min(frame.Length, 14 + found.IpTotalLength)));
            bench.Received.Clear();
            if (bench.Held.Count >= 20)
            {
                bench.ReleaseHeld();
            }

            if (round % 1000 == 0)
            {
                bench.Pool.CheckInvariants();
            }
        }
    }

    [Fact]
    public void A_wire_with_offloads_gets_super_frames_whole_and_checksums_partial()
    {
        using NicBench bench = Bench();
        var wire = new OffloadingWire();
        bench.Nic.Wire = wire;
        byte[] frame = NicFrames.TcpFrame(NicFrames.Pattern(20000));
        NicTransmit.WhilePinned(frame, 1460, [], NicFrames.TcpHeaders, bench.Driver, () => bench.Nic.ProcessTx(0));
        (byte[] bytes, int mss, bool partial) = Assert.Single(wire.Carried);
        Assert.Equal((1460, true), (mss, partial));
        Assert.Equal(frame[NicFrames.TcpHeaders..], bytes[NicFrames.TcpHeaders..]);
        Assert.Equal(NicFrames.PseudoHeaderSum(frame, frame.Length - 34), BinaryPrimitives.ReadUInt16BigEndian(bytes.AsSpan(50)));
        Assert.Equal((1, 1), (bench.Counter("nic.tx_packets"), bench.Counter("nic.tx_tso_packets")));
    }

    private static NicBench Bench(Placement placement = Placement.Split, bool lro = false, int ring = 64) =>
        new(NicBench.Small(placement) with { DirectReceive = true, Lro = lro, Mtu = 9000, RxRingSize = ring }, pages: 400);

    private static ReceivedFrame Pass(NicBench bench, byte[] frame)
    {
        Assert.True(TryWrite(bench, frame));
        Assert.Equal(1, bench.Poll());
        return bench.Received[^1];
    }

    /// <summary>What readv does: fills the segments one after the other.</summary>
    private static bool TryWrite(NicBench bench, byte[] frame)
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

        return count > 0 && queue.Complete(frame.Length, RxChecksum.Unnecessary, 0);
    }

    private static byte[] Bytes(NicBench bench, int chain)
    {
        var bytes = new List<byte>();
        for (int slot = chain; slot >= 0; slot = bench.Pool[slot].Next)
        {
            bytes.AddRange(bench.Pool.Payload(slot));
        }

        return [.. bytes];
    }

    private sealed class OffloadingWire : IWirePort
    {
        public List<(byte[] Bytes, int Mss, bool Partial)> Carried { get; } = [];

        public WireOffloads TxOffloads => WireOffloads.Checksum | WireOffloads.Tso;

        public bool TryCarry(in TxFrame frame, long nowUs)
        {
            var bytes = new List<byte>(frame.Headers.ToArray());
            foreach (TxChunk chunk in frame.Payload)
            {
                bytes.AddRange(chunk.Span);
            }

            Carried.Add(([.. bytes], frame.Mss, frame.ChecksumPartial));
            return true;
        }
    }
}
