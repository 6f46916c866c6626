using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.Net.Tcp.TcpFlags;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Closing: FIN from either side, half-closed states, resets that say that data was lost.</summary>
public sealed class TcpCloseTests
{
    [Fact]
    public void Our_close_first_goes_by_FIN_WAIT_1_and_2_to_TIME_WAIT()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Connection.Close(bench.NowUs);
        bench.Connection.Close(bench.NowUs);
        bench.Poll();
        bench.Expect(Fin | Ack, 1, 1);
        Assert.Equal(TcpState.FinWait1, bench.Connection.State);
        bench.Given(Ack, 1, 2);
        Assert.Equal(TcpState.FinWait2, bench.Connection.State);
        bench.ExpectNothing();
        bench.Given(Fin | Ack, 1, 2);
        bench.Expect(Ack, 2, 2);
        Assert.Equal(TcpEvents.PeerClosed | TcpEvents.Closed, bench.TakeEvents());
        Assert.Equal((1, TcpError.None), (bench.Tcp.TimeWaitCount, bench.Connection.Error));
        bench.AssertClean();
    }

    [Fact]
    public void FIN_that_acknowledges_ours_leads_from_FIN_WAIT_1_straight_to_TIME_WAIT()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Connection.Close(bench.NowUs);
        bench.Poll();
        bench.Expect(Fin | Ack, 1, 1);
        bench.Given(Fin | Ack, 1, 2);
        bench.Expect(Ack, 2, 2);
        Assert.Equal(1, bench.Tcp.TimeWaitCount);
        bench.TakeEvents();
        bench.AssertClean();
    }

    [Fact]
    public void Both_closing_at_once_go_by_CLOSING_to_TIME_WAIT()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Connection.Close(bench.NowUs);
        bench.Poll();
        bench.Expect(Fin | Ack, 1, 1);
        bench.Given(Fin | Ack, 1, 1);
        bench.Expect(Ack, 2, 2);
        Assert.Equal(TcpState.Closing, bench.Connection.State);
        bench.Given(Ack, 2, 2);
        bench.ExpectNothing();
        Assert.Equal(TcpEvents.PeerClosed | TcpEvents.Closed, bench.TakeEvents());
        Assert.Equal(1, bench.Tcp.TimeWaitCount);
        bench.AssertClean();
    }

    [Fact]
    public void The_peers_close_first_goes_by_CLOSE_WAIT_and_LAST_ACK_to_the_end()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Fin | Ack, 1, 1);
        bench.Expect(Ack, 1, 2);
        Assert.Equal((TcpState.CloseWait, TcpEvents.PeerClosed), (bench.Connection.State, bench.TakeEvents()));
        bench.Connection.Close(bench.NowUs);
        bench.Poll();
        bench.Expect(Fin | Ack, 1, 2);
        Assert.Equal(TcpState.LastAck, bench.Connection.State);
        bench.Given(Ack, 2, 2);
        Assert.Equal(TcpEvents.Closed, bench.TakeEvents());
        Assert.Equal(0, bench.Tcp.TimeWaitCount);
        bench.AssertClean();
    }

    [Fact]
    public void After_our_half_close_the_peer_may_go_on_sending()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Connection.ShutdownSend();
        bench.Connection.ShutdownSend();
        bench.Poll();
        bench.Expect(Fin | Ack, 1, 1);
        Assert.False(bench.Queue(1));
        bench.Given(Ack, 1, 2, 100);
        bench.AdvanceMs(3_600_000);
        bench.Given(Ack, 101, 2, 100);
        Assert.Equal([100, 100], bench.Receive());
        Assert.Equal(TcpState.FinWait2, bench.Connection.State);
        bench.Given(Fin | Ack, 201, 2, 100);
        Assert.Equal([100], bench.Receive());
        Assert.Equal(TcpEvents.Readable | TcpEvents.PeerClosed | TcpEvents.Closed, bench.TakeEvents());
        bench.AssertClean();
    }

    [Fact]
    public void After_the_peers_half_close_we_may_go_on_sending()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Fin | Ack, 1, 1);
        bench.Expect(Ack, 1, 2);
        bench.Send(1500);
        bench.Expect(Ack, 1, 2, 1000);
        bench.Expect(Ack, 1001, 2, 500);
        bench.Given(Ack, 2, 1501);
        bench.Connection.ShutdownSend();
        bench.Poll();
        bench.Expect(Fin | Ack, 1501, 2);
        bench.Given(Ack, 2, 1502);
        bench.TakeSentItems();
        Assert.Equal(TcpEvents.PeerClosed | TcpEvents.Sent | TcpEvents.Closed, bench.TakeEvents());
        bench.AssertClean();
    }

    [Fact]
    public void FIN_follows_what_is_queued_on_the_last_segment()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Queue(1500);
        bench.Connection.Close(bench.NowUs);
        bench.Poll();
        bench.Expect(Ack, 1, 1, 1000);
        bench.Expect(Fin | Ack, 1001, 1, 500);
        bench.ExpectNothing();
        bench.Given(Ack, 1, 1501);
        Assert.Equal((TcpState.FinWait1, 0L), (bench.Connection.State, bench.Connection.SendQueueBytes));
        bench.Given(Ack, 1, 1502);
        Assert.Equal(TcpState.FinWait2, bench.Connection.State);
    }

    [Fact]
    public void A_lost_FIN_is_sent_again_alone()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Queue(100);
        bench.Connection.Close(bench.NowUs);
        bench.Poll();
        bench.Expect(Fin | Ack, 1, 1, 100);
        bench.Given(Ack, 1, 101);
        bench.AdvanceToNextSegment();
        bench.Expect(Fin | Ack, 101, 1);
        bench.Given(Ack, 1, 102);
        bench.AdvanceMs(50_000);
        bench.ExpectNothing();
    }

    [Fact]
    public void A_FIN_waits_for_the_window_but_is_probed_with_and_counts_if_that_is_how_it_arrives()
    {
        using TcpBench bench = new TcpBench();
        bench.Accept(window: 100);
        bench.Send(100);
        bench.Expect(Ack, 1, 1, 100);
        bench.Given(Ack, 1, 101, window: 0);
        bench.Connection.Close(bench.NowUs);
        bench.Poll();
        bench.ExpectNothing();
        bench.AdvanceToNextSegment();
        bench.Expect(Fin | Ack, 101, 1);
        Assert.Equal(TcpState.FinWait1, bench.Connection.State);
        bench.Given(Ack, 1, 102, window: 0);
        Assert.Equal(TcpState.FinWait2, bench.Connection.State);
    }

    [Fact]
    public void A_FIN_ahead_of_a_gap_waits_for_the_data()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Fin | Ack, 1001, 1, 500);
        bench.Expect(Ack, 1, 1);
        Assert.False(bench.Connection.PeerClosed);
        bench.Given(Ack, 1, 1, 1000);
        bench.Expect(Ack, 1, 1502);
        Assert.Equal(TcpEvents.Readable | TcpEvents.PeerClosed, bench.TakeEvents());
        Assert.Equal([1000, 500], bench.Receive());
    }

    [Fact]
    public void An_empty_FIN_ahead_of_a_gap_is_acknowledged_at_once_and_remembered()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Fin | Ack, 1001, 1);
        bench.Expect(Ack, 1, 1);
        bench.Given(Ack, 1, 1, 1000);
        bench.Expect(Ack, 1, 1002);
        Assert.True(bench.Connection.PeerClosed);
    }

    [Fact]
    public void Nothing_beyond_the_FIN_is_taken()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Fin | Ack, 1001, 1, 100);
        bench.Given(Ack, 501, 1, 2000);
        bench.TakeSent();
        bench.Given(Ack, 1, 1, 500);
        bench.Expect(Ack, 1, 1102);
        bench.Receive();
        Assert.Equal(1100, bench.Connection.GetInfo(bench.NowUs).BytesReceived);
        bench.Given(Ack, 1102, 1, 50);
        Assert.Equal(0, bench.Connection.ReadableBytes);
    }

    [Fact]
    public void The_peers_FIN_sent_again_is_acknowledged_again()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Fin | Ack, 1, 1, 10);
        bench.Expect(Ack, 1, 12);
        bench.Given(Fin | Ack, 1, 1, 10);
        bench.Expect(Ack, 1, 12);
        bench.Given(Fin | Ack, 11, 1);
        bench.Expect(Ack, 1, 12);
        Assert.Equal(TcpState.CloseWait, bench.Connection.State);
    }

    [Fact]
    public void A_FIN_right_at_the_windows_edge_is_taken()
    {
        using TcpBench bench = TcpBench.WithWindowOf1000();
        bench.Given(Fin | Ack, 1, 1, 1000);
        Assert.Equal(0, bench.Expect(Ack, 1, 1002).Window);
        Assert.True(bench.Connection.PeerClosed);

        using TcpBench other = TcpBench.WithWindowOf1000();
        other.Given(Ack, 1, 1, 1000);
        other.Given(Fin | Ack, 1001, 1);
        Assert.True(other.Connection.PeerClosed);
    }

    [Fact]
    public void Unread_data_at_the_close_makes_it_a_reset()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Ack, 1, 1, 1000);
        bench.TakeSent();
        bench.Connection.Close(bench.NowUs);
        bench.Poll();
        bench.Expect(Rst | Ack, 1, 1001);
        Assert.Equal(TcpEvents.Readable | TcpEvents.Failed | TcpEvents.Closed, bench.TakeEvents());
        Assert.Equal(TcpError.Aborted, bench.Connection.Error);
        bench.AssertClean();
    }

    [Fact]
    public void Data_after_the_close_makes_it_a_reset()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Connection.Close(bench.NowUs);
        bench.Poll();
        bench.Given(Ack, 1, 2);
        bench.TakeSent();
        bench.Given(Ack, 1, 2, 1000);
        bench.Expect(Rst | Ack, 2, 1);
        Assert.Equal(TcpEvents.Failed | TcpEvents.Closed, bench.TakeEvents());
        Assert.Equal((1L, 1L), (bench.Tcp.Counters.AbortOnData, bench.Drops[DropReason.TCP_ABORT_ON_DATA]));
        bench.AssertClean();
    }

    [Fact]
    public void Old_data_after_the_close_is_no_reason_for_a_reset()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Ack, 1, 1, 1000);
        bench.Receive();
        bench.Connection.Close(bench.NowUs);
        bench.Poll();
        bench.TakeSent();
        bench.Given(Ack, 1, 2, 1000);
        bench.Expect(Ack, 2, 1001);
        bench.Given(Fin | Ack, 501, 2, 500);
        bench.Expect(Ack, 2, 1002);
        Assert.Equal(1, bench.Tcp.TimeWaitCount);
    }

    [Fact]
    public void An_abort_resets_and_drops_everything()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Send(1500);
        bench.Queue(100);
        bench.Given(Ack, 1, 1, 1000);
        bench.TakeSent();
        bench.Connection.Abort(bench.NowUs);
        bench.Connection.Abort(bench.NowUs);
        bench.Expect(Rst | Ack, 1601, 1001);
        Assert.Equal([1500, 100], bench.TakeSentItems());
        Assert.True((bench.TakeEvents() & TcpEvents.Closed) != 0);
        Assert.False(bench.Connection.TrySend(default));
        bench.AssertClean();
    }

    [Theory]
    [InlineData(TcpState.Established, TcpError.ConnectionReset)]
    [InlineData(TcpState.FinWait1, TcpError.ConnectionReset)]
    [InlineData(TcpState.FinWait2, TcpError.ConnectionReset)]
    [InlineData(TcpState.CloseWait, TcpError.ConnectionReset)]
    [InlineData(TcpState.Closing, TcpError.None)]
    [InlineData(TcpState.LastAck, TcpError.None)]
    public void RST_ends_every_state_and_is_an_error_while_there_was_something_to_lose(TcpState state, TcpError error)
    {
        using TcpBench bench = In(state);
        bench.Given(Rst, bench.Connection.PeerClosed ? 2 : 1);
        Assert.Equal((TcpState.Closed, error), (bench.Connection.State, bench.Connection.Error));
        TcpEvents events = bench.TakeEvents();
        Assert.Equal(error == TcpError.None ? TcpEvents.Closed : TcpEvents.Closed | TcpEvents.Failed, events & ~TcpEvents.PeerClosed);
        bench.ExpectNothing();
        bench.AssertClean();
    }

    [Theory]
    [InlineData(TcpState.Closing)]
    [InlineData(TcpState.LastAck)]
    public void RST_before_our_data_was_acknowledged_is_an_error_in_every_state(TcpState state)
    {
        using TcpBench bench = In(state, unacknowledged: 100);
        bench.Given(Rst, 2);
        Assert.Equal(TcpError.ConnectionReset, bench.Connection.Error);
        Assert.Equal([100], bench.TakeSentItems());
        bench.TakeEvents();
        bench.AssertClean();
    }

    [Theory]
    [InlineData(TcpState.Established)]
    [InlineData(TcpState.FinWait1)]
    [InlineData(TcpState.FinWait2)]
    [InlineData(TcpState.CloseWait)]
    [InlineData(TcpState.Closing)]
    [InlineData(TcpState.LastAck)]
    public void A_RST_or_SYN_that_only_lies_in_the_window_is_challenged_in_every_state(TcpState state)
    {
        using TcpBench bench = In(state);
        long next = bench.Connection.PeerClosed ? 2 : 1;
        bench.Given(Rst, next + 100);
        Assert.Equal(next, Assert.Single(bench.TakeSent()).Ack);
        bench.Given(Syn, next + 100);
        Assert.Equal(next, Assert.Single(bench.TakeSent()).Ack);
        Assert.Equal(state, bench.Connection.State);
    }

    [Fact]
    public void The_last_event_waits_until_everything_received_was_taken()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Connection.ShutdownSend();
        bench.Poll();
        bench.TakeSent();
        bench.Given(Ack, 1, 2, 1000);
        bench.Given(Fin | Ack, 1001, 2, 1000);
        bench.Expect(Ack, 2, 1001);
        bench.Expect(Ack, 2, 2002);
        Assert.Equal(TcpEvents.Readable | TcpEvents.PeerClosed, bench.TakeEvents());
        Assert.Equal((0, 1), (bench.Tcp.ConnectionCount, bench.Tcp.TimeWaitCount));
        Assert.Equal([1000, 500], bench.Receive(1500));
        Assert.Equal(TcpEvents.None, bench.TakeEvents());
        Assert.True(bench.Tcp.TryGetConnection(bench.Connection.Id, out _));
        Assert.Equal([500], bench.Receive());
        Assert.Equal(TcpEvents.Closed, bench.TakeEvents());
        Assert.False(bench.Tcp.TryGetConnection(bench.Connection.Id, out _));
        bench.AssertClean();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_nobody_took_is_released_by_closing_or_aborting(bool abort)
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Connection.ShutdownSend();
        bench.Poll();
        bench.Given(Fin | Ack, 1, 2, 1000);
        bench.TakeSent();
        if (abort)
        {
            bench.Connection.Abort(bench.NowUs);
        }
        else
        {
            bench.Connection.Close(bench.NowUs);
        }

        bench.Poll();
        bench.ExpectNothing();
        Assert.Equal(TcpEvents.Readable | TcpEvents.PeerClosed | TcpEvents.Closed, bench.TakeEvents());
        bench.AssertClean();
    }

    [Fact]
    public void A_hint_by_ICMP_does_not_cost_the_data_that_was_received()
    {
        using var bench = new TcpBench();
        TcpConnection connection = bench.Open();
        bench.TakeSent();
        bench.Tcp.OnIcmpError(TcpBench.Local, TcpBench.Peer, new SeqNumber(bench.Iss), 3, 1, 0, bench.NowUs);
        bench.Given(Syn | Ack, 0, 1);
        connection.ShutdownSend();
        bench.Poll();
        bench.Given(Fin | Ack, 1, 2, 100);
        Assert.Equal(TcpError.None, connection.Error);
        Assert.Equal([100], bench.Receive());
    }

    [Fact]
    public void FIN_WAIT_2_ends_in_its_time_if_the_application_has_closed()
    {
        using TcpBench bench = In(TcpState.FinWait2);
        bench.AdvanceMs(59_000);
        Assert.Equal(TcpState.FinWait2, bench.Connection.State);
        bench.AdvanceMs(1_000);
        Assert.Equal(TcpEvents.Closed, bench.TakeEvents());
        bench.ExpectNothing();
        bench.AssertClean();
    }

    [Fact]
    public void FIN_WAIT_2_lasts_for_ever_while_the_application_still_reads()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Connection.ShutdownSend();
        bench.Poll();
        bench.Given(Ack, 1, 2);
        bench.AdvanceMs(100_000_000);
        Assert.Equal(TcpState.FinWait2, bench.Connection.State);
        bench.Connection.Close(bench.NowUs);
        bench.AdvanceMs(60_000);
        Assert.Equal(TcpState.Closed, bench.Connection.State);
    }

    [Fact]
    public void A_close_is_carried_out_even_if_the_application_is_gone_the_next_moment()
    {
        using TcpBench bench = new TcpBench().Accept();
        for (int i = 0; i < 100; i++)
        {
            bench.Queue(1000);
        }

        bench.Connection.Close(bench.NowUs);
        bench.Poll();
        long acked = 0;
        while (bench.Connection.State != TcpState.FinWait2)
        {
            SentSegment[] sent = bench.TakeSent();
            Assert.NotEmpty(sent);
            acked = sent[^1].Seq + sent[^1].Length + ((sent[^1].Flags & Fin) != 0 ? 1 : 0);
            bench.Given(Ack, 1, acked);
        }

        Assert.Equal(100_002, acked);
        Assert.Equal(100, bench.TakeSentItems().Length);
        bench.Given(Fin | Ack, 1, 100_002);
        bench.Expect(Ack, 100_002, 2);
        bench.TakeEvents();
        bench.AssertClean();
    }

    private static TcpBench In(TcpState state, int unacknowledged = 0)
    {
        TcpBench bench = new TcpBench().Accept();
        if (state is TcpState.CloseWait or TcpState.LastAck)
        {
            bench.Given(Fin | Ack, 1, 1);
        }

        if (unacknowledged > 0)
        {
            bench.Send(unacknowledged);
        }

        if (state is not (TcpState.Established or TcpState.CloseWait))
        {
            bench.Connection.Close(bench.NowUs);
            bench.Poll();
        }

        if (state == TcpState.FinWait2)
        {
            bench.Given(Ack, 1, 2);
        }
        else if (state == TcpState.Closing)
        {
            bench.Given(Fin | Ack, 1, 1);
        }

        Assert.Equal(state, bench.Connection.State);
        bench.TakeSent();
        bench.TakeEvents();
        return bench;
    }
}
