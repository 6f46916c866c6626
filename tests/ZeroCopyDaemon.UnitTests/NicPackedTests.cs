using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Payloads of many frames in one page.</summary>
public sealed class NicPackedTests
{
    [Fact]
    public void Payloads_of_different_flows_lie_one_behind_the_other_each_from_a_cache_lines_start()
    {
        using var bench = new NicBench(NicBench.Small(Placement.Packed));
        ReceivedFrame[] frames = [Pass(bench, 100, 1), Pass(bench, 1000, 2), Pass(bench, 64, 3), Pass(bench, 1, 1), PassUdp(bench, 65), Pass(bench, 1, 2)];
        Assert.Equal([0, 128, 1152, 1216, 1280, 1408], frames.Select(frame => Assert.Single(frame.Fragments).Offset));
        Assert.Single(frames.Select(frame => frame.Fragments[0].Page).Distinct());
        Assert.Equal((1231, 4096), (bench.Counter("rx.payload_bytes"), bench.Counter("rx.payload_page_bytes")));
    }

    [Fact]
    public void What_does_not_fit_goes_on_in_the_next_page_and_the_next_frame_behind_it()
    {
        using var bench = new NicBench(NicBench.Small(Placement.Packed)) { Hold = true };
        ReceivedFrame[] frames = [Pass(bench, 1460), Pass(bench, 1460), Pass(bench, 1460), Pass(bench, 10)];
        int first = frames[0].Fragments[0].Page, second = frames[3].Fragments[0].Page;
        Assert.NotEqual(first, second);
        Assert.Equal([(first, 0, 1460)], frames[0].Fragments);
        Assert.Equal([(first, 1472, 1460)], frames[1].Fragments);
        Assert.Equal([(first, 2944, 1152), (second, 0, 308)], frames[2].Fragments);
        Assert.Equal([(second, 320, 10)], frames[3].Fragments);
        Assert.Equal((false, true), (bench.Pool.DescribePage(first).NicHold, bench.Pool.DescribePage(second).NicHold));
        Assert.Equal((4390, 8192), (bench.Counter("rx.payload_bytes"), bench.Counter("rx.payload_page_bytes")));
    }

    [Theory]
    [InlineData(4032, true)]
    [InlineData(4033, false)]
    [InlineData(4096, false)]
    public void A_page_is_finished_when_less_than_a_line_of_it_is_left(int length, bool staysOpen)
    {
        using var bench = new NicBench(NicBench.Small(Placement.Packed) with { Mtu = 9000 }) { Hold = true };
        ReceivedFrame frame = Pass(bench, length);
        int page = Assert.Single(frame.Fragments).Page;
        Assert.Equal(staysOpen, bench.Pool.DescribePage(page).NicHold);
        ReceivedFrame next = Pass(bench, 64);
        Assert.Equal(staysOpen ? (page, 4032, 64) : (next.Fragments[0].Page, 0, 64), Assert.Single(next.Fragments));
        Assert.False(bench.Pool.DescribePage(page).NicHold);
    }

    [Fact]
    public void A_jumbo_frame_takes_whole_pages_and_leaves_the_rest_of_the_last_one_to_the_next()
    {
        using var bench = new NicBench(NicBench.Small(Placement.Packed) with { Mtu = 9000 }) { Hold = true };
        ReceivedFrame first = Pass(bench, 8960), second = Pass(bench, 8960);
        Assert.Equal([(0, 4096), (0, 4096), (0, 768)], first.Fragments.Select(fragment => (fragment.Offset, fragment.Length)));
        Assert.Equal([(768, 3328), (0, 4096), (0, 1536)], second.Fragments.Select(fragment => (fragment.Offset, fragment.Length)));
        Assert.Equal(first.Fragments[2].Page, second.Fragments[0].Page);
        Assert.Equal(5, first.Fragments.Concat(second.Fragments).Select(fragment => fragment.Page).Distinct().Count());
    }

