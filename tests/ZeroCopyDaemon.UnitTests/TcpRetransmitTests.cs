using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.Net.Tcp.TcpFlags;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Loss: the retransmission timer (RFC 6298), fast retransmit and recovery (RFC 5681, RFC 6582), and ICMP's hints.</summary>
public sealed class TcpRetransmitTests
{
    [Fact]
    public void What_is_not_acknowledged_is_sent_again_with_doubled_timeouts_and_given_up()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { MaxRetransmissions = 10 }).Accept();
        bench.Send(500);
        bench.Expect(Ack, 1, 1, 500);
        var intervals = new List<long>();
        for (int i = 0; i < 10; i++)
        {
            intervals.Add(bench.AdvanceToNextSegment() / 1000);
            bench.Expect(Ack, 1, 1, 500);
        }

        Assert.Equal([200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000], intervals);
        bench.AdvanceMs(60_000);
        bench.ExpectNothing();
        Assert.Equal(TcpEvents.Failed | TcpEvents.Closed, bench.TakeEvents());
        Assert.Equal((TcpError.TimedOut, 1L, 10L), (bench.Connection.Error, bench.Tcp.Counters.AbortOnTimeout, bench.Tcp.Counters.RetransSegs));
        Assert.Equal([500], bench.TakeSentItems());
        bench.AssertClean();
    }

    [Fact]
    public void The_timeout_follows_the_measured_round_trip()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { MinRtoUs = 1000 });
        bench.Listen();
        bench.Given(Syn, 0, options: TcpBench.SynOptions());
        bench.TakeSent();
        bench.AdvanceMs(100);
        bench.Given(Ack, 1, 1);
        bench.TakeEvents();
        Assert.Equal((100_000, 50_000, 300_000), Rtt(bench));

        // RTTVAR = 3/4 * 50 + 1/4 * |100 - 180|, SRTT = 7/8 * 100 + 1/8 * 180
        bench.Send(100);
        bench.AdvanceMs(180);
        bench.Given(Ack, 1, 101);
        Assert.Equal((110_000, 57_500, 340_000), Rtt(bench));
        for (int i = 1; i <= 100; i++)
        {
            bench.Send(100);
            bench.AdvanceMs(50);
            bench.Given(Ack, 1, 101 + (i * 100));
            bench.TakeSentItems();
        }

        (long rtt, long variance, long rto) = Rtt(bench);
        Assert.InRange(rtt, 49_990, 50_010);
        Assert.InRange(variance, 0, 10);
        Assert.Equal(rtt + 1000, rto);
    }

    [Fact]
    public void One_round_trip_is_measured_at_a_time_without_timestamps()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Send(100);
        bench.AdvanceMs(10);
        bench.Send(100);
        bench.AdvanceMs(10);
        bench.Given(Ack, 1, 201);
        Assert.Equal(20_000 / 8, Rtt(bench).Rtt, 1.0);
    }

    [Fact]
    public void What_was_sent_twice_is_not_measured_and_the_backoff_stays_until_something_is()
    {
        using TcpBench bench = new TcpBench().Accept();
        (long rtt, _, long rto) = Rtt(bench);
        bench.Send(500);
        bench.TakeSent();
        bench.AdvanceToNextSegment();
        bench.TakeSent();
        bench.AdvanceToNextSegment();
        bench.TakeSent();
        bench.AdvanceMs(5);
        bench.Given(Ack, 1, 501);
        Assert.Equal((rtt, 4 * rto), (Rtt(bench).Rtt, Rtt(bench).Rto));
        bench.Send(500);
        bench.TakeSent();
        bench.AdvanceMs(5);
        bench.Given(Ack, 1, 1001);
        Assert.Equal(rto, Rtt(bench).Rto);
    }

    [Fact]
    public void Timestamps_tell_which_transmission_was_answered()
    {
        using TcpBench bench = WithTimestamps();
        bench.Send(500);
        bench.TakeSent();
        uint first = bench.OurTimestamp;
        bench.AdvanceToNextSegment();
        bench.TakeSent();
        long before = Rtt(bench).Rtt;
        bench.AdvanceMs(30);
        bench.Given(Ack, 1, 501);
        Assert.True(first < bench.OurTimestamp);
        Assert.Equal(before + ((30_000 - before) / 8), Rtt(bench).Rtt, 1.0);
    }

    [Fact]
    public void An_echo_of_the_first_transmission_is_no_measurement_of_the_second()
    {
        using TcpBench bench = WithTimestamps();
        uint first = bench.OurTimestamp;
        bench.Send(500);
        bench.TakeSent();
        bench.AdvanceToNextSegment();
        bench.TakeSent();
        (long rtt, _, long rto) = Rtt(bench);
        bench.Tcp.OnSegment(
            new TcpSegment
            {
                Source = TcpBench.Peer, Destination = TcpBench.Local, Seq = new SeqNumber(bench.Irs + 1), Ack = new SeqNumber(bench.Iss + 501), Flags = Ack, Window = 65535, Payload = -1,
                Options = new TcpSegmentOptions { WindowScale = -1, HasTimestamp = true, TimestampValue = bench.PeerTimestamp, TimestampEcho = first },
            },
            bench.NowUs);
        Assert.Equal((rtt, rto), (Rtt(bench).Rtt, Rtt(bench).Rto));
    }

    [Fact]
    public void The_timer_restarts_with_every_acknowledgment_of_something_new_and_stops_with_the_last()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Send(3000);
        bench.TakeSent();
        bench.AdvanceMs(150);
        bench.Given(Ack, 1, 1001);
        bench.AdvanceMs(150);
        bench.ExpectNothing();
        bench.Given(Ack, 1, 2001);
        bench.AdvanceMs(150);
        bench.ExpectNothing();
        bench.Given(Ack, 1, 3001);
        bench.AdvanceMs(100_000);
        bench.ExpectNothing();
    }

    [Fact]
    public void After_a_timeout_everything_goes_again_from_the_first_hole_in_slow_start()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Send(10_000);
        Assert.Equal(10, bench.TakeSent().Length);
        bench.AdvanceToNextSegment();
        bench.Expect(Ack, 1, 1, 1000);
        bench.ExpectNothing();
        TcpInfo info = bench.Connection.GetInfo(bench.NowUs);
        Assert.Equal((1000, 5000), (info.CwndBytes, info.SsthreshBytes));
        bench.Given(Ack, 1, 1001);
        bench.Expect(Ack, 1001, 1, 1000);
        bench.Expect(Ack, 2001, 1, 1000);
        bench.ExpectNothing();

        // The rest had arrived.
        bench.Given(Ack, 1, 10_001);
        bench.AdvanceMs(100_000);
        bench.ExpectNothing();
        bench.Send(1000);
        bench.Expect(Ack, 10_001, 1, 1000);
    }

    [Fact]
    public void A_second_timeout_for_the_same_data_lowers_the_threshold_no_further()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Send(10_000);
        bench.TakeSent();
        bench.AdvanceToNextSegment();
        bench.TakeSent();
        bench.AdvanceToNextSegment();
        Assert.Equal(5000, bench.Connection.GetInfo(bench.NowUs).SsthreshBytes);
    }

    [Fact]
    public void The_third_duplicate_acknowledgment_and_no_other_sends_the_first_segment_again()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Send(10_000);
        bench.TakeSent();
        bench.Given(Ack, 1, 1);
        bench.ExpectNothing();
        bench.Given(Ack, 1, 1);
        bench.ExpectNothing();
        bench.Given(Ack, 1, 1);
        bench.Expect(Ack, 1, 1, 1000);
        bench.ExpectNothing();
        bench.Given(Ack, 1, 1);
        bench.Given(Ack, 1, 1);
        bench.ExpectNothing();
        TcpInfo info = bench.Connection.GetInfo(bench.NowUs);
        Assert.Equal((5000, 5000 + (3 * 1000) + (2 * 1000)), (info.SsthreshBytes, info.CwndBytes));
        bench.Given(Ack, 1, 10_001);
        bench.ExpectNothing();
        info = bench.Connection.GetInfo(bench.NowUs);
        Assert.Equal((1L, 1L, 2000L), (bench.Tcp.Counters.FastRetrans, info.Retransmits, info.CwndBytes));
    }

    [Theory]
    [InlineData(1, 10, 65535)] // carries data
    [InlineData(1, 0, 60_000)] // updates the window
    [InlineData(0, 0, 65535)] // not acceptable
    public void What_is_no_duplicate_acknowledgment_is_not_counted(int seq, int length, int window)
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Send(10_000);
        bench.TakeSent();
        for (int i = 0; i < 5; i++)
        {
            bench.Given(Ack, seq + (length * i), 1, length, window: (ushort)(window == 65535 ? window : window - (i * 1000)));
        }

        Assert.DoesNotContain(bench.TakeSent(), sent => sent.Length > 0);
    }

    [Fact]
    public void With_nothing_in_flight_there_are_no_duplicates()
    {
        using TcpBench bench = new TcpBench().Accept();
        for (int i = 0; i < 5; i++)
        {
            bench.Given(Ack, 1, 1);
        }

        bench.Send(1000);
        bench.Expect(Ack, 1, 1, 1000);
        bench.ExpectNothing();
    }

    [Fact]
    public void The_first_two_duplicates_let_new_data_go_beyond_the_congestion_window()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Send(20_000);
        Assert.Equal(10, bench.TakeSent().Length);
        bench.Given(Ack, 1, 1);
        bench.Expect(Ack, 10_001, 1, 1000);
        bench.Given(Ack, 1, 1);
        bench.Expect(Ack, 11_001, 1, 1000);
        bench.Given(Ack, 1, 1);
        bench.Expect(Ack, 1, 1, 1000);
        bench.ExpectNothing();
    }

    [Fact]
    public void A_partial_acknowledgment_sends_the_next_hole_again_and_the_last_one_ends_recovery()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Send(10_000);
        bench.TakeSent();
        for (int i = 0; i < 7; i++)
        {
            bench.Given(Ack, 1, 1);
        }

        bench.Expect(Ack, 1, 1, 1000);
        bench.ExpectNothing();

        // Lost were the first, the third and the fourth.
        bench.Given(Ack, 1, 2001);
        bench.Expect(Ack, 2001, 1, 1000);
        bench.ExpectNothing();
        bench.Given(Ack, 1, 3001);
        bench.Expect(Ack, 3001, 1, 1000);
        bench.Given(Ack, 1, 10_001);
        TcpInfo info = bench.Connection.GetInfo(bench.NowUs);
        Assert.Equal((3L, 0L, 0L), (info.Retransmits, bench.Tcp.Counters.Timeouts, bench.Connection.SendQueueBytes));
        Assert.True(info.CwndBytes <= 5000);
        bench.AdvanceMs(10_000);
        bench.ExpectNothing();
    }

    [Fact]
    public void New_data_goes_out_in_recovery_as_duplicates_inflate_the_window()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Send(30_000);
        bench.TakeSent();
        for (int i = 0; i < 3; i++)
        {
            bench.Given(Ack, 1, 1);
        }

        // Flight is 12,000: threshold 6,000, window 9,000.
        bench.TakeSent();
        for (int i = 0; i < 3; i++)
        {
            bench.Given(Ack, 1, 1);
            bench.ExpectNothing();
        }

        bench.Given(Ack, 1, 1);
        bench.Expect(Ack, 12_001, 1, 1000);
        bench.Given(Ack, 1, 1);
        bench.Expect(Ack, 13_001, 1, 1000);
    }

    [Theory]
    [InlineData(6001, false)] // a long jump: what followed was there already
    [InlineData(2001, true)] // a step: the next one is lost again
    public void Duplicates_after_a_timeout_mean_a_new_loss_only_if_no_long_jump_went_before_them(int acknowledged, bool lost)
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Send(10_000);
        bench.TakeSent();
        bench.AdvanceToNextSegment();
        bench.TakeSent();
        bench.Given(Ack, 1, 1001);
        bench.Given(Ack, 1, acknowledged);
        bench.TakeSent();
        for (int i = 0; i < 3; i++)
        {
            bench.Given(Ack, 1, acknowledged);
        }

        Assert.Equal(lost ? 1 : 0, bench.Tcp.Counters.FastRetrans);
        Assert.Equal(lost, bench.TakeSent().Any(sent => sent.Seq == acknowledged));
    }

    // The congestion window.

    [Fact]
    public void The_initial_window_is_ten_segments()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Send(30_000);
        Assert.Equal(10, bench.TakeSent().Length);
    }

    [Fact]
    public void Slow_start_doubles_the_window_each_round_trip_and_avoidance_adds_a_segment()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { WindowScaling = true });
        bench.Accept(scale: 7);
        bench.Queue(1_000_000);
        bench.Poll();
        long acked = 1;
        int Round()
        {
            int segments = 0;
            foreach (SentSegment sent in bench.TakeSent())
            {
                segments++;
                acked = sent.Seq + sent.Length;
                bench.Given(Ack, 1, acked);
            }

            return segments;
        }

        Assert.Equal([10, 20, 40], [Round(), Round(), Round()]);

        // The 80 of the next round are all lost.
        Assert.Equal(80, bench.TakeSent().Length);
        bench.AdvanceToNextSegment();
        Assert.Single(bench.TakeSent());
        Assert.Equal(40_000, bench.Connection.GetInfo(bench.NowUs).SsthreshBytes);
        bench.Given(Ack, 1, acked + 80_000);
        int[] rounds = [.. Enumerable.Range(0, 9).Select(_ => Round())];
        Assert.Equal([2, 4, 8, 16, 32], rounds[..5]);
        Assert.Equal(40, rounds[5], 1.0);
        for (int i = 6; i < 9; i++)
        {
            Assert.InRange(rounds[i] - rounds[i - 1], 0, 1);
        }
    }

    [Fact]
    public void A_window_that_did_not_hold_us_back_does_not_grow()
    {
        using TcpBench bench = new TcpBench().Accept();
        for (int i = 0; i < 50; i++)
        {
            bench.Send(1000);
            bench.Given(Ack, 1, 1001 + (i * 1000));
            bench.TakeSentItems();
        }

        Assert.Equal(10_000, bench.Connection.GetInfo(bench.NowUs).CwndBytes);
    }

    [Fact]
    public void After_an_idle_time_the_window_is_the_initial_one_again()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { WindowScaling = true });
        bench.Accept(scale: 7);
        long acked = 1;
        bench.Queue(100_000);
        bench.Poll();
        while (bench.Connection.SendQueueBytes > 0)
        {
            foreach (SentSegment sent in bench.TakeSent())
            {
                acked = sent.Seq + sent.Length;
                bench.Given(Ack, 1, acked);
            }
        }

        Assert.True(bench.Connection.GetInfo(bench.NowUs).CwndBytes > 50_000);
        bench.AdvanceMs(1000);
        bench.Send(50_000);
        Assert.Equal(10, bench.TakeSent().Length);
    }

    // ICMP.

    [Fact]
    public void Fragmentation_needed_makes_segments_shorter_and_sends_what_was_lost_again()
    {
        using TcpBench bench = new TcpBench();
        bench.Accept(mss: 1460);
        bench.Send(4380);
        Assert.Equal(3, bench.TakeSent().Length);
        bench.Tcp.OnIcmpError(TcpBench.Local, TcpBench.Peer, new SeqNumber(bench.Iss + 1), 3, 4, 1000, bench.NowUs);
        bench.Poll();
        Assert.Equal([(1, 960), (961, 960), (1921, 960), (2881, 960), (3841, 540)], bench.TakeSent().Select(sent => ((int)sent.Seq, sent.Length)));
        Assert.True(bench.Connection.GetInfo(bench.NowUs).CwndBytes >= 14_000);
    }

    [Theory]
    [InlineData(1, 68, 512)] // not below 552
    [InlineData(1, 0, 1460)] // says nothing
    [InlineData(1, 1600, 1460)] // no shorter
    [InlineData(0, 1000, 1460)] // not in flight
    [InlineData(2000, 1000, 1460)] // not in flight
    public void A_claim_about_the_path_is_believed_within_reason(int seq, int mtu, int mss)
    {
        using TcpBench bench = new TcpBench();
        bench.Accept(mss: 1460);
        bench.Send(1460);
        bench.TakeSent();
        bench.Tcp.OnIcmpError(TcpBench.Local, TcpBench.Peer, new SeqNumber(bench.Iss + (uint)seq), 3, 4, mtu, bench.NowUs);
        bench.Poll();
        Assert.Equal(mss, bench.Connection.GetInfo(bench.NowUs).Mss);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    public void A_hard_error_refuses_an_open_but_is_a_hint_afterwards(byte code)
    {
        using var bench = new TcpBench();
        TcpConnection connection = bench.Open();
        bench.Tcp.OnIcmpError(TcpBench.Local, TcpBench.Peer, new SeqNumber(bench.Iss + 1), 3, code, 0, bench.NowUs);
        Assert.Equal(TcpState.SynSent, connection.State);
        bench.Tcp.OnIcmpError(TcpBench.Local, TcpBench.Peer, new SeqNumber(bench.Iss), 3, code, 0, bench.NowUs);
        Assert.Equal((TcpState.Closed, TcpError.ConnectionRefused), (connection.State, connection.Error));

        using TcpBench open = new TcpBench(tcp => tcp with { MaxRetransmissions = 2 }).Accept();
        open.Send(100);
        open.Tcp.OnIcmpError(TcpBench.Local, TcpBench.Peer, new SeqNumber(open.Iss + 1), 3, code, 0, open.NowUs);
        Assert.Equal(TcpState.Established, open.Connection.State);
        open.AdvanceMs(10_000);
        Assert.Equal(TcpError.HostUnreachable, open.Connection.Error);
    }

    [Fact]
    public void A_soft_error_only_explains_why_an_open_failed()
    {
        using var bench = new TcpBench();
        TcpConnection connection = bench.Open();
        bench.Tcp.OnIcmpError(TcpBench.Local, TcpBench.Peer, new SeqNumber(bench.Iss), 3, 1, 0, bench.NowUs);
        Assert.Equal(TcpState.SynSent, connection.State);
        bench.AdvanceMs(200_000);
        Assert.Equal(TcpError.HostUnreachable, connection.Error);
    }

    [Fact]
    public void Sequence_numbers_of_what_we_send_wrap_without_a_trace()
    {
        // The clock is part of the initial number: this one begins a little below 2^32.
        uint iss = First();
        using var bench = new TcpBench();
        bench.NowUs += 4L * (uint)(uint.MaxValue - iss - 3000);
        bench.Accept();
        Assert.InRange(bench.Iss, uint.MaxValue - 4000, uint.MaxValue - 2000);
        bench.Send(8000);
        bench.TakeSent();
        bench.Given(Ack, 1, 2001);
        bench.Given(Ack, 1, 2001);
        bench.Given(Ack, 1, 2001);
        bench.Given(Ack, 1, 2001);
        bench.Expect(Ack, 2001, 1, 1000);
        bench.Given(Ack, 1, 5001);
        bench.TakeSent();
        bench.AdvanceToNextSegment();
        bench.Expect(Ack, 5001, 1, 1000);
        bench.Given(Ack, 1, 8001);
        Assert.Equal(0, bench.Connection.SendQueueBytes);
        Assert.Equal([8000], bench.TakeSentItems());

        static uint First()
        {
            using var probe = new TcpBench();
            probe.Accept();
            return probe.Iss;
        }
    }

    private static TcpBench WithTimestamps() => new TcpBench(tcp => tcp with { Timestamps = true }) { PeerTimestamps = true }.Accept();

    private static (long Rtt, long Variance, long Rto) Rtt(TcpBench bench)
    {
        TcpInfo info = bench.Connection.GetInfo(bench.NowUs);
        return (info.RttUs, info.RttVarUs, info.RtoUs);
    }
}
