using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.Net.Tcp.TcpFlags;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>The window that we offer, what pages cost, and budgets.</summary>
public sealed class TcpReceiveWindowTests
{
    [Fact]
    public void Each_page_is_charged_whole_until_its_last_fragment_is_released()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Ack, 1, 1, 1);
        bench.Given(Ack, 2, 1, 1000);
        bench.Given(Ack, 2002, 1, 10);
        Assert.Equal((3 * 4096L, 3 * 4096L), (bench.Connection.ChargedBytes, bench.Root.ChargedBytes));
        var kept = new List<int>();
        bench.Receive(400, keep: kept);
        bench.Receive(300, keep: kept);
        Assert.Equal(3 * 4096, bench.Connection.ChargedBytes);
        bench.Release(kept);
        Assert.Equal(2 * 4096, bench.Connection.ChargedBytes);
        bench.Receive();
        Assert.Equal(4096, bench.Connection.ChargedBytes);
        bench.Connection.Abort(bench.NowUs);
        Assert.Equal(0, bench.Root.ChargedBytes);
    }

    [Fact]
    public void The_windows_right_edge_never_moves_left()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { ReceiveQuotaBytes = 32 * 4096, WindowScaling = true }, pages: 512);
        bench.Accept(scale: 7);
        long edge = 1 + bench.Connection.GetInfo(bench.NowUs).RcvWnd, seq = 1;
        var random = new Random(1);
        var kept = new List<int>();
        for (int i = 0; i < 2000; i++)
        {
            int length = Math.Min(random.Next(1, 1461), (int)Math.Max(0, edge - seq));
            if (length > 0 && random.Next(3) > 0)
            {
                bench.Given(Ack, seq, 1, length);
            }
            else if (random.Next(2) == 0)
            {
                bench.Receive(random.Next(5000), 10, kept);
            }
            else
            {
                bench.Release(kept);
                bench.Poll();
            }

            foreach (SentSegment sent in bench.TakeSent())
            {
                long offered = sent.Ack + ((long)sent.Window << 7);
                Assert.True(offered >= edge, $"step {i}: from {edge} back to {offered}");
                edge = offered;
                seq = sent.Ack;
            }

            if (i % 50 == 0)
            {
                bench.AdvanceMs(50);
                foreach (SentSegment sent in bench.TakeSent())
                {
                    Assert.True(sent.Ack + ((long)sent.Window << 7) >= edge);
                    edge = sent.Ack + ((long)sent.Window << 7);
                    seq = sent.Ack;
                }
            }
        }

        Assert.True(seq > 100_000);
        bench.Release(kept);
    }

    [Fact]
    public void A_peer_that_keeps_to_the_window_with_full_segments_is_never_dropped_and_the_quota_is_used()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { ReceiveQuotaBytes = 64 * 4096, WindowScaling = true }, pages: 512);
        bench.Accept(mss: 1460, scale: 7);
        long seq = 1, edge = 1 + 22_000;
        while (seq + 1460 <= edge)
        {
            bench.Given(Ack, seq, 1, 1460);
            seq += 1460;
            foreach (SentSegment sent in bench.TakeSent())
            {
                edge = sent.Ack + ((long)sent.Window << 7);
            }
        }

        Assert.Equal(0, bench.Drops.Total);
        Assert.InRange(bench.Connection.ChargedBytes, 56 * 4096, 64 * 4096);
    }

    [Fact]
    public void A_closed_window_opens_as_pages_are_released_and_not_as_they_are_received()
    {
        using TcpBench bench = TcpBench.WithWindowOf1000();
        bench.Given(Ack, 1, 1, 1000);
        bench.AdvanceMs(40);
        Assert.Equal(0, bench.Expect(Ack, 1, 1001).Window);
        var kept = new List<int>();
        bench.Receive(keep: kept);
        bench.Poll();
        bench.ExpectNothing();
        bench.Release(kept);
        bench.Poll();
        Assert.Equal(1000, bench.Expect(Ack, 1, 1001).Window);
        bench.ExpectNothing();
    }

    [Fact]
    public void An_open_window_is_not_updated_for_every_page()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { ReceiveQuotaBytes = 64 * 4096 }).Accept();
        long seq = bench.GivenStream(1, 16);
        int updates = 0, steps = 0;
        for (int i = 0; i < 400; i++, steps++)
        {
            bench.Given(Ack, seq, 1, 1000);
            seq += 1000;
            bench.AdvanceMs(40);
            bench.TakeSent();
            bench.Receive(1000);
            bench.Poll();
            updates += bench.TakeSent().Length;
        }

        Assert.True(updates < steps / 4, $"{updates} updates for {steps} releases");
    }

    [Fact]
    public void The_edge_moves_by_a_full_segment_or_half_of_the_window_at_least()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { ReceiveQuotaBytes = 8 * 2048 }, pageSize: 2048).Accept();
        long seq = 1, edge = -1;
        var steps = new List<long>();
        for (int i = 0; i < 500; i++)
        {
            int length = (int)Math.Min(100 + (i % 900), edge < 0 ? 1000 : edge - seq);
            if (length > 0)
            {
                bench.Given(Ack, seq, 1, length);
            }

            bench.AdvanceMs(40);
            bench.Receive(37 + (i % 400));
            bench.Poll();
            foreach (SentSegment sent in bench.TakeSent())
            {
                long offered = sent.Ack + sent.Window;
                if (edge >= 0 && offered != edge)
                {
                    steps.Add(offered - edge);
                }

                edge = offered;
                seq = sent.Ack;
            }
        }

        Assert.True(steps.Count > 20, $"{steps.Count} steps, at {seq}");
        Assert.True(steps.Min() >= 536, $"smallest step {steps.Min()}");
    }

    [Fact]
    public void What_exceeds_the_quota_is_dropped_by_reason_and_acknowledged_as_not_there()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { ReceiveQuotaBytes = 4 * 4096 }).Accept();
        for (int i = 0; i < 10; i++)
        {
            bench.Given(Ack, 1 + i, 1, 1);
        }

        SentSegment[] sent = bench.TakeSent();
        Assert.Equal((10, 5L), (sent.Length, sent[^1].Ack));
        Assert.Equal((6L, 0L), (bench.Drops[DropReason.SOCKET_RCVBUFF], bench.Drops[DropReason.PROTO_MEM]));
        Assert.True(bench.TakeEvents().HasFlag(TcpEvents.NoMemory), "the socket layer is told");
        Assert.Equal([1, 1, 1, 1], bench.Receive());
        bench.Given(Ack, 5, 1, 6);
        Assert.Equal([6], bench.Receive());
    }

    [Fact]
    public void What_is_out_of_order_makes_room_for_what_is_in_order()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { ReceiveQuotaBytes = 4 * 4096 }).Accept();
        for (int i = 0; i < 4; i++)
        {
            bench.Given(Ack, 100 + (i * 10), 1, 10);
        }

        bench.Given(Ack, 200, 1, 10);
        Assert.Equal(1, bench.Drops[DropReason.SOCKET_RCVBUFF]);
        bench.TakeSent();
        bench.Given(Ack, 1, 1, 99);
        bench.Expect(Ack, 1, 100);
        Assert.Equal((4L, 0), (bench.Drops[DropReason.TCP_OFO_QUEUE_PRUNE], bench.Connection.GetInfo(bench.NowUs).OutOfOrderFragments));
        Assert.Equal(4096, bench.Connection.ChargedBytes);
        Assert.Equal([99], bench.Receive());
    }

    [Fact]
    public void The_number_of_fragments_held_aside_is_limited()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { MaxOutOfOrderFragments = 8 }).Accept();
        for (int i = 0; i < 20; i++)
        {
            bench.Given(Ack, 100 + (i * 10), 1, 5);
        }

        Assert.Equal(8, bench.Connection.GetInfo(bench.NowUs).OutOfOrderFragments);
        Assert.Equal(12, bench.Drops[DropReason.TCP_OFO_QUEUE_PRUNE]);
    }

    [Fact]
    public void A_budget_bounds_its_connections_together_and_its_last_eighth_is_for_those_that_hold_little()
    {
        using var bench = new TcpBench();
        var worker = new ReceiveBudget("worker", 64 * 4096, bench.Root);
        bench.Listen(backlog: 100, budget: worker);
        TcpConnection[] connections = Many(bench, 10);
        for (int i = 0; i < 60; i++)
        {
            bench.Given(Ack, 1 + (i * 100), 1, 100, from: connections[0].Remote);
        }

        Assert.Equal((56 * 4096L, 56 * 4096L), (connections[0].ChargedBytes, worker.ChargedBytes));
        Assert.Equal(4, bench.Drops[DropReason.PROTO_MEM]);
        foreach (TcpConnection other in connections[1..5])
        {
            for (int i = 0; i < 4; i++)
            {
                bench.Given(Ack, 1 + (i * 100), 1, 100, from: other.Remote);
            }

            Assert.Equal((2 * 4096L, 200L), (other.ChargedBytes, other.ReadableBytes));
        }

        // The budget is used up. One that holds nothing may take one segment all the same.
        Assert.Equal(64 * 4096, worker.ChargedBytes);
        bench.Given(Ack, 1, 1, 100, from: connections[5].Remote);
        bench.Given(Ack, 101, 1, 100, from: connections[5].Remote);
        Assert.Equal(4096, connections[5].ChargedBytes);
    }

    [Fact]
    public void One_segment_beyond_the_budget_is_not_granted_from_the_last_quarter_of_the_pool()
    {
        using var bench = new TcpBench(pages: 64);
        var worker = new ReceiveBudget("worker", 4096, bench.Root);
        bench.Listen(backlog: 100, budget: worker);
        TcpConnection[] connections = Many(bench, 60);
        foreach (TcpConnection connection in connections)
        {
            bench.Given(Ack, 1, 1, 100, from: connection.Remote);
        }

        Assert.Equal(48 * 4096, bench.Root.ChargedBytes);
        Assert.Equal(12, bench.Drops[DropReason.PROTO_MEM]);
    }

    [Fact]
    public void Memory_that_one_connection_releases_opens_anothers_window()
    {
        using var bench = new TcpBench(pages: 64);
        var worker = new ReceiveBudget("worker", 8 * 4096, bench.Root);
        bench.Listen(budget: worker);
        TcpConnection[] connections = Many(bench, 2);
        for (int i = 0; i < 7; i++)
        {
            bench.Given(Ack, 1 + (i * 100), 1, 100, from: connections[0].Remote);
        }

        // The other one's window is open still, though there is no memory behind it: it uses it up.
        long seq = 1, edge = 1 + 65535;
        while (seq < edge)
        {
            int length = (int)Math.Min(1000, edge - seq);
            bench.Given(Ack, seq, 1, length, from: connections[1].Remote);
            bench.AdvanceMs(40);
            SentSegment last = bench.TakeSent()[^1];
            (seq, edge) = (last.Ack, last.Ack + last.Window);
            connections[1].Receive(int.MaxValue, int.MaxValue, out int taken);
            bench.Pool.ReleaseChain(taken);
            if (seq > 500_000)
            {
                break;
            }
        }

        Assert.Equal(0, edge - seq);
    }

    [Fact]
    public void A_budget_that_a_connection_is_moved_to_takes_its_charge_over()
    {
        using TcpBench bench = new TcpBench().Accept();
        var worker = new ReceiveBudget("worker", 1 << 20, bench.Root);
        bench.Given(Ack, 1, 1, 100);
        bench.Connection.Budget = worker;
        Assert.Equal((4096L, 4096L, 1, 0), (worker.ChargedBytes, bench.Root.ChargedBytes, worker.Connections, bench.Root.Connections));
        bench.Given(Ack, 101, 1, 100);
        Assert.Equal((8192L, 8192L), (worker.ChargedBytes, bench.Root.ChargedBytes));
        bench.Receive();
        Assert.Equal((0L, 0L), (worker.ChargedBytes, bench.Root.ChargedBytes));
    }

    [Fact]
    public void Pages_returned_after_the_connection_is_gone_are_taken_off_its_budget()
    {
        using TcpBench bench = new TcpBench().Accept();
        var worker = new ReceiveBudget("worker", 1 << 20, bench.Root);
        bench.Connection.Budget = worker;
        bench.GivenStream(1, 3);
        var kept = new List<int>();
        bench.Receive(keep: kept);
        int id = bench.Connection.Id;
        bench.Given(Rst, 3001);
        bench.TakeEvents();
        Assert.False(bench.Tcp.TryGetConnection(id, out _));
        Assert.Equal((3 * 4096L, 0), (worker.ChargedBytes, worker.Connections));
        bench.Pool.Release(kept[1]);
        Assert.Equal(2 * 4096, worker.ChargedBytes);

        // The next connection in the same slot is another one.
        bench.Given(Syn, 100_000);
        bench.Given(Ack, 100_001, 1);
        bench.TakeEvents();
        Assert.NotEqual(id, bench.Connection.Id);
        bench.Pool.Release(kept[0]);
        bench.Pool.Release(kept[2]);
        Assert.Equal((0L, 0L), (worker.ChargedBytes, bench.Root.ChargedBytes));
        bench.Listener!.MarkAccepted(bench.Connection);
        bench.Connection.Abort(bench.NowUs);
        bench.TakeEvents();
        bench.AssertClean();
    }

    [Fact]
    public void Tiny_segments_make_the_window_smaller_for_they_cost_a_page_each()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { ReceiveQuotaBytes = 256 * 4096 }).Accept();
        long seq = bench.GivenStream(1, 16, 1000);
        bench.Receive();
        Assert.InRange(Window(), 64_000, 65_535);
        for (int i = 0; i < 6600; i++, seq += 10)
        {
            bench.Given(Ack, seq, 1, 10);
            bench.Receive();
        }

        bench.TakeSent();
        Assert.InRange(Window(), 536, 256 * 20);

        int Window()
        {
            bench.Given(Ack, seq, 1, 10);
            seq += 10;
            bench.Receive();
            bench.AdvanceMs(40);
            return bench.TakeSent()[^1].Window;
        }
    }

    [Fact]
    public void Tiny_segments_never_make_it_so_small_that_only_tiny_ones_could_follow()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { ReceiveQuotaBytes = 8 * 4096 }).Accept();
        long seq = bench.GivenStream(1, 1);
        var held = new List<int>();
        bench.Receive(keep: held);
        for (int i = 0; i < 4000; i++)
        {
            bench.Given(Ack, seq++, 1, 1);
            bench.Receive();
            bench.AdvanceMs(40);
            Assert.True(bench.TakeSent()[^1].Window >= 1000 - 1, $"{i}");
        }

        bench.Release(held);
    }

    [Fact]
    public void The_scale_covers_the_largest_window()
    {
        foreach ((int window, int scale) in new[] { (65535, 0), (65536, 1), (131_070, 1), (1 << 20, 5), (4 << 20, 7), (1 << 30, 14), (int.MaxValue, 14) })
        {
            using var bench = new TcpBench(tcp => tcp with { WindowScaling = true, MaxReceiveWindow = window });
            bench.Open();
            Assert.Equal(scale, bench.Expect(Syn, 0).Options.WindowScale);
        }
    }

    [Fact]
    public void A_SYN_ACK_sent_again_offers_no_less()
    {
        using TcpBench bench = new TcpBench(pages: 64);
        bench.Listen();
        bench.Given(Syn, 0);
        int offered = bench.Expect(Syn | Ack, 0, 1).Window;
        bench.Root.Charge(bench.Root.LimitBytes);
        bench.AdvanceToNextSegment();
        Assert.Equal(offered, bench.Expect(Syn | Ack, 0, 1).Window);
    }

    private static TcpConnection[] Many(TcpBench bench, int count)
    {
        var connections = new TcpConnection[count];
        for (int i = 0; i < count; i++)
        {
            Net.Addresses.IpEndpoint from = TcpBench.Peer with { Port = (ushort)(5000 + i) };
            bench.Given(Syn, 0, from: from, options: TcpBench.SynOptions());
            bench.Given(Ack, 1, 1, from: from);
            bench.TakeSent();
            connections[i] = Assert.Single(bench.TakeAccepted());
            bench.Listener!.MarkAccepted(connections[i]);
        }

        return connections;
    }
}
