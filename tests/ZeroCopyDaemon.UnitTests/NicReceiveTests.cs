using CsCheck;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.UnitTests;

public sealed class NicReceiveTests
{
    private static readonly int[] PageSizes = [2048, 4096, 65536];
    private static readonly int[] Headrooms = [0, 64, 301];

    [Fact]
    public void Split_puts_headers_apart_and_payload_at_the_start_of_a_fresh_page()
    {
        using var bench = new NicBench(NicBench.Small());
        byte[] frame = NicFrames.TcpFrame(NicFrames.Pattern(1000), tcpOptions: 12);
        ReceivedFrame received = bench.Pass(frame);
        Assert.Equal(frame[..66], received.Headers);
        Assert.Equal(frame[66..], received.Payload);
        Assert.Equal((0, 1000), (Assert.Single(received.Fragments).Offset, received.Fragments[0].Length));
        Assert.Equal(1000, bench.Counter("rx.dma_bytes"));
        Assert.Equal(66, bench.Counter("rx.dma_header_bytes"));
        Assert.Equal(1, bench.Counter("nic.rx_header_split_packets"));
        Assert.Equal((1000, 4096), (bench.Counter("rx.payload_bytes"), bench.Counter("rx.payload_page_bytes")));
        bench.AssertOnlyPosted();
    }

    [Fact]
    public void None_puts_the_whole_frame_into_one_page_and_the_driver_finds_the_payload_behind_the_headers()
    {
        using var bench = new NicBench(NicBench.Small(Placement.None));
        byte[] frame = NicFrames.TcpFrame(NicFrames.Pattern(1000), ipOptions: 4, tcpOptions: 12);
        ReceivedFrame received = bench.Pass(frame);
        Assert.Equal(frame[..70], received.Headers);
        Assert.Equal(frame[70..], received.Payload);
        Assert.Equal((70, 1000), (Assert.Single(received.Fragments).Offset, received.Fragments[0].Length));
        Assert.Equal(frame.Length, bench.Counter("rx.dma_bytes"));
        Assert.Equal(0, bench.Counter("rx.dma_header_bytes"));
        Assert.Equal(0, bench.Counter("nic.rx_header_split_packets"));
        bench.AssertOnlyPosted();
    }

    [Theory]
    [InlineData(Placement.None, 256)]
    [InlineData(Placement.Split, 256)]
    [InlineData(Placement.Packed, 256)]
    [InlineData(Placement.Merge, 256)]
    public void Headroom_is_left_free_in_every_page(Placement placement, int headroom)
    {
        using var bench = new NicBench(NicBench.Small(placement) with { Mtu = 9000 }, headroom: headroom);
        ReceivedFrame received = bench.Pass(NicFrames.TcpFrame(NicFrames.Pattern(8000)));
        Assert.Equal(3, received.Fragments.Length);
        Assert.Equal(headroom + (placement == Placement.None ? 54 : 0), received.Fragments[0].Offset);
        Assert.All(received.Fragments[1..], fragment => Assert.Equal(headroom, fragment.Offset));
    }

    [Fact]
    public void A_frame_without_payload_takes_no_page_under_split_and_gives_its_page_back_under_none()
    {
        foreach (Placement placement in new[] { Placement.Split, Placement.None })
        {
            using var bench = new NicBench(NicBench.Small(placement));
            bench.OnReceive = () => Assert.Equal(
                (placement == Placement.None ? 63 : 64, 256 - 64), (bench.Nic.Describe().RxQueues[0].PagesPosted, bench.Pool.FreePages));
            ReceivedFrame received = bench.Pass(NicFrames.TcpFrame([]));
            Assert.Equal(54, received.Headers.Length);
            Assert.Empty(received.Fragments);
            Assert.Equal(0, bench.Counter("rx.payload_page_bytes"));
            bench.AssertOnlyPosted();
        }
    }

