using ZeroCopyDaemon.Nic;
using static ZeroCopyDaemon.UnitTests.NicFrames;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>A flow's payload end to end.</summary>
public sealed class NicMergeTests
{
    private const byte Rst = 4, Urg = 32, Ece = 64;

    [Theory]
    [InlineData(1460, 4096)]
    [InlineData(1448, 4096)]
    [InlineData(536, 2048)]
    [InlineData(8960, 4096)]
    [InlineData(4096, 4096)]
    [InlineData(1, 2048)]
    public void Successive_segments_fill_pages_exactly(int segment, int pageSize)
    {
        using var bench = new MergeBench(nic => nic with { Mtu = 9000 }, pages: 4096, pageSize: pageSize);
        int count = Math.Min(3000, 40 * pageSize / segment);
        for (int i = 0; i < count; i++)
        {
            bench.Next(segment);
        }

        (int Page, int Offset, int Length)[] fragments = [.. bench.Nic.Received.SelectMany(frame => frame.Fragments)];
        long position = 0;
        var pages = new List<int>();
        foreach ((int page, int offset, int length) in fragments)
        {
            Assert.Equal(position % pageSize, offset);
            if (offset == 0)
            {
                pages.Add(page);
            }

            Assert.Equal(pages[^1], page);
            position += length;
        }

        Assert.Equal((long)count * segment, position);
        Assert.Equal(pages.Count, pages.Distinct().Count());
        Assert.All(pages[..^1], page => Assert.False(bench.Nic.Pool.DescribePage(page).NicHold));
        Assert.Equal(position % pageSize != 0, bench.Nic.Pool.DescribePage(pages[^1]).NicHold);
        Assert.Equal((position, (long)pages.Count * pageSize), (bench.Nic.Counter("rx.payload_bytes"), bench.Nic.Counter("rx.payload_page_bytes")));
        Assert.Equal((1, count - 1), (bench.Nic.Counter("nic.rx_merge_runs"), bench.Nic.Counter("nic.rx_merge_match_packets")));
    }

    [Fact]
    public void Interleaved_flows_each_have_a_page_of_their_own()
    {
        using var bench = new MergeBench();
        for (int i = 0; i < 300; i++)
        {
            bench.Next(1460, port: (ushort)(1 + (i % 3)));
        }

        var flowsInPage = new Dictionary<int, HashSet<ushort>>();
        foreach (ReceivedFrame frame in bench.Nic.Received)
        {
            foreach ((int page, _, _) in frame.Fragments)
            {
                (flowsInPage.TryGetValue(page, out HashSet<ushort>? flows) ? flows : flowsInPage[page] = []).Add(Port(frame));
            }
        }

        Assert.All(flowsInPage.Values, flows => Assert.Single(flows));
        Assert.Equal(3 * ((100 * 1460 + 4095) / 4096), flowsInPage.Count);
        Assert.Equal(3, bench.Nic.Counter("nic.rx_merge_runs"));
    }

    [Fact]
    public void A_sequence_number_that_wraps_is_the_next_one_still()
    {
        using var bench = new MergeBench();
        bench.Pass(100, sequence: uint.MaxValue - 49);
        Assert.Equal(100, bench.Pass(100, sequence: 50).Fragments[0].Offset);
    }

    [Theory]
    [InlineData(1101, "a byte is missing")]
    [InlineData(1000, "sent again")]
    [InlineData(1050, "overlaps")]
    [InlineData(900, "older")]
    [InlineData(0x80000000, "half of the sequence space away")]
    public void A_segment_that_is_not_the_next_one_ends_the_run_and_begins_another(uint sequence, string why)
    {
        Assert.NotEmpty(why);
        using var bench = new MergeBench();
        int first = bench.Pass(100, sequence: 1000).Fragments[0].Page;
        ReceivedFrame other = bench.Pass(200, sequence);
        (int second, int offset, _) = Assert.Single(other.Fragments);
        Assert.Equal((true, 0), (first != second, offset));
        Assert.Equal((false, true), (bench.Nic.Pool.DescribePage(first).NicHold, bench.Nic.Pool.DescribePage(second).NicHold));
        Assert.Equal([(second, 200, 50)], bench.Pass(50, sequence + 200).Fragments);
        Assert.Equal(0, bench.Pass(50, sequence: 1100).Fragments[0].Offset);
    }