    [Fact]
    public void Payload_begins_at_the_first_line_behind_an_odd_headroom()
    {
        using var bench = new NicBench(NicBench.Small(Placement.Packed) with { Mtu = 9000 }, headroom: 301);
        ReceivedFrame frame = Pass(bench, 5000);
        Assert.Equal([(320, 3776), (320, 1224)], frame.Fragments.Select(fragment => (fragment.Offset, fragment.Length)));
        Assert.Equal((5000, 8192), (bench.Counter("rx.payload_bytes"), bench.Counter("rx.payload_page_bytes")));
    }

    [Fact]
    public void A_frame_without_payload_takes_nothing_of_a_page()
    {
        using var bench = new NicBench(NicBench.Small(Placement.Packed));
        Assert.Empty(Pass(bench, 0).Fragments);
        Assert.Equal((64, 0), (bench.Nic.Describe().RxQueues[0].PagesPosted, bench.Counter("rx.payload_page_bytes")));
        Pass(bench, 100);
        Assert.Empty(Pass(bench, 0).Fragments);
        Assert.Equal(128, Pass(bench, 1).Fragments[0].Offset);
    }

    [Fact]
    public void Each_RX_queue_has_its_own_open_page()
    {
        using var bench = new NicBench(NicBench.Small(Placement.Packed) with { RxQueues = 2 }) { Hold = true };
        for (ushort port = 1; port <= 40; port++)
        {
            Pass(bench, 100, port);
        }

        IGrouping<int, (int Page, int Offset, int Length)>[] pages = [.. bench.Received.Select(frame => Assert.Single(frame.Fragments)).GroupBy(fragment => fragment.Page)];
        Assert.All(pages, page => Assert.Equal(Enumerable.Range(0, page.Count()).Select(i => i * 128), page.Select(fragment => fragment.Offset)));
        Assert.All(bench.Nic.Describe().RxQueues, queue => Assert.Equal(63, queue.PagesPosted));
    }

    [Fact]
    public void The_open_page_is_given_back_by_the_driver_whether_it_holds_anything_or_not()
    {
        foreach (bool hold in new[] { true, false })
        {
            using var bench = new NicBench(NicBench.Small(Placement.Packed)) { Hold = hold };
            Pass(bench, 100);
            bench.Feed(NicFrames.TcpFrame(NicFrames.Pattern(100)));
            bench.Driver.Dispose();
            bench.Pool.CheckInvariants();
            Assert.Equal(hold ? 255 : 256, bench.Pool.FreePages);
        }
    }

    [Fact]
    public void An_open_page_with_nothing_left_in_it_is_posted_still_and_goes_on_being_filled()
    {
        using var bench = new NicBench(NicBench.Small(Placement.Packed));
        int page = Pass(bench, 100).Fragments[0].Page;
        bench.AssertOnlyPosted();
        Assert.Equal((PageState.Posted, 1, true), (bench.Pool.DescribePage(page).State, bench.Pool.DescribePage(page).References, bench.Pool.DescribePage(page).NicHold));
        Assert.Equal([(page, 128, 5)], Pass(bench, 5).Fragments);
        Assert.Equal(long.MaxValue, bench.Nic.NextInterruptUs);
        Assert.False(bench.Driver.NeedsPoll(long.MaxValue - 1));
    }

    [Fact]
    public void The_default_completion_queue_never_overflows_however_many_frames_share_a_page()
    {
        using var bench = new NicBench(NicBench.Small(Placement.Packed) with { RxRingSize = 16, Mtu = 9000 });
        for (int round = 0; round < 50; round++)
        {
            // Header buffers are what runs out first with small frames, pages with large ones.
            for (int i = 0; i < 40; i++)
            {
                bench.Feed(NicFrames.TcpFrame(NicFrames.Pattern(((round * 7) + i) % 5 == 0 ? 5000 : 10)));
            }

            bench.Poll(budget: 1 + (round % 20));
        }

        Assert.True(bench.Counter("nic.rx_out_of_buffer") > 0);
        Assert.Equal(0, bench.Counter("nic.rx_missed_errors"));
    }

