using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Two stacks with each other, over NIC models and a cable.</summary>
public sealed class TcpPairTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(1500, Placement.Split, true, true)]
    [InlineData(1500, Placement.None, true, true)]
    [InlineData(9000, Placement.Split, true, true)]
    [InlineData(576, Placement.Split, true, true)]
    [InlineData(1500, Placement.Split, false, false)]
    [InlineData(576, Placement.None, false, false)]
    [InlineData(1500, Placement.Packed, true, true)]
    [InlineData(1500, Placement.Merge, true, true)]
    [InlineData(9000, Placement.Packed, true, false)]
    [InlineData(9000, Placement.Merge, true, false)]
    [InlineData(576, Placement.Packed, false, false)]
    [InlineData(576, Placement.Merge, false, true)]
    public void A_megabyte_each_way_arrives_byte_by_byte(int mtu, Placement placement, bool offload, bool options)
    {
        using var pair = new TcpPair(
            tcp => tcp with { Timestamps = options, WindowScaling = options },
            nic => nic with { Mtu = mtu, Placement = placement, RxChecksumOffload = offload, TxChecksumOffload = offload, Tso = offload });
        (long elapsed, TcpInfo client, _) = Exchange(pair, 1 << 20, 1 << 20);
        Assert.Equal(0, client.Retransmits);
        Assert.True(elapsed < 2_000_000, $"{elapsed} us");
    }

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(20)]
    public void Loss_costs_time_and_no_byte(int percent)
    {
        using var pair = new TcpPair();
        var random = new Random(percent);
        pair.Impair = (_, _) => random.Next(100) < percent ? -1 : 0;
        (long elapsed, TcpInfo client, TcpInfo server) = Exchange(pair, 1 << 20, 1 << 20);
        output.WriteLine($"{percent}% loss: {pair.Lost} frames lost, {client.Retransmits}+{server.Retransmits} sent again, {elapsed / 1000} ms");
        Assert.True(pair.Lost > 10);
    }

    [Fact]
    public void A_little_loss_is_mended_by_fast_retransmit_and_not_by_waiting()
    {
        using var pair = new TcpPair();
        pair.Impair = (number, frame) => number % 97 == 50 && frame.Length > 1000 ? -1 : 0;
        (long elapsed, TcpInfo client, _) = Exchange(pair, 4 << 20, 0);
        output.WriteLine($"{pair.Lost} lost, {client.Retransmits} sent again, {elapsed / 1000} ms");
        Assert.True(pair.Lost > 20);
        Assert.InRange(client.Retransmits, pair.Lost, pair.Lost * 2);
        Assert.True(elapsed < 2_000_000, $"{elapsed} us");
    }

    [Fact]
    public void Reordering_and_duplication_cost_no_byte()
    {
        using var pair = new TcpPair();
        var random = new Random(3);
        bool again = false;
        pair.Impair = (_, frame) =>
        {
            if (!again && random.Next(20) == 0)
            {
                again = true;
                pair.Carry(random.Next(2) == 0 ? pair.Left : pair.Right, frame);
                again = false;
            }

            return random.Next(4) == 0 ? random.Next(3000) : 0;
        };
        Exchange(pair, 1 << 20, 1 << 20);
    }

    [Fact]
    public void A_reader_that_sleeps_closes_the_window_and_nothing_is_dropped_for_it()
    {
        using var pair = new TcpPair(tcp => tcp with { ReceiveQuotaBytes = 64 * 4096 });
        (TcpConnection client, TcpConnection server) = pair.Connect();
        using var sender = new TcpTransfer(pair, pair.Left, client, 1 << 20, 1, 2);
        using var receiver = new TcpTransfer(pair, pair.Right, server, 0, 2, 1) { Reads = false };
        pair.Run(20_000_000);
        Assert.Equal(0, client.GetInfo(pair.NowUs).SndWnd);
        Assert.InRange(server.ChargedBytes, 32 * 4096, 64 * 4096);
        Assert.Equal(0, pair.Right.Stack.Drops[Net.DropReason.SOCKET_RCVBUFF]);
        receiver.Reads = true;
        receiver.Read();
        long start = pair.NowUs;
        Assert.True(pair.RunUntil(() => sender.Closed && receiver.Closed));
        Assert.Equal(1 << 20, receiver.Received);
        Assert.True(pair.NowUs - start < 1_000_000, $"{pair.NowUs - start} us");
        pair.AssertClean();
    }

    [Fact]
    public void A_reader_that_never_reads_does_not_hold_up_another_connection()
    {
        using var pair = new TcpPair();
        (TcpConnection client, TcpConnection server) = pair.Connect();
        using var sender = new TcpTransfer(pair, pair.Left, client, 1 << 24, 1, 2);
        using var sleeper = new TcpTransfer(pair, pair.Right, server, 0, 2, 1) { Reads = false };
        pair.Run(2_000_000);
        TcpConnection second = pair.Left.Stack.Connect(default, server.Local, pair.NowUs)!;
        Assert.True(pair.RunUntil(() => pair.Right.Accepted.Count > 0));
        using var other = new TcpTransfer(pair, pair.Left, second, 1 << 21, 3, 4);
        using var reader = new TcpTransfer(pair, pair.Right, pair.Right.Accepted.Dequeue(), 0, 4, 3);
        Assert.True(pair.RunUntil(() => other.Closed && reader.Closed, 5_000_000));
        Assert.Equal(1 << 21, reader.Received);
        server.Abort(pair.NowUs);
        pair.AssertClean();
    }

    [Fact]
    public void An_echo_of_leases_copies_nothing_and_holds_nothing_in_the_end()
    {
        using var pair = new TcpPair();
        (TcpConnection client, TcpConnection server) = pair.Connect();
        using var sender = new TcpTransfer(pair, pair.Left, client, 1 << 21, 1, 1);
        var waiting = new Queue<int>();
        pair.Right.Handlers[server] = Echo;
        Assert.True(pair.RunUntil(() => sender.Closed));
        Assert.Equal(1 << 21, sender.Received);
        pair.AssertClean();

        void Echo(TcpEvents events)
        {
            while (server.TryTakeSent(out _))
            {
            }

            if ((events & TcpEvents.Closed) != 0)
            {
                return;
            }

            server.Receive(1 << 20, 256, out int slot);
            for (int next; slot != PagePool.NoFragment; slot = next)
            {
                next = pair.Right.Pool[slot].Next;
                waiting.Enqueue(slot);
            }

            while (waiting.TryPeek(out int first) && server.TrySend(new SendItem(pair.Right.Pool, first, 5)))
            {
                waiting.Dequeue();
            }

            if (server.PeerClosed && server.ReadableBytes == 0 && waiting.Count == 0)
            {
                server.Close(pair.NowUs);
            }
        }
    }

    [Fact]
    public void Tiny_windows_and_a_tiny_pool_are_slow_and_right()
    {
        using var pair = new TcpPair(tcp => tcp with { ReceiveQuotaBytes = 4096, MaxReceiveWindow = 700, WindowScaling = false });
        Exchange(pair, 100_000, 100_000);
    }

    [Fact]
    public void A_link_that_goes_down_and_comes_back_loses_nothing()
    {
        using var pair = new TcpPair();
        (TcpConnection client, TcpConnection server) = pair.Connect();
        using var sender = new TcpTransfer(pair, pair.Left, client, 1 << 22, 1, 2);
        using var receiver = new TcpTransfer(pair, pair.Right, server, 1 << 20, 2, 1);
        pair.Run(5_000);
        pair.Left.Nic.LinkUp = false;
        pair.Run(30_000_000);
        Assert.True(receiver.Received < 1 << 22);
        pair.Left.Nic.LinkUp = true;
        Assert.True(pair.RunUntil(() => sender.Closed && receiver.Closed, 120_000_000));
        Assert.Equal((1 << 22, 1 << 20), (receiver.Received, sender.Received));
        pair.AssertClean();
    }

    [Fact]
    public void Both_ends_may_close_at_once()
    {
        using var pair = new TcpPair();
        (TcpConnection client, TcpConnection server) = pair.Connect();
        pair.Run(10_000);
        client.Close(pair.NowUs);
        server.Close(pair.NowUs);
        pair.AssertClean();
        Assert.Equal((1, 1), (pair.Left.Stack.StateVisits(TcpState.Closing), pair.Right.Stack.StateVisits(TcpState.Closing)));
        Assert.Equal((TcpError.None, TcpError.None), (client.Error, server.Error));
    }

    [Fact]
    public void Both_ends_may_open_at_once()
    {
        using var pair = new TcpPair();
        var left = new Net.Addresses.IpEndpoint(pair.Left.Address, 1000);
        var right = new Net.Addresses.IpEndpoint(pair.Right.Address, 2000);

        // ARP first, so that the SYNs cross.
        pair.Left.Stack.Connect(default, right, pair.NowUs);
        pair.Run(1_000_000);
        TcpConnection first = pair.Left.Stack.Connect(left, right, pair.NowUs)!;
        TcpConnection second = pair.Right.Stack.Connect(right, left, pair.NowUs)!;
        using var one = new TcpTransfer(pair, pair.Left, first, 100_000, 1, 2);
        using var two = new TcpTransfer(pair, pair.Right, second, 100_000, 2, 1);
        Assert.True(pair.RunUntil(() => one.Closed && two.Closed));
        Assert.Equal((100_000, 100_000), (one.Received, two.Received));
        Assert.Equal((1, 1), (pair.Left.Stack.StateVisits(TcpState.SynReceived), pair.Right.Stack.StateVisits(TcpState.SynReceived)));
        pair.AssertClean();
    }

    private static (long ElapsedUs, TcpInfo Client, TcpInfo Server) Exchange(TcpPair pair, long up, long down)
    {
        (TcpConnection client, TcpConnection server) = pair.Connect();
        using var left = new TcpTransfer(pair, pair.Left, client, up, 1, 2);
        using var right = new TcpTransfer(pair, pair.Right, server, down, 2, 1);
        long start = pair.NowUs;
        Assert.True(pair.RunUntil(() => left.Received == down && right.Received == up), $"{left.Received} of {down}, {right.Received} of {up}");
        long elapsed = pair.NowUs - start;
        Assert.True(pair.RunUntil(() => left.Closed && right.Closed));
        Assert.Equal((TcpError.None, TcpError.None), (client.Error, server.Error));
        (TcpInfo, TcpInfo) info = (client.GetInfo(pair.NowUs), server.GetInfo(pair.NowUs));
        pair.AssertClean();
        return (elapsed, info.Item1, info.Item2);
    }
}