    [Theory]
    [InlineData(Syn)]
    [InlineData(Fin | Ack)]
    [InlineData(Rst)]
    [InlineData(Urg | Ack)]
    [InlineData(Psh)]
    public void Anything_but_plain_data_ends_the_run_and_lies_on_a_page_of_its_own(byte flags)
    {
        using var bench = new MergeBench();
        int first = bench.Pass(100, sequence: 1000).Fragments[0].Page;
        ReceivedFrame special = bench.Pass(10, sequence: 1100, flags: flags);
        (int page, int offset, _) = Assert.Single(special.Fragments);
        Assert.Equal((true, 0), (page != first, offset));
        Assert.Equal((false, false), (bench.Nic.Pool.DescribePage(first).NicHold, bench.Nic.Pool.DescribePage(page).NicHold));
        ReceivedFrame next = bench.Pass(10, sequence: 1110);
        Assert.Equal(0, next.Fragments[0].Offset);
        Assert.DoesNotContain(next.Fragments[0].Page, new[] { first, page });
    }

    [Theory]
    [InlineData(Syn)]
    [InlineData(Fin | Ack)]
    [InlineData(Rst)]
    public void Flags_end_the_run_without_any_payload(byte flags)
    {
        using var bench = new MergeBench();
        int first = bench.Pass(100, sequence: 1000).Fragments[0].Page;
        Assert.Empty(bench.Pass(0, sequence: 1100, flags: flags).Fragments);
        Assert.False(bench.Nic.Pool.DescribePage(first).NicHold);
        Assert.Equal(long.MaxValue, bench.Nic.Nic.NextInterruptUs);
        Assert.Equal(0, bench.Pass(10, sequence: 1100).Fragments[0].Offset);
    }

    [Fact]
    public void Acknowledgments_pushes_and_congestion_marks_do_not_end_it()
    {
        using var bench = new MergeBench();
        bench.Pass(100, sequence: 1000);
        bench.Pass(0, sequence: 999);
        bench.Pass(0, sequence: 1100);
        Assert.Equal(100, bench.Pass(100, sequence: 1100, flags: Psh | Ack).Fragments[0].Offset);
        Assert.Equal(200, bench.Pass(100, sequence: 1200, flags: Ece | Cwr | Ack).Fragments[0].Offset);
        Assert.Equal(300, bench.Pass(100, sequence: 1300).Fragments[0].Offset);
    }

    [Fact]
    public void IP_options_padding_and_a_header_length_that_lies_end_the_run()
    {
        byte[] payload = Pattern(40);
        byte[] lies = TcpFrame(payload, sequence: 1100);
        lies[Ethernet + Ipv4 + 12] = 0x40;
        byte[][] specials = [TcpFrame(payload, ipOptions: 4, sequence: 1100), [.. TcpFrame(payload, sequence: 1100), 0, 0, 0], lies];
        foreach (byte[] special in specials)
        {
            using var bench = new MergeBench();
            int first = bench.Pass(100, sequence: 1000, port: 1234).Fragments[0].Page;
            ReceivedFrame received = bench.Nic.Pass(special);
            Assert.Equal(special, received.Bytes);
            Assert.Equal(0, received.Fragments[0].Offset);
            Assert.False(bench.Nic.Pool.DescribePage(first).NicHold);
            Assert.False(bench.Nic.Pool.DescribePage(received.Fragments[0].Page).NicHold);
            Assert.Equal(0, bench.Pass(10, sequence: 1140, port: 1234).Fragments[0].Offset);
        }
    }

