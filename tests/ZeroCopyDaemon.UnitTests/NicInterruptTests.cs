using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.UnitTests;

public sealed class NicInterruptTests
{
    private static readonly byte[] Frame = NicFrames.TcpFrame([1]);

    private static NicOptions Moderated(int usecs, int frames) => NicBench.Small() with { RxUsecs = usecs, RxFrames = frames };

    [Fact]
    public void The_interrupt_is_due_rx_usecs_after_the_first_completion()
    {
        using var bench = new NicBench(Moderated(usecs: 8, frames: 0));
        Assert.Equal(long.MaxValue, bench.Nic.NextInterruptUs);
        bench.Feed(Frame, nowUs: 100);
        bench.Feed(Frame, nowUs: 105);
        Assert.Equal(108, bench.Nic.NextInterruptUs);
        Assert.False(bench.Driver.NeedsPoll(107));
        Assert.Equal(0, bench.Poll(107));
        Assert.True(bench.Driver.NeedsPoll(108));
        Assert.Equal(2, bench.Poll(108));
        Assert.False(bench.Driver.NeedsPoll(long.MaxValue - 1));
        Assert.Equal((1, 1), (bench.Counter("nic.rx_interrupts"), bench.Counter("nic.rx_polls")));
    }

    [Fact]
    public void Or_as_soon_as_rx_frames_wait()
    {
        using var bench = new NicBench(Moderated(usecs: 1000, frames: 3));
        bench.Feed(Frame, nowUs: 10);
        bench.Feed(Frame, nowUs: 11);
        Assert.Equal(1010, bench.Nic.NextInterruptUs);
        bench.Feed(Frame, nowUs: 12);
        bench.Feed(Frame, nowUs: 13);
        Assert.Equal(12, bench.Nic.NextInterruptUs);
        Assert.Equal(4, bench.Poll(13));
        // The count starts anew.
        bench.Feed(Frame, nowUs: 20);
        bench.Feed(Frame, nowUs: 20);
        Assert.Equal(1020, bench.Nic.NextInterruptUs);
    }

    [Fact]
    public void Without_moderation_it_is_due_at_once()
    {
        using var bench = new NicBench(Moderated(usecs: 0, frames: 0));
        bench.Feed(Frame, nowUs: 10);
        Assert.Equal(10, bench.Nic.NextInterruptUs);
        Assert.Equal(1, bench.Poll(10));
    }

    [Fact]
    public void A_queue_that_exhausts_its_budget_is_polled_on_with_its_interrupt_masked_until_it_is_empty()
    {
        using var bench = new NicBench(Moderated(usecs: 5, frames: 0));
        for (int i = 0; i < 5; i++)
        {
            bench.Feed(Frame, nowUs: 0);
        }

        Assert.Equal(2, bench.Poll(5, budget: 2));
        Assert.True(bench.Driver.NeedsPoll(5));
        Assert.False(bench.Nic.Describe().RxQueues[0].InterruptEnabled);
        bench.Feed(Frame, nowUs: 6);
        Assert.Equal(long.MaxValue, bench.Nic.NextInterruptUs);
        Assert.Equal(2, bench.Poll(6, budget: 2));
        Assert.Equal(2, bench.Poll(6, budget: 2));
        Assert.True(bench.Nic.Describe().RxQueues[0].InterruptEnabled);
        Assert.False(bench.Driver.NeedsPoll(6));
        Assert.Equal((1, 3, 2), (bench.Counter("nic.rx_interrupts"), bench.Counter("nic.rx_polls"), bench.Counter("nic.rx_poll_budget")));
        bench.Feed(Frame, nowUs: 7);
        Assert.Equal(12, bench.Nic.NextInterruptUs);
    }

    [Fact]
    public void The_budget_is_per_queue_so_that_a_busy_one_does_not_starve_the_others()
    {
        using var bench = new NicBench(NicBench.Small() with { RxQueues = 2, RxRingSize = 16 });
        byte[] other = FrameForQueue(bench, 1);
        byte[] first = FrameForQueue(bench, 0);
        for (int i = 0; i < 10; i++)
        {
            bench.Feed(first);
        }

        bench.Feed(other);
        Assert.Equal(5, bench.Poll(budget: 4));
        Assert.Equal(other, bench.Received[^1].Bytes);
        Assert.Equal(4, bench.Poll(budget: 4));
        Assert.Equal(2, bench.Poll(budget: 4));
        Assert.False(bench.Driver.NeedsPoll(0));
    }

    private static byte[] FrameForQueue(NicBench bench, int queue)
    {
        for (ushort port = 1; ; port++)
        {
            byte[] frame = NicFrames.TcpFrame([5], sourcePort: port);
            long before = bench.Nic.Describe().RxQueues[queue].Packets;
            bench.Pass(frame);
            if (bench.Nic.Describe().RxQueues[queue].Packets > before)
            {
                return frame;
            }
        }
    }
}
