using CsCheck;
using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.UnitTests;

public sealed class NicDriverTests
{
    [Fact]
    public void The_rings_are_posted_full_at_once_and_all_pages_come_back_in_the_end()
    {
        using var native = new NativePool(pages: 80);
        var nic = new NicModel(NicBench.Small() with { RxQueues = 4, RxRingSize = 16 }, native.Pool.Geometry);
        using (var driver = new NicDriver(nic, native.Pool))
        {
            Assert.Equal((64, 16), (native.Pool.PostedPages, native.Pool.FreePages));
            Assert.All(nic.Describe().RxQueues, queue => Assert.Equal((16, 16), (queue.PagesPosted, queue.HeaderBuffersPosted)));
            Assert.Throws<InvalidOperationException>(() => new NicDriver(nic, native.Pool));
        }

        Assert.Equal(80, native.Pool.FreePages);
        native.Pool.CheckInvariants();
    }

    [Fact]
    public void A_pool_without_a_quarter_more_than_the_rings_is_refused_with_what_to_change()
    {
        using var native = new NativePool(pages: 79);
        var nic = new NicModel(NicBench.Small() with { RxQueues = 4, RxRingSize = 16 }, native.Pool.Geometry);
        InvalidOperationException refusal = Assert.Throws<InvalidOperationException>(() => new NicDriver(nic, native.Pool));
        Assert.Contains("80 free pages", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("make the pool larger", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(79, native.Pool.FreePages);
    }

    [Fact]
    public void A_pool_of_another_geometry_is_refused()
    {
        using var native = new NativePool(pages: 256, pageSize: 2048);
        var nic = new NicModel(NicBench.Small(), new PoolGeometry(4096, 256));
        Assert.Throws<ArgumentException>(() => new NicDriver(nic, native.Pool));
    }

    [Theory]
    [InlineData(Placement.None)]
    [InlineData(Placement.Split)]
    public void Held_pages_exhaust_the_pool_which_is_counted_and_mended_once_they_are_released(Placement placement)
    {
        using var bench = new NicBench(NicBench.Small(placement) with { RxRingSize = 16 }, pages: 20) { Hold = true };
        byte[] frame = NicFrames.TcpFrame(NicFrames.Pattern(1400));
        int taken = 0;
        for (int i = 0; i < 40; i++)
        {
            taken += bench.Feed(frame) ? 1 : 0;
            bench.Poll();
        }

        Assert.Equal(20, taken);
        Assert.Equal((20, 20), (bench.Received.Count, bench.Counter("nic.rx_out_of_buffer")));
        Assert.Equal((0, 0, 20), (bench.Pool.FreePages, bench.Pool.PostedPages, bench.Pool.PagesInUse));
        Assert.True(bench.Counter("nic.rx_alloc_failed") > 0);
        Assert.False(bench.Driver.NeedsPoll(0));

        bench.ReleaseHeld();
        Assert.True(bench.Driver.NeedsPoll(0));
        Assert.Equal(0, bench.Poll());
        Assert.Equal(16, bench.Pool.PostedPages);
        Assert.True(bench.Feed(frame));
        Assert.Equal(1, bench.Poll());
    }

    [Fact]
    public void Pages_in_completions_that_wait_count_as_posted_so_a_slow_driver_takes_no_more_from_the_pool()
    {
        using var bench = new NicBench(NicBench.Small() with { RxRingSize = 16 }, pages: 64);
        byte[] frame = NicFrames.TcpFrame([1]);
        for (int round = 0; round < 50; round++)
        {
            for (int i = 0; i < 16; i++)
            {
                bench.Feed(frame);
            }

            bench.Poll(budget: 1);
            Assert.Equal(48, bench.Pool.FreePages);
        }

        Assert.Equal(0, bench.Counter("nic.rx_missed_errors"));
        Assert.True(bench.Counter("nic.rx_out_of_buffer") > 0);
    }

    [Theory]
    [InlineData(Placement.None)]
    [InlineData(Placement.Split)]
    [InlineData(Placement.Packed)]
    [InlineData(Placement.Merge)]
    public void A_full_fragment_table_drops_the_frame_and_loses_no_page(Placement placement)
    {
        using var bench = new NicBench(NicBench.Small(placement) with { Mtu = 9000, RxRingSize = 16 }, pages: 64, fragments: 5) { Hold = true };
        byte[] three = NicFrames.TcpFrame(NicFrames.Pattern(8900));
        Assert.True(bench.Feed(three));
        Assert.True(bench.Feed(three));
        Assert.True(bench.Feed(NicFrames.TcpFrame([])));
        Assert.Equal(2, bench.Poll());
        Assert.Equal([8900, 0], bench.Received.Select(frame => frame.Payload.Length));
        Assert.Equal((1, 3), (bench.Counter("nic.rx_fragments_exhausted"), bench.Pool.PagesInUse));
        bench.ReleaseHeld();
        bench.AssertOnlyPosted();
        Assert.True(bench.Feed(three));
        Assert.Equal(1, bench.Poll());
    }

    [Theory]
    [InlineData(Placement.None)]
    [InlineData(Placement.Split)]
    [InlineData(Placement.Packed)]
    [InlineData(Placement.Merge)]
    public void A_receiver_that_throws_costs_no_page_of_the_drivers(Placement placement)
    {
        using var bench = new NicBench(NicBench.Small(placement)) { Hold = true };
        bench.OnReceive = () => throw new InvariantViolationException("of the stack's");
        bench.Feed(NicFrames.TcpFrame([]));
        Assert.Throws<InvariantViolationException>(() => bench.Poll());
        bench.OnReceive = null;
        Assert.Equal(0, bench.Poll());
        bench.AssertOnlyPosted();
    }

    [Theory]
    [InlineData(Placement.None)]
    [InlineData(Placement.Split)]
    [InlineData(Placement.Packed)]
    [InlineData(Placement.Merge)]
    public void The_end_takes_back_pages_in_completions_and_completes_frames_on_the_TX_ring(Placement placement)
    {
        using var bench = new NicBench(NicBench.Small(placement) with { Mtu = 9000 });
        bench.Feed(NicFrames.TcpFrame(NicFrames.Pattern(8900)));
        bench.Feed(NicFrames.TcpFrame([]));
        Assert.True(bench.Driver.TryTransmit(new TxFrame(NicFrames.TcpFrame([]), [], 0)));
        bench.Driver.Dispose();
        Assert.Equal(256, bench.Pool.FreePages);
        bench.Pool.CheckInvariants();
        Assert.Equal((1, 1), (bench.Driver.TxPosted, bench.Driver.TxCompleted));
        Assert.False(bench.Driver.NeedsPoll(long.MaxValue));
        Assert.Equal(long.MaxValue, bench.Nic.NextInterruptUs);
        Assert.Throws<ObjectDisposedException>(() => bench.Poll());
        Assert.False(bench.Feed(NicFrames.TcpFrame([])));
    }

    [Fact]
    public void A_NIC_takes_a_new_driver_after_the_old_one_ended()
    {
        using var bench = new NicBench(NicBench.Small());
        bench.Feed(NicFrames.TcpFrame([1]));
        bench.Driver.Dispose();
        using var driver = new NicDriver(bench.Nic, bench.Pool);
        Assert.Equal(0, driver.Poll(0, 64, bench));
        Assert.True(bench.Feed(NicFrames.TcpFrame([1])));
        Assert.Equal(1, driver.Poll(0, 64, bench));
    }

    [Fact]
    public void Pause_frames_hold_the_sender_back_below_a_quarter_and_until_half_of_the_ring()
    {
        using var bench = new NicBench(NicBench.Small() with { RxRingSize = 16, PauseFrames = true }, pages: 24) { Hold = true };
        byte[] frame = NicFrames.TcpFrame([1]);
        for (int i = 0; i < 12; i++)
        {
            Assert.False(bench.Nic.RxPaused);
            bench.Feed(frame);
        }

        Assert.False(bench.Nic.RxPaused);
        bench.Feed(frame);
        Assert.True(bench.Nic.RxPaused);
        Assert.Equal(1, bench.Counter("nic.tx_pause_ctrl"));
        bench.Poll();
        Assert.Equal(11, bench.Pool.PostedPages);
        Assert.False(bench.Nic.RxPaused);
        for (int i = 0; i < 8; i++)
        {
            bench.Feed(frame);
        }

        bench.Poll();
        Assert.Equal(3, bench.Pool.PostedPages);
        Assert.True(bench.Nic.RxPaused);
        int released = 0;
        while (bench.Nic.RxPaused)
        {
            bench.Pool.ReleaseChain(bench.Held[^1]);
            bench.Held.RemoveAt(bench.Held.Count - 1);
            released++;
            bench.Poll();
        }

        Assert.Equal((5, 8), (released, bench.Pool.PostedPages));
        Assert.Equal((2, 0), (bench.Counter("nic.tx_pause_ctrl"), bench.Counter("nic.rx_out_of_buffer")));
    }

    [Fact]
    public void A_sender_that_heeds_pause_never_loses_a_frame_even_if_each_takes_more_than_a_quarter_of_the_ring()
    {
        using var bench = new NicBench(NicBench.Small() with { RxRingSize = 16, Mtu = 9000, PauseFrames = true }, pages: 24, pageSize: 2048);
        byte[] frame = NicFrames.TcpFrame(NicFrames.Pattern(8946));
        for (int sent = 0; sent < 100;)
        {
            while (!bench.Nic.RxPaused)
            {
                Assert.True(bench.Feed(frame));
                sent++;
            }

            bench.Poll();
        }

        Assert.Equal(0, bench.Counter("nic.rx_out_of_buffer"));
    }

    [Fact]
    public void A_paused_sender_goes_on_once_the_pool_has_pages_again_although_nothing_more_comes_in()
    {
        using var bench = new NicBench(NicBench.Small() with { RxRingSize = 16, Mtu = 9000, PauseFrames = true }, pages: 20, pageSize: 2048) { Hold = true };
        for (int i = 0; i < 12; i++)
        {
            Assert.False(bench.Nic.RxPaused);
            Assert.True(bench.Feed(NicFrames.TcpFrame([1])));
        }

        // The longest frame takes 5 pages: paused below 5 posted ones, until there are 10, which is more than half of the ring.
        Assert.True(bench.Nic.RxPaused);
        bench.Poll();
        bench.Pool.ReleaseChain(bench.Held[^1]);
        bench.Held.RemoveAt(bench.Held.Count - 1);
        bench.Poll();
        Assert.Equal((9, true, false), (bench.Pool.PostedPages, bench.Nic.RxPaused, bench.Driver.NeedsPoll(0)));
        bench.ReleaseHeld();
        Assert.True(bench.Driver.NeedsPoll(0));
        bench.Poll();
        Assert.False(bench.Nic.RxPaused);
    }

    [Theory]
    [InlineData(Placement.None)]
    [InlineData(Placement.Split)]
    [InlineData(Placement.Packed)]
    [InlineData(Placement.Merge)]
    public void Whatever_happens_no_page_is_lost_and_every_frame_is_accounted_for(Placement placement) =>
        Gen.Select(Gen.Int[0, 9], Gen.Int[0, 8946]).Array[0, 300].Sample(
            steps =>
            {
                NicOptions options = NicBench.Small(placement) with { RxRingSize = 16, RxQueues = 2, Mtu = 9000, RxUsecs = 3, RxFrames = 5, PauseFrames = true, MergeFlushUs = 20 };
                using var bench = new NicBench(options, pages: 44, pageSize: 2048, fragments: 30);
                long now = 0, offered = 0, accepted = 0;
                foreach ((int action, int value) in steps)
                {
                    now += value % 3;
                    switch (action)
                    {
                        case <= 4:
                            offered++;
                            accepted += bench.Feed(NicFrames.TcpFrame(new byte[value], sourcePort: (ushort)value), nowUs: now) ? 1 : 0;
                            break;
                        case <= 6:
                            bench.Poll(now, budget: 1 + (value % 7));
                            break;
                        case 7:
                            bench.Hold = value % 2 == 0;
                            break;
                        case 8:
                            bench.ReleaseHeld();
                            break;
                        default:
                            bench.Nic.LinkUp = value % 4 != 0;
                            break;
                    }

                    bench.Pool.CheckInvariants();
                }

                while (bench.Nic.NextInterruptUs != long.MaxValue || bench.Driver.NeedsPoll(now))
                {
                    bench.Poll(now++);
                }

                Assert.Equal(accepted, bench.Received.Count + bench.Counter("nic.rx_fragments_exhausted"));
                Assert.Equal(offered, accepted + bench.Counter("nic.rx_out_of_buffer") + bench.Counter("nic.rx_missed_errors") + bench.Counter("nic.rx_carrier_errors"));
                bench.ReleaseHeld();
                bench.Poll(now);
                bench.Poll(now);
                bench.Pool.CheckInvariants();
                Assert.Equal((0, 44), (bench.Pool.PagesInUse, bench.Pool.FreePages + bench.Pool.PostedPages));
            },
            iter: 300);

    [Fact]
    public void Without_pause_frames_the_sender_is_never_held_back()
    {
        using var bench = new NicBench(NicBench.Small() with { RxRingSize = 16 });
        for (int i = 0; i < 20; i++)
        {
            bench.Feed(NicFrames.TcpFrame([1]));
            Assert.False(bench.Nic.RxPaused);
        }

        Assert.Equal((4, 0), (bench.Counter("nic.rx_out_of_buffer"), bench.Counter("nic.tx_pause_ctrl")));
    }

    [Theory]
    [InlineData(Placement.None, 1500)]
    [InlineData(Placement.Split, 1500)]
    [InlineData(Placement.Split, 9000)]
    [InlineData(Placement.Packed, 1500)]
    [InlineData(Placement.Packed, 9000)]
    [InlineData(Placement.Merge, 1500)]
    [InlineData(Placement.Merge, 9000)]
    public unsafe void In_the_steady_state_no_frame_allocates_in_either_direction(Placement placement, int mtu)
    {
        using var native = new NativePool(pages: 512);
        var nic = new NicModel(NicBench.Small(placement) with { Mtu = mtu, RxQueues = 2, RxRingSize = 64 }, native.Pool.Geometry);
        using var driver = new NicDriver(nic, native.Pool);
        var stack = new ReleasingReceiver(native.Pool);
        nic.Wire = new Loop(nic);
        byte[] payload = GC.AllocateArray<byte>(60_000, pinned: true);
        byte[] frame = NicFrames.TcpFrame(payload.AsSpan(0, 1400));
        fixed (byte* bytes = payload)
        {
            Span<TxChunk> chunks = [new TxChunk(bytes, 30_001), new TxChunk(bytes + 30_001, 14_999)];
            for (int i = 0; i < 2000; i++)
            {
                Round(chunks);
            }

            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 2000; i++)
            {
                Round(chunks);
            }

            Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        Assert.Equal(driver.TxPosted, driver.TxCompleted);
        Assert.True(stack.Frames >= 4000 * 6);

        void Round(ReadOnlySpan<TxChunk> chunks)
        {
            Assert.True(driver.TryTransmit(new TxFrame(frame.AsSpan(0, NicFrames.TcpHeaders), chunks, 45_000, mss: mtu - 40, checksumPartial: true)));
            nic.ProcessTx(0);
            driver.Poll(0, 64, stack);
        }
    }

    private sealed class ReleasingReceiver(PagePool pool) : IFrameReceiver
    {
        public long Frames { get; private set; }

        public void Receive(in RxFrame frame, long nowUs)
        {
            Frames++;
            pool.ReleaseChain(frame.Payload);
        }
    }

    private sealed class Loop(NicModel nic) : IWirePort
    {
        public bool TryCarry(in TxFrame frame, long nowUs) => nic.ReceiveFromWire(frame, nowUs);
    }
}