    [Fact]
    public void What_is_not_TCP_lies_as_under_split_and_disturbs_no_run()
    {
        using var bench = new MergeBench();
        bench.Pass(100, sequence: 1000, port: 1234);
        byte[] fragment = TcpFrame(Pattern(64), sequence: 1100);
        WriteIpv4(fragment, 0, 6, fragment.Length - Ethernet, 7, flagsAndOffset: 0x2000);
        byte[] unknown = Pattern(300);
        (unknown[12], unknown[13]) = (0x88, 0xcc);
        foreach (byte[] frame in new[] { UdpFrame(Pattern(500)), fragment, unknown })
        {
            (int page, int offset, _) = Assert.Single(bench.Nic.Pass(frame).Fragments);
            Assert.Equal((0, false), (offset, bench.Nic.Pool.DescribePage(page).NicHold));
        }

        Assert.Equal(100, bench.Pass(10, sequence: 1100, port: 1234).Fragments[0].Offset);
    }

    [Fact]
    public void A_run_that_nothing_more_comes_for_is_flushed_when_its_time_is_over_and_not_before()
    {
        using var bench = new MergeBench(nic => nic with { MergeFlushUs = 1000 }) { Hold = false };
        bench.NowUs = 5_000;
        int first = bench.Pass(100, sequence: 1000).Fragments[0].Page;
        bench.NowUs = 5_900;
        Assert.Equal(100, bench.Pass(100, sequence: 1100).Fragments[0].Offset);
        Assert.Equal(6_900, bench.Nic.Nic.NextInterruptUs);
        Assert.False(bench.Nic.Driver.NeedsPoll(6_899));
        bench.Nic.Poll(6_899);
        Assert.True(bench.Nic.Pool.DescribePage(first).NicHold);
        Assert.True(bench.Nic.Driver.NeedsPoll(6_900));
        uint uses = bench.Nic.Pool.DescribePage(first).Uses;
        Assert.Equal(0, bench.Nic.Poll(6_900));

        // Free again, and posted anew, empty.
        Assert.Equal(uses + 1, bench.Nic.Pool.DescribePage(first).Uses);
        Assert.Equal((1, 1), (bench.Nic.Counter("nic.rx_merge_flushes"), bench.Nic.Counter("nic.rx_merge_runs")));
        Assert.Equal(long.MaxValue, bench.Nic.Nic.NextInterruptUs);
        Assert.False(bench.Nic.Driver.NeedsPoll(long.MaxValue - 1));
        bench.Nic.AssertOnlyPosted();
        bench.NowUs = 7_000;
        Assert.Equal(0, bench.Pass(10, sequence: 1200).Fragments[0].Offset);
    }

    [Fact]
    public void Flushed_pages_are_told_by_a_moderated_interrupt_like_any_other()
    {
        using var bench = new MergeBench(nic => nic with { MergeFlushUs = 1000, RxUsecs = 50 }) { Hold = false };
        bench.Nic.Feed(TcpFrame([1]), nowUs: 0);
        Assert.Equal(1, bench.Nic.Poll(50));
        Assert.Equal(0, bench.Nic.Poll(51));
        Assert.Equal(1000, bench.Nic.Nic.NextInterruptUs);
        bench.Nic.Poll(1000);
        Assert.Equal(1050, bench.Nic.Nic.NextInterruptUs);
        bench.Nic.Poll(1050);
        Assert.Equal(0, bench.Nic.Nic.Describe().RxQueues[0].CompletionsWaiting);
        bench.Nic.AssertOnlyPosted();
    }

    [Fact]
    public void A_segment_that_comes_after_the_time_is_over_begins_a_new_run_though_nobody_polled_meanwhile()
    {
        using var bench = new MergeBench(nic => nic with { MergeFlushUs = 1000 });
        int first = bench.Pass(100, sequence: 1000).Fragments[0].Page;
        bench.Nic.Feed(TcpFrame(Pattern(10), sequence: 1100, sourcePort: 1), nowUs: 1000);
        Assert.Equal(1, bench.Nic.Poll(1000));
        Assert.Equal(0, bench.Nic.Received[^1].Fragments[0].Offset);
        Assert.False(bench.Nic.Pool.DescribePage(first).NicHold);
    }