    [Fact]
    public void A_full_completion_queue_drops_and_takes_nothing()
    {
        using var bench = new NicBench(NicBench.Small(Placement.Packed) with { RxRingSize = 16, RxCompletionQueueSize = 8 });
        byte[] frame = NicFrames.TcpFrame([1, 2, 3]);
        for (int i = 0; i < 4; i++)
        {
            Assert.True(bench.Feed(frame));
        }

        Assert.False(bench.Feed(frame));
        RxQueueDescription queue = bench.Nic.Describe().RxQueues[0];
        Assert.Equal((1, 15, 12), (bench.Counter("nic.rx_missed_errors"), queue.PagesPosted, queue.HeaderBuffersPosted));
        Assert.Equal(4, bench.Poll());
        Assert.Equal(256, bench.Pass(frame).Fragments[0].Offset);
    }

    [Fact]
    public void Without_enough_posted_pages_nothing_is_taken_and_smaller_frames_still_fit()
    {
        using var bench = new NicBench(NicBench.Small(Placement.Packed) with { RxRingSize = 4, Mtu = 9000 }, pages: 8);
        byte[] three = NicFrames.TcpFrame(NicFrames.Pattern(8900));
        byte[] one = NicFrames.TcpFrame(NicFrames.Pattern(100));
        Assert.True(bench.Feed(three));
        Assert.False(bench.Feed(three));
        Assert.True(bench.Feed(one));
        Assert.Equal((1, 1), (bench.Counter("nic.rx_out_of_buffer"), bench.Nic.Describe().RxQueues[0].PagesPosted));
        Assert.Equal(2, bench.Poll());
        Assert.Equal([three, one], bench.Received.Select(frame => frame.Bytes));
        Assert.Equal((bench.Received[0].Fragments[2].Page, 768), (bench.Received[1].Fragments[0].Page, bench.Received[1].Fragments[0].Offset));
        bench.AssertOnlyPosted();
    }

    [Fact]
    public void A_page_that_stays_open_does_not_keep_a_paused_sender_waiting()
    {
        // The longest frame takes 5 of 8 pages, so that the ring would have to be full again, which it never is with one of them open.
        using var bench = new NicBench(NicBench.Small(Placement.Packed) with { RxRingSize = 8, Mtu = 9000, PauseFrames = true }, pages: 16, pageSize: 2048);
        for (int i = 0; i < 20; i++)
        {
            Assert.False(bench.Nic.RxPaused);
            Assert.True(bench.Feed(NicFrames.TcpFrame(NicFrames.Pattern(8000))));
            Assert.True(bench.Nic.RxPaused);
            bench.Poll();
        }

        Assert.Equal((20, 0), (bench.Received.Count, bench.Counter("nic.rx_out_of_buffer")));
    }

    [Fact]
    public void Packed_pages_are_marked_as_shared()
    {
        using var bench = new NicBench(NicBench.Small(Placement.Packed)) { Hold = true };
        Pass(bench, 1);
        Pass(bench, 1000);
        Assert.Equal(256, bench.Pool.Charge(bench.Held[0], connection: 1));
        Assert.Equal(1024, bench.Pool.Charge(bench.Held[1], connection: 1));
    }

    [Fact]
    public void A_receiver_that_throws_with_payload_in_its_hands_leaves_the_open_page_as_it_is()
    {
        using var bench = new NicBench(NicBench.Small(Placement.Packed));
        Pass(bench, 100);
        bench.OnReceive = () => throw new Memory.InvariantViolationException("of the stack's");
        bench.Feed(NicFrames.TcpFrame([]));
        Assert.Throws<Memory.InvariantViolationException>(() => bench.Poll());
        bench.OnReceive = null;
        Assert.Equal(128, Pass(bench, 7).Fragments[0].Offset);
        bench.AssertOnlyPosted();
    }

    private static ReceivedFrame Pass(NicBench bench, int length, ushort port = 1)
    {
        byte[] frame = NicFrames.TcpFrame(NicFrames.Pattern(length, length + port), sourcePort: port);
        ReceivedFrame received = bench.Pass(frame);
        Assert.Equal(frame, received.Bytes);
        return received;
    }

    private static ReceivedFrame PassUdp(NicBench bench, int length) => bench.Pass(NicFrames.UdpFrame(NicFrames.Pattern(length)));
}