    [Theory]
    [InlineData(Placement.None)]
    [InlineData(Placement.Split)]
    [InlineData(Placement.Packed)]
    [InlineData(Placement.Merge)]
    public void An_unknown_frame_is_cut_behind_the_Ethernet_header(Placement placement)
    {
        using var bench = new NicBench(NicBench.Small(placement));
        byte[] frame = NicFrames.Pattern(777);
        (frame[12], frame[13]) = (0x88, 0xcc);
        ReceivedFrame received = bench.Pass(frame);
        Assert.Equal(14, received.Headers.Length);
        Assert.Equal(frame, received.Bytes);
        Assert.Equal(0u, received.RssHash);
    }

    [Theory]
    [InlineData(Placement.None, 576)]
    [InlineData(Placement.None, 1500)]
    [InlineData(Placement.None, 9000)]
    [InlineData(Placement.None, 65535)]
    [InlineData(Placement.Split, 576)]
    [InlineData(Placement.Split, 1500)]
    [InlineData(Placement.Split, 9000)]
    [InlineData(Placement.Split, 65535)]
    [InlineData(Placement.Packed, 576)]
    [InlineData(Placement.Packed, 65535)]
    [InlineData(Placement.Merge, 1500)]
    [InlineData(Placement.Merge, 65535)]
    public void Every_length_up_to_the_MTU_comes_out_as_it_went_in(Placement placement, int mtu)
    {
        using var bench = new NicBench(NicBench.Small(placement) with { Mtu = mtu }, pageSize: 2048);
        int[] lengths = [60, 61, 575, 576, 590, 1499, 1500, 1514, 2047, 2048, 2049, 2048 + 54, 2049 + 54, 4096 + 53, 4096 + 54, 9000, 9013, 9014, 40001, 65535, 65549];
        foreach (int length in lengths.Where(length => length <= mtu + 14))
        {
            byte[] frame = NicFrames.TcpFrame(NicFrames.Pattern(length - 54, seed: length));
            Assert.Equal(frame, bench.Pass(frame).Bytes);
            Assert.Equal(Net.Devices.RxChecksum.Unnecessary, bench.Received[^1].Checksum);
            bench.AssertOnlyPosted();
        }
    }

    [Fact]
    public void Any_frame_comes_out_with_the_same_bytes_however_the_wire_cut_it()
    {
        var benches = new Dictionary<(Placement, int, int), NicBench>();
        Gen<byte[]> noise = Gen.Byte.Array[14, 5000];
        // With the longest headers (14 + 60 + 60 bytes) still no longer than the MTU allows.
        Gen<byte[]> tcp = Gen.Select(Gen.Int[0, 8880], Gen.Int[0, 10], Gen.Int[0, 10], Gen.Int, (length, ipOptions, tcpOptions, seed) =>
            NicFrames.TcpFrame(NicFrames.Pattern(length, seed & 0xffff), ipOptions * 4, tcpOptions * 4));
        Gen<byte[]> mutated = Gen.Select(tcp, Gen.Int[0, 80], Gen.Byte, (frame, at, value) =>
        {
            frame[Math.Min(at, frame.Length - 1)] = value;
            return frame;
        });
        Gen.Select(
            Gen.OneOf(noise, tcp, mutated),
            Gen.Int[0, 3].Select(i => (Placement)i),
            Gen.Int[0, 2].Select(i => PageSizes[i]),
            Gen.Int[0, 2].Select(i => Headrooms[i]),
            Gen.Int[0, 200],
            Gen.Int[0, 1500].Array[0, 6]).Sample(
            (frame, placement, pageSize, headroom, headerBytes, cuts) =>
            {
                if (!benches.TryGetValue((placement, pageSize, headroom), out NicBench? bench))
                {
                    bench = new NicBench(NicBench.Small(placement) with { Mtu = 9000 }, pages: 100, pageSize: pageSize, headroom: headroom);
                    benches.Add((placement, pageSize, headroom), bench);
                }

                Assert.Equal(frame, bench.Pass(frame, headerBytes, cuts).Bytes);
                bench.AssertOnlyPosted();
                bench.Received.Clear();
            },
            iter: 5000,
            threads: 1);
        foreach (NicBench bench in benches.Values)
        {
            Assert.Equal(bench.Counter("nic.rx_packets"), bench.Counter("nic.rx_queue_0_packets"));
            bench.Dispose();
        }
    }