    [Fact]
    public void With_more_flows_than_contexts_the_one_idle_for_longest_makes_way()
    {
        using var bench = new MergeBench(nic => nic with { MergeContexts = 2 });
        int a = bench.Next(100, 1).Fragments[0].Page;
        int b = bench.Next(100, 2).Fragments[0].Page;
        bench.Next(100, 1);
        bench.Next(100, 3);
        Assert.Equal((true, false), (bench.Nic.Pool.DescribePage(a).NicHold, bench.Nic.Pool.DescribePage(b).NicHold));
        Assert.Equal([(a, 200, 100)], bench.Next(100, 1).Fragments);
        Assert.Equal(0, bench.Next(100, 2).Fragments[0].Offset);
        Assert.Equal([(a, 300, 100)], bench.Next(100, 1).Fragments);
        Assert.Equal(2, bench.Nic.Counter("nic.rx_merge_evictions"));
        Assert.Equal(4, bench.Nic.Counter("nic.rx_merge_runs"));
    }

    [Fact]
    public void Flushes_come_in_the_order_in_which_flows_fell_idle()
    {
        using var bench = new MergeBench(nic => nic with { MergeFlushUs = 100 });
        int[] pages = new int[4];
        foreach ((int port, int at) in new[] { (1, 10), (2, 20), (3, 30), (1, 40), (0, 50) })
        {
            bench.NowUs = at;
            pages[port] = bench.Next(10, (ushort)port).Fragments[0].Page;
        }

        foreach ((int port, int due) in new[] { (2, 120), (3, 130), (1, 140), (0, 150) })
        {
            Assert.Equal(due, bench.Nic.Nic.NextInterruptUs);
            bench.Nic.Poll(due);
            Assert.False(bench.Nic.Pool.DescribePage(pages[port]).NicHold);
        }

        Assert.Equal(long.MaxValue, bench.Nic.Nic.NextInterruptUs);
    }

    [Fact]
    public void A_small_ring_has_fewer_contexts_so_that_open_pages_never_use_it_up()
    {
        using var bench = new MergeBench(nic => nic with { RxRingSize = 16 }, pages: 64);
        for (ushort port = 1; port <= 100; port++)
        {
            Assert.Single(bench.Next(10, port).Fragments);
            Assert.True(bench.Nic.Nic.Describe().RxQueues[0].PagesPosted >= 12);
            bench.Nic.ReleaseHeld();
        }

        Assert.Equal(96, bench.Nic.Counter("nic.rx_merge_evictions"));
    }

    [Fact]
    public void The_driver_takes_every_open_page_back()
    {
        using var bench = new MergeBench();
        for (ushort port = 1; port <= 5; port++)
        {
            bench.Next(1000, port);
        }

        bench.Nic.ReleaseHeld();
        bench.Nic.Feed(TcpFrame(Pattern(10), sourcePort: 77));
        bench.Nic.Driver.Dispose();
        Assert.Equal((256, long.MaxValue), (bench.Nic.Pool.FreePages, bench.Nic.Nic.NextInterruptUs));
    }

    [Fact]
    public void A_frame_dropped_for_want_of_pages_takes_nothing_and_ends_no_run()
    {
        using var bench = new MergeBench(nic => nic with { RxRingSize = 4, Mtu = 9000 }, pages: 8) { Hold = false };
        ReceivedFrame first = bench.Pass(100, sequence: 1000);
        Assert.True(bench.Nic.Feed(UdpFrame(Pattern(5000))));
        byte[] dropped = TcpFrame(Pattern(8900), sequence: 5000, sourcePort: 1);
        Assert.False(bench.Nic.Feed(dropped));
        Assert.Equal((1, 1), (bench.Nic.Counter("nic.rx_out_of_buffer"), bench.Nic.Nic.Describe().RxQueues[0].PagesPosted));
        Assert.True(bench.Nic.Feed(TcpFrame(Pattern(4000), sequence: 1100, sourcePort: 1)));
        Assert.Equal(2, bench.Nic.Poll());
        Assert.Equal([(first.Fragments[0].Page, 100, 3996), (bench.Nic.Received[^1].Fragments[1].Page, 0, 4)], bench.Nic.Received[^1].Fragments);
    }

