using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Ip;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.Net.Tcp.TcpFlags;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>What is queued to be sent, how it is cut into segments, when it is given back.</summary>
public sealed class TcpSendTests
{
    [Fact]
    public void Items_become_full_segments_and_the_last_one_is_pushed()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Send(2500);
        Assert.Equal(Ack, bench.Expect(Ack, 1, 1, 1000).Flags);
        Assert.Equal(Ack, bench.Expect(Ack, 1001, 1, 1000).Flags);
        Assert.Equal(Ack | Psh, bench.Expect(Ack, 2001, 1, 500).Flags);
        bench.ExpectNothing();
        Assert.Equal(2500, bench.Connection.SendQueueBytes);
    }

    [Fact]
    public void A_segment_is_gathered_over_the_boundaries_of_items()
    {
        using TcpBench bench = new TcpBench().Accept();
        foreach (int length in new[] { 1, 333, 333, 333, 7, 1993, 1, 999 })
        {
            Assert.True(bench.Queue(length));
        }

        bench.Poll();
        Assert.Equal([(1000, 4), (1000, 2), (1000, 1), (1000, 2)], bench.TakeSent().Select(sent => (sent.Length, sent.Chunks)));
    }

    [Fact]
    public void More_pieces_than_the_device_takes_make_shorter_segments()
    {
        using var bench = new TcpBench { MaxChunks = 4 };
        bench.Accept();
        for (int i = 0; i < 10; i++)
        {
            bench.Queue(30);
        }

        bench.Poll();
        Assert.Equal([(120, 4), (120, 4), (60, 2)], bench.TakeSent().Select(sent => (sent.Length, sent.Chunks)));
        bench.Given(Ack, 1, 301);
        Assert.Equal(10, bench.TakeSentItems().Length);
    }

    [Fact]
    public void Super_segments_are_multiples_of_the_MSS_but_for_the_last()
    {
        using var bench = new TcpBench { MaxTsoBytes = 4500 };
        bench.Accept();
        bench.Send(9500);
        Assert.Equal([(4000, 1000), (4000, 1000), (1500, 1000)], bench.TakeSent().Select(sent => (sent.Length, sent.Mss)));
    }

    [Fact]
    public void Super_segments_stop_at_whole_segments_where_the_device_takes_no_more_pieces()
    {
        using var bench = new TcpBench { MaxTsoBytes = 60_000, MaxChunks = 3 };
        bench.Accept();
        for (int i = 0; i < 6; i++)
        {
            bench.Queue(900);
        }

        bench.Poll();
        Assert.Equal([(2000, 1000), (2000, 1000), (1400, 1000)], bench.TakeSent().Select(sent => (sent.Length, sent.Mss)));
    }

    [Fact]
    public void One_segment_alone_is_no_super_segment()
    {
        using var bench = new TcpBench { MaxTsoBytes = 60_000 };
        bench.Accept();
        bench.Send(1000);
        Assert.Equal(0, bench.Expect(Ack, 1, 1, 1000).Mss);
    }

    [Fact]
    public void No_more_is_sent_than_the_peers_window_takes()
    {
        using TcpBench bench = new TcpBench();
        bench.Accept(window: 2500);
        bench.Send(5000);
        bench.Expect(Ack, 1, 1, 1000);
        bench.Expect(Ack, 1001, 1, 1000);
        bench.ExpectNothing();
        bench.Given(Ack, 1, 1001, window: 2500);
        bench.Expect(Ack, 2001, 1, 1000);
        bench.ExpectNothing();
        bench.Given(Ack, 1, 1001, window: 4000);
        bench.Expect(Ack, 3001, 1, 1000);
        bench.Expect(Ack, 4001, 1, 1000);
        bench.ExpectNothing();
    }

    [Fact]
    public void A_window_of_half_the_largest_one_is_worth_a_segment_that_is_not_full()
    {
        using TcpBench bench = new TcpBench();
        bench.Accept(window: 800);
        bench.Send(5000);
        bench.Expect(Ack, 1, 1, 800);
        bench.Given(Ack, 1, 801, window: 399);
        bench.ExpectNothing();
        bench.Given(Ack, 1, 801, window: 400);
        bench.Expect(Ack, 801, 1, 400);
    }

    [Fact]
    public void An_older_segments_window_is_not_taken_unless_it_acknowledges_more()
    {
        using TcpBench bench = new TcpBench();
        bench.Accept(window: 2000);
        bench.Send(6000);
        bench.TakeSent();
        bench.Given(Ack, 1001, 1, 10, window: 2500);
        bench.Given(Ack, 1, 1, 10, window: 9000);
        Assert.Equal(2500, bench.Connection.GetInfo(bench.NowUs).SndWnd);
        bench.Given(Ack, 11, 1001, 10, window: 1000);
        TcpInfo info = bench.Connection.GetInfo(bench.NowUs);
        Assert.Equal((1001u, 1000L), (info.SndUna - bench.Iss, info.SndWnd));
    }

    // Nagle's algorithm and MSG_MORE.

    [Fact]
    public void With_Nagles_algorithm_only_one_small_segment_is_in_flight()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { Nagle = true }).Accept();
        Assert.False(bench.Connection.NoDelay);
        bench.Send(100);
        bench.Expect(Ack, 1, 1, 100);
        bench.Send(100);
        bench.Send(100);
        bench.ExpectNothing();
        bench.Given(Ack, 1, 101);
        bench.Expect(Ack, 101, 1, 200);
        bench.Send(1200);
        bench.Expect(Ack, 301, 1, 1000);
        bench.ExpectNothing();
        bench.Given(Ack, 1, 301);
        bench.ExpectNothing();
        bench.Given(Ack, 1, 1301);
        bench.Expect(Ack, 1301, 1, 200);
    }

    [Fact]
    public void With_Nagles_algorithm_a_super_segment_has_no_small_tail()
    {
        using var bench = new TcpBench(tcp => tcp with { Nagle = true }) { MaxTsoBytes = 60_000 };
        bench.Accept();
        bench.Send(3500);
        bench.Expect(Ack, 1, 1, 3000);
        bench.ExpectNothing();
        bench.Given(Ack, 1, 3001);
        bench.Expect(Ack, 3001, 1, 500);
    }

    [Fact]
    public void Without_it_small_segments_go_at_once_and_it_can_be_switched_while_they_wait()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { Nagle = true }).Accept();
        bench.Send(100);
        bench.Send(100);
        bench.Expect(Ack, 1, 1, 100);
        bench.ExpectNothing();
        bench.Connection.NoDelay = true;
        bench.Send(100);
        bench.Expect(Ack, 101, 1, 200);
        bench.Send(1);
        bench.Expect(Ack, 301, 1, 1);
    }

    [Fact]
    public void FIN_lets_the_last_small_segment_go()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { Nagle = true }).Accept();
        bench.Send(100);
        bench.Queue(50);
        bench.Connection.ShutdownSend();
        bench.Poll();
        bench.Expect(Ack, 1, 1, 100);
        bench.Expect(Fin | Ack, 101, 1, 50);
    }

    [Fact]
    public void What_more_follows_to_waits_for_a_full_segment_but_not_for_ever()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Send(300, more: true);
        bench.ExpectNothing();
        bench.Send(300, more: true);
        bench.ExpectNothing();
        bench.Send(600, more: true);
        bench.Expect(Ack, 1, 1, 1000);
        bench.ExpectNothing();
        bench.Send(100);
        bench.Expect(Ack, 1001, 1, 300);
        bench.Given(Ack, 1, 1301);
        bench.Send(10, more: true);
        Assert.InRange(bench.AdvanceToNextSegment(), 200_000, 1_000_000);
        bench.Expect(Ack, 1301, 1, 10);
    }

    // Giving back.

    [Fact]
    public void An_item_is_given_back_once_all_of_it_was_acknowledged()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Queue(500);
        bench.Queue(700);
        bench.Queue(300);
        bench.Poll();
        bench.TakeSent();
        Assert.Equal([], bench.TakeSentItems());
        bench.Given(Ack, 1, 500);
        Assert.Equal(TcpEvents.None, bench.TakeEvents());
        bench.Given(Ack, 1, 501);
        Assert.Equal(TcpEvents.Sent, bench.TakeEvents());
        Assert.Equal([500], bench.TakeSentItems());
        bench.Given(Ack, 1, 1501);
        Assert.Equal(TcpEvents.Sent, bench.TakeEvents());
        Assert.Equal([700, 300], bench.TakeSentItems());
        Assert.Equal(bench.Options.MaxSendItems, bench.Connection.SendItemsFree);
    }

    [Fact]
    public void An_item_is_given_back_only_after_the_device_has_read_it()
    {
        using var bench = new TcpBench { CompletesAtOnce = false };
        bench.Accept();
        bench.Complete();
        bench.Send(100);
        bench.Given(Ack, 1, 101);
        Assert.Equal(TcpEvents.None, bench.TakeEvents());
        Assert.Equal([], bench.TakeSentItems());
        bench.Complete();
        Assert.Equal(TcpEvents.Sent, bench.TakeEvents());
        Assert.Equal([100], bench.TakeSentItems());
        Assert.Equal(TcpEvents.None, bench.TakeEvents());
    }

    [Fact]
    public void Items_are_told_of_as_the_device_goes_on_and_not_only_when_it_has_caught_up()
    {
        using var bench = new TcpBench { CompletesAtOnce = false };
        bench.Accept();
        bench.Complete();
        int taken = 0;
        for (int i = 0; i < 100; i++)
        {
            bench.Send(100);
            bench.Given(Ack, 1, 1 + ((i + 1) * 100));
            if (i >= 3)
            {
                // Always three frames behind.
                bench.Complete(1);
                Assert.Equal(TcpEvents.Sent, bench.TakeEvents());
                taken += bench.TakeSentItems().Length;
            }
        }

        Assert.Equal(97, taken);
    }

    [Fact]
    public void A_retransmission_on_the_ring_keeps_its_item_although_it_was_acknowledged()
    {
        using var bench = new TcpBench { CompletesAtOnce = false };
        bench.Accept();
        bench.Send(100);
        bench.Complete();
        bench.TakeSent();
        bench.AdvanceToNextSegment();
        bench.Given(Ack, 1, 101);
        Assert.Equal([], bench.TakeSentItems());
        bench.Complete();
        Assert.Equal([100], bench.TakeSentItems());
    }

    [Fact]
    public void The_last_event_waits_for_the_device_too()
    {
        using var bench = new TcpBench { CompletesAtOnce = false };
        bench.Accept();
        bench.Send(100);
        bench.Given(Rst, 1);
        Assert.Equal(TcpEvents.Failed, bench.TakeEvents());
        Assert.Equal([], bench.TakeSentItems());
        bench.Complete();
        Assert.Equal(TcpEvents.Sent | TcpEvents.Closed, bench.TakeEvents());
        Assert.Equal([100], bench.TakeSentItems());
        bench.AssertClean();
    }

    [Fact]
    public void The_queue_is_bounded_until_items_are_taken_back()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { MaxSendItems = 3 }).Accept();
        Assert.True(bench.Queue(10) && bench.Queue(10) && bench.Queue(10));
        Assert.False(bench.Queue(10));
        bench.Poll();
        bench.Given(Ack, 1, 31);
        Assert.False(bench.Queue(10));
        Assert.Equal([10, 10, 10], bench.TakeSentItems());
        Assert.True(bench.Queue(10));
    }

    [Fact]
    public void Nothing_empty_is_queued() => Assert.False(new TcpBench().Accept().Connection.TrySend(default));

    [Fact]
    public void A_received_fragment_is_sent_from_where_it_lies_and_released_once_acknowledged_and_read()
    {
        using var bench = new TcpBench { CompletesAtOnce = false, ChecksPayload = false };
        bench.Accept();
        bench.Complete();
        bench.Given(Ack, 1, 1, 1000);
        bench.Given(Ack, 1001, 1, 1000);
        var kept = new List<int>();
        bench.Receive(1500, keep: kept);
        foreach (int slot in kept)
        {
            Assert.True(bench.Connection.TrySend(new SendItem(bench.Pool, slot, tag: 9)));
            Assert.Equal(FragmentState.Transmitting, bench.Pool[slot].State);
        }

        bench.TakeSent();
        bench.Poll();
        Assert.Equal([1000, 500], bench.TakeSent().Select(sent => sent.Length));
        bench.Complete();
        Assert.Equal(2 * 4096, bench.Connection.ChargedBytes);
        bench.Given(Ack, 2001, 1001);
        Assert.True(bench.Connection.TryTakeSent(out SendItem first));
        Assert.Equal((9u, kept[0]), (first.Tag, first.Fragment));
        Assert.Equal(4096, bench.Connection.ChargedBytes);
        bench.Given(Ack, 2001, 1501);
        Assert.True(bench.Connection.TryTakeSent(out _));
        Assert.False(bench.Connection.TryTakeSent(out _));
        Assert.Equal(1, bench.Pool.FragmentsInUse);
    }

    [Fact]
    public void Fragments_not_acknowledged_when_the_connection_fails_are_released_as_they_are_taken_back()
    {
        using var bench = new TcpBench { ChecksPayload = false };
        bench.Accept();
        bench.Given(Ack, 1, 1, 1000);
        var kept = new List<int>();
        bench.Receive(keep: kept);
        bench.Connection.TrySend(new SendItem(bench.Pool, kept[0], tag: 9));
        bench.Poll();
        bench.Given(Rst, 1001);
        Assert.True(bench.Connection.TryTakeSent(out _));
        bench.TakeEvents();
        bench.AssertClean();
    }

    // A full ring, neighbours.

    [Fact]
    public void A_full_ring_loses_nothing_and_is_shared_fairly()
    {
        using var bench = new TcpBench { ChecksPayload = false };
        bench.Listen();
        var connections = new List<TcpConnection>();
        for (ushort port = 5000; port < 5004; port++)
        {
            Net.Addresses.IpEndpoint from = TcpBench.Peer with { Port = port };
            bench.Given(Syn, 0, from: from, options: TcpBench.SynOptions());
            bench.Given(Ack, 1, 1, from: from);
            connections.Add(Assert.Single(bench.TakeAccepted()));
        }

        bench.TakeSent();
        foreach (TcpConnection connection in connections)
        {
            Queue(bench, connection, 10_000);
        }

        bench.Room = 0;
        bench.Poll();
        Assert.True(bench.Tcp.HasPendingOutput);
        var first = new Dictionary<ushort, int>();
        for (int round = 0; round < 40; round++)
        {
            bench.Room = 1;
            bench.Poll();
            ushort port = Assert.Single(bench.TakeSent()).To.Port;
            first[port] = first.GetValueOrDefault(port) + 1;
            if (round == 7)
            {
                Assert.Equal(4, first.Count);
            }
        }

        Assert.Equal([10, 10, 10, 10], first.Values);
        bench.Room = int.MaxValue;
        bench.Poll();
        bench.ExpectNothing();
    }

    [Fact]
    public void A_long_queue_takes_turns_with_the_others_even_if_the_ring_is_not_full()
    {
        using var bench = new TcpBench(tcp => tcp with { WindowScaling = true, InitialWindowSegments = 1000 }) { ChecksPayload = false };
        bench.Listen();
        var connections = new List<TcpConnection>();
        for (ushort port = 5000; port < 5002; port++)
        {
            Net.Addresses.IpEndpoint from = TcpBench.Peer with { Port = port };
            bench.Given(Syn, 0, from: from, options: TcpBench.SynOptions(1000, 7));
            bench.Given(Ack, 1, 1, from: from);
            connections.Add(Assert.Single(bench.TakeAccepted()));
        }

        bench.TakeSent();
        connections.ForEach(connection => Queue(bench, connection, 400_000));
        bench.Poll();
        ushort[] ports = [.. bench.TakeSent().Select(sent => sent.To.Port)];
        Assert.Equal(800, ports.Length);
        Assert.InRange(Array.IndexOf(ports, (ushort)5001), 1, 150);
        Assert.InRange(ports.Take(400).Count(port => port == 5000), 150, 300);
    }

    [Fact]
    public void Acknowledgments_and_resets_that_find_the_ring_full_are_sent_later_or_lost_as_on_any_wire()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Room = 0;
        bench.Given(Ack, 1, 1, 1000);
        bench.Given(Ack, 3001, 1, 1000);
        bench.ExpectNothing();
        Assert.True(bench.Tcp.HasPendingOutput);
        bench.Room = int.MaxValue;
        bench.Poll();
        bench.Expect(Ack, 1, 1001);
        bench.ExpectNothing();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Without_a_neighbour_nothing_is_lost_and_nobody_goes_round_in_circles(bool unreachable)
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Answer = unreachable ? IpSendResult.Unreachable : IpSendResult.AwaitingNeighbor;
        bench.Given(Ack, 1, 1, 1000);
        bench.Send(1500);
        Assert.False(bench.Tcp.HasPendingOutput);
        bench.Answer = IpSendResult.Sent;
        if (!unreachable)
        {
            bench.Tcp.OnNeighborResolved(TcpBench.Peer.Address, bench.NowUs);
            bench.Poll();
        }
        else
        {
            bench.AdvanceToNextSegment();
        }

        bench.Expect(Ack, 1, 1001, 1000);
        if (!unreachable)
        {
            bench.Expect(Ack, 1001, 1001, 500);
        }
    }

    [Fact]
    public void What_waits_for_more_goes_in_its_time_even_if_it_could_not_be_sent_before()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Answer = IpSendResult.Unreachable;
        bench.Send(10);
        bench.Answer = IpSendResult.Sent;
        bench.Send(10, more: true);
        Assert.InRange(bench.AdvanceToNextSegment(), 0, 1_000_000);
        bench.Expect(Ack, 1, 1, 20);
    }

    [Fact]
    public void A_connection_whose_peer_becomes_unreachable_is_given_up_in_its_time()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { MaxRetransmissions = 5 }).Accept();
        bench.Answer = IpSendResult.Unreachable;
        bench.Send(100);
        bench.AdvanceMs(60_000);
        Assert.Equal(TcpError.TimedOut, bench.Connection.Error);
        Assert.Equal([100], bench.TakeSentItems());
        bench.TakeEvents();
        bench.AssertClean();
    }

    private static unsafe void Queue(TcpBench bench, TcpConnection connection, int bytes)
    {
        for (int i = 0; i < bytes / 1000; i++)
        {
            Assert.True(connection.TrySend(new SendItem(bench.Pool.PageAddress(0), 1000, 0)));
        }
    }
}