    [Fact]
    public void The_longest_frame_taken_is_the_MTU_with_Ethernet_header_and_VLAN_tag()
    {
        using var bench = new NicBench(NicBench.Small());
        Assert.True(bench.Feed(new byte[1518]));
        Assert.False(bench.Feed(new byte[1519]));
        Assert.False(bench.Feed(new byte[13]));
        Assert.True(bench.Feed(new byte[14]));
        Assert.Equal(2, bench.Poll());
        Assert.Equal((2, 1, 1), (bench.Counter("nic.rx_length_errors"), bench.Counter("nic.rx_oversize_packets"), bench.Counter("nic.rx_undersize_packets")));
        Assert.Equal((2, 1532), (bench.Counter("nic.rx_packets"), bench.Counter("nic.rx_bytes")));
        bench.AssertOnlyPosted();
    }

    [Fact]
    public void A_link_that_is_down_takes_nothing()
    {
        using var bench = new NicBench(NicBench.Small());
        bench.Nic.LinkUp = false;
        Assert.False(bench.Feed(NicFrames.TcpFrame([1])));
        bench.Nic.LinkUp = true;
        Assert.True(bench.Feed(NicFrames.TcpFrame([1])));
        Assert.Equal(1, bench.Counter("nic.rx_carrier_errors"));
        Assert.Equal(1, bench.Poll());
    }

    [Theory]
    [InlineData(Placement.None)]
    [InlineData(Placement.Split)]
    public void Without_enough_posted_pages_a_frame_is_dropped_whole_and_smaller_ones_still_fit(Placement placement)
    {
        using var bench = new NicBench(NicBench.Small(placement) with { RxRingSize = 4, Mtu = 9000 }, pages: 8);
        byte[] three = NicFrames.TcpFrame(NicFrames.Pattern(8900));
        byte[] one = NicFrames.TcpFrame(NicFrames.Pattern(100));
        Assert.True(bench.Feed(three));
        Assert.False(bench.Feed(three));
        Assert.True(bench.Feed(one));
        Assert.False(bench.Feed(one));
        Assert.Equal(2, bench.Counter("nic.rx_out_of_buffer"));
        Assert.Equal(2, bench.Poll());
        Assert.Equal([three, one], bench.Received.Select(frame => frame.Bytes));
        bench.AssertOnlyPosted();
    }

    [Fact]
    public void Without_header_buffers_a_frame_without_payload_is_dropped_too()
    {
        using var bench = new NicBench(NicBench.Small() with { RxRingSize = 4 }, pages: 8);
        byte[] ack = NicFrames.TcpFrame([]);
        for (int i = 0; i < 4; i++)
        {
            Assert.True(bench.Feed(ack));
        }

        Assert.False(bench.Feed(ack));
        Assert.Equal(1, bench.Counter("nic.rx_out_of_buffer"));
        Assert.Equal(4, bench.Poll());
        Assert.True(bench.Feed(ack));
    }

    [Theory]
    [InlineData(Placement.None, 8)]
    [InlineData(Placement.Split, 4)]
    public void A_full_completion_queue_drops_and_counts_and_takes_no_buffer(Placement placement, int fits)
    {
        using var bench = new NicBench(NicBench.Small(placement) with { RxRingSize = 16, RxCompletionQueueSize = 8 });
        byte[] frame = NicFrames.TcpFrame([1, 2, 3]);
        for (int i = 0; i < fits; i++)
        {
            Assert.True(bench.Feed(frame));
        }

        int posted = bench.Nic.Describe().RxQueues[0].PagesPosted;
        Assert.False(bench.Feed(frame));
        Assert.Equal(1, bench.Counter("nic.rx_missed_errors"));
        Assert.Equal(posted, bench.Nic.Describe().RxQueues[0].PagesPosted);
        Assert.Equal(fits, bench.Poll());
        bench.AssertOnlyPosted();
    }
}