    [Fact]
    public void A_full_completion_queue_takes_nothing_and_keeps_a_flush_waiting_until_there_is_room()
    {
        using var bench = new MergeBench(nic => nic with { RxRingSize = 16, RxCompletionQueueSize = 8, MergeFlushUs = 1000, RxUsecs = 500_000 }) { Hold = false };
        for (int i = 0; i < 4; i++)
        {
            Assert.True(bench.Nic.Feed(TcpFrame([(byte)i], sequence: 1000 + (uint)i)));
        }

        Assert.False(bench.Nic.Feed(TcpFrame([4], sequence: 1004)));
        Assert.False(bench.Nic.Feed(TcpFrame([4], sequence: 7777)));
        Assert.Equal(2, bench.Nic.Counter("nic.rx_missed_errors"));

        // No room to say that the page is finished: the driver's turn comes first, and it isn't hurried for it.
        Assert.Equal((500_000, false), (bench.Nic.Nic.NextInterruptUs, bench.Nic.Driver.NeedsPoll(400_000)));
        Assert.Equal(4, bench.Nic.Poll(500_000));
        Assert.Equal([0, 1, 2, 3], bench.Nic.Received.Select(frame => frame.Fragments[0].Offset));
        Assert.True(bench.Nic.Driver.NeedsPoll(500_000));
        bench.Nic.Poll(500_000);
        bench.Nic.Poll(1_000_000);
        Assert.Equal(1, bench.Nic.Counter("nic.rx_merge_flushes"));
        Assert.Equal(16, bench.Nic.Nic.Describe().RxQueues[0].PagesPosted);
    }

    [Fact]
    public void The_default_completion_queue_never_overflows_however_runs_end()
    {
        using var bench = new MergeBench(nic => nic with { RxRingSize = 16, Mtu = 9000, MergeFlushUs = 3, MergeContexts = 4 }) { Hold = false };
        var random = new Random(1);
        for (int i = 0; i < 20_000; i++)
        {
            bench.Nic.Feed(TcpFrame(new byte[random.Next(100) == 0 ? 8000 : random.Next(3)], sequence: (uint)random.Next(3), sourcePort: (ushort)random.Next(9)), nowUs: i);
            if (random.Next(20) == 0)
            {
                bench.Nic.Poll(i, budget: random.Next(1, 20));
            }
        }

        Assert.True(bench.Nic.Counter("nic.rx_out_of_buffer") > 0);
        Assert.Equal(0, bench.Nic.Counter("nic.rx_missed_errors"));
    }

    private static ushort Port(ReceivedFrame frame) => System.Buffers.Binary.BinaryPrimitives.ReadUInt16BigEndian(frame.Headers.AsSpan(Ethernet + Ipv4));

    /// <summary>A NIC that merges, and flows that know their next sequence number.</summary>
    private sealed class MergeBench : IDisposable
    {
        private readonly Dictionary<ushort, uint> _next = [];

        public MergeBench(Func<NicOptions, NicOptions>? configure = null, int pages = 256, int pageSize = 4096)
        {
            NicOptions options = NicBench.Small(Placement.Merge);
            Nic = new NicBench(configure?.Invoke(options) ?? options, pages, pageSize) { Hold = true };
        }

        public NicBench Nic { get; }

        public long NowUs { get; set; }

        public bool Hold
        {
            set => Nic.Hold = value;
        }

        public ReceivedFrame Next(int length, ushort port = 1)
        {
            uint sequence = _next.GetValueOrDefault(port, 1000u + port);
            _next[port] = sequence + (uint)length;
            return Pass(length, sequence, port: port);
        }

        public ReceivedFrame Pass(int length, uint sequence, byte flags = Ack, ushort port = 1)
        {
            byte[] frame = TcpFrame(Pattern(length, (int)(sequence & 0xffff)), flags: flags, sequence: sequence, sourcePort: port);
            Assert.True(Nic.Feed(frame, nowUs: NowUs));
            Assert.Equal(1, Nic.Poll(NowUs));
            Assert.Equal(frame, Nic.Received[^1].Bytes);
            return Nic.Received[^1];
        }

        public void Dispose() => Nic.Dispose();
    }
}
