using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.Net.Tcp.TcpFlags;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Which segments are taken in: sequence numbers, acknowledgments, RST and SYN as RFC 5961 has them, timestamps.</summary>
public sealed class TcpAcceptabilityTests
{
    private const int Window = 65535;

    /// <summary>RFC 9293 section 3.4, table 6, with RCV.NXT = 1 and a window of 65535 bytes.</summary>
    [Theory]
    [InlineData(1, 0, true)]
    [InlineData(Window, 0, true)]
    [InlineData(Window + 1, 0, true)]
    [InlineData(Window + 2, 0, false)]
    [InlineData(0, 0, false)]
    [InlineData(-1000, 0, false)]
    [InlineData(1, 100, true)]
    [InlineData(-99, 100, false)]
    [InlineData(-98, 100, true)]
    [InlineData(Window, 100, true)]
    [InlineData(Window + 1, 100, false)]
    [InlineData(-500, 1000, true)]
    public void A_segment_is_acceptable_if_it_touches_the_window(int seq, int length, bool acceptable)
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Send(100);
        bench.Expect(Ack, 1, 1, 100);

        // What is acceptable has its acknowledgment looked at.
        bench.Given(Ack, seq, 101, length, fill: 0);
        Assert.Equal(acceptable ? 0 : 100, bench.Connection.SendQueueBytes);
        if (!acceptable)
        {
            bench.Expect(Ack, 101, 1);
            bench.ExpectNothing();
        }
    }

    [Theory]
    [InlineData(1, 0, true)]
    [InlineData(2, 0, false)]
    [InlineData(0, 0, false)]
    [InlineData(1, 1, true)]
    [InlineData(2, 1, false)]
    [InlineData(0, 1, false)]
    public void With_the_window_closed_only_what_stands_at_its_edge_is_acceptable_and_none_of_its_text(int offset, int length, bool acceptable)
    {
        using TcpBench bench = TcpBench.WithWindowOf1000();
        bench.Given(Ack, 1, 1, 1000);
        bench.AdvanceMs(50);
        Assert.Equal(0, bench.Expect(Ack, 1, 1001).Window);
        bench.Send(100);
        bench.Expect(Ack, 1, 1001, 100);
        bench.Given(Ack, 1000 + offset, 101, length);
        Assert.Equal(acceptable ? 0 : 100, bench.Connection.SendQueueBytes);
        Assert.Equal(1000, bench.Connection.ReadableBytes);
        if (!acceptable || length > 0)
        {
            Assert.Equal(0, bench.Expect(Ack, 101, 1001).Window);
        }

        bench.ExpectNothing();
    }

    [Fact]
    public void Acknowledgments_of_empty_segments_out_of_the_window_are_limited_so_that_two_ends_can_not_keep_each_other_busy()
    {
        using TcpBench bench = new TcpBench().Accept();
        for (int i = 0; i < 100; i++)
        {
            bench.Given(Ack, 100_000, 1);
        }

        Assert.Single(bench.TakeSent());
        bench.AdvanceMs(500);
        bench.Given(Ack, 100_000, 1);
        bench.Expect(Ack, 1, 1);
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(2, true)]
    [InlineData(Window, true)]
    public void RST_exactly_at_the_next_number_resets_and_elsewhere_in_the_window_is_challenged(int seq, bool challenged)
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Rst, seq);
        if (challenged)
        {
            bench.Expect(Ack, 1, 1);
            Assert.Equal((TcpState.Established, 1L), (bench.Connection.State, bench.Tcp.Counters.ChallengeAck));
        }
        else
        {
            Assert.Equal(TcpEvents.Failed | TcpEvents.Closed, bench.TakeEvents());
            Assert.Equal(TcpError.ConnectionReset, bench.Connection.Error);
            bench.AssertClean();
        }

        bench.ExpectNothing();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-100)]
    [InlineData(Window + 1)]
    [InlineData(Window + 2)]
    public void RST_outside_the_window_is_ignored_in_silence(int seq)
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Rst, seq);
        bench.ExpectNothing();
        Assert.Equal(TcpState.Established, bench.Connection.State);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(5000)]
    [InlineData(-70_000)]
    [InlineData(100_000)]
    public void SYN_on_a_connection_is_challenged_wherever_it_stands(int seq)
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Syn, seq);
        bench.Expect(Ack, 1, 1);
        bench.Given(Syn | Ack, seq, 1);
        bench.Expect(Ack, 1, 1);
        bench.ExpectNothing();
        Assert.Equal(TcpState.Established, bench.Connection.State);
    }

    [Fact]
    public void Challenges_are_limited_for_all_connections_together_by_a_number_that_changes()
    {
        using TcpBench bench = new TcpBench().Accept();
        int first = Challenges(), second = Challenges();
        Assert.InRange(first, 500, 1500);
        Assert.InRange(second, 500, 1500);
        Assert.NotEqual(first, second);

        int Challenges()
        {
            bench.AdvanceMs(1000);
            for (int i = 0; i < 2000; i++)
            {
                bench.Given(Rst, 2);
            }

            return bench.TakeSent().Length;
        }
    }

    [Fact]
    public void An_acknowledgment_of_what_was_never_sent_is_challenged_and_the_segment_dropped()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Ack, 1, 2, 10);
        bench.Expect(Ack, 1, 1);
        Assert.Equal(0, bench.Connection.ReadableBytes);
        Assert.Equal(1, bench.Drops[DropReason.TCP_INVALID_ACK_SEQUENCE]);
    }

    [Fact]
    public void A_FIN_in_a_segment_that_is_dropped_for_its_acknowledgment_means_nothing()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Fin | Ack, 5, 1000);
        bench.TakeSent();
        bench.Given(Ack, 1, 1, 4);
        bench.Given(Ack, 5, 1, 100);
        Assert.Equal(104, bench.Connection.ReadableBytes);
        Assert.False(bench.Connection.PeerClosed);
    }

    [Fact]
    public void An_acknowledgment_older_than_the_largest_window_is_challenged()
    {
        using TcpBench bench = new TcpBench();
        bench.Accept(window: 3000);
        bench.Send(3000);
        bench.Given(Ack, 1, 3001, window: 3000);
        bench.Send(3000);
        bench.Given(Ack, 1, 6001, window: 3000);
        bench.TakeSent();
        bench.Given(Ack, 1, 3001, 10, window: 3000);
        Assert.Equal(10, bench.Connection.ReadableBytes);
        bench.TakeSent();
        bench.Given(Ack, 11, 3000, 10, window: 3000);
        bench.Expect(Ack, 6001, 11);
        Assert.Equal(10, bench.Connection.ReadableBytes);
    }

    [Fact]
    public void A_segment_without_ACK_is_dropped()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(None, 1, 0, 10);
        bench.Given(Fin, 1, 0);
        bench.ExpectNothing();
        Assert.Equal((0L, false), (bench.Connection.ReadableBytes, bench.Connection.PeerClosed));
        Assert.Equal(2, bench.Drops[DropReason.TCP_FLAGS]);
    }

    // Timestamps.

    [Fact]
    public void An_old_timestamp_is_acknowledged_and_its_segment_dropped()
    {
        using TcpBench bench = Timestamps();
        bench.AdvanceMs(100);
        bench.Given(Ack, 1, 1, 10);
        bench.Given(Ack, 11, 1, 10, timestamp: bench.PeerTimestamp - 1);
        Assert.Equal((11L, 11u), (bench.TakeSent()[^1].Ack, bench.Connection.GetInfo(bench.NowUs).RcvNxt - bench.Irs));
        Assert.Equal((1L, 1L), (bench.Drops[DropReason.TCP_RFC7323_PAWS], bench.Tcp.Counters.PawsEstab));
        bench.Given(Ack, 11, 1, 10, timestamp: bench.PeerTimestamp);
        Assert.Equal(20, bench.Connection.ReadableBytes);
    }

    [Fact]
    public void Timestamps_may_wrap()
    {
        using TcpBench bench = Timestamps(peerClock: uint.MaxValue - 10);
        bench.AdvanceMs(5);
        bench.Given(Ack, 1, 1, 10);
        bench.AdvanceMs(20);
        bench.Given(Ack, 11, 1, 10);
        Assert.Equal(20, bench.Connection.ReadableBytes);
        bench.Given(Ack, 21, 1, 10, timestamp: uint.MaxValue - 5);
        Assert.Equal(20, bench.Connection.ReadableBytes);
    }

    [Fact]
    public void RST_is_not_held_to_its_timestamp()
    {
        using TcpBench bench = Timestamps();
        bench.AdvanceMs(100);
        bench.Given(Ack, 1, 1, 10);
        bench.Given(Rst, 11, timestamp: 1);
        Assert.Equal(TcpState.Closed, bench.Connection.State);
    }

    [Fact]
    public void A_segment_without_the_agreed_timestamp_is_dropped_in_silence()
    {
        using TcpBench bench = Timestamps();
        bench.PeerTimestamps = false;
        bench.Given(Ack, 1, 1, 10);
        bench.ExpectNothing();
        Assert.Equal(0, bench.Connection.ReadableBytes);
        bench.Given(Rst, 1);
        Assert.Equal(TcpState.Closed, bench.Connection.State);
    }

    [Fact]
    public void After_24_days_of_silence_a_timestamp_may_be_anything()
    {
        using TcpBench bench = Timestamps();
        bench.NowUs += 25L * 24 * 3600 * 1_000_000;
        bench.Given(Ack, 1, 1, 10, timestamp: 3);
        Assert.Equal(10, bench.Connection.ReadableBytes);
        bench.Given(Ack, 11, 1, 10, timestamp: 2);
        Assert.Equal(10, bench.Connection.ReadableBytes);
    }

    [Fact]
    public void What_is_echoed_is_the_timestamp_of_the_first_segment_not_acknowledged_and_not_of_one_ahead()
    {
        using TcpBench bench = Timestamps();
        bench.GivenStream(1, 16, 100);
        bench.AdvanceMs(1000);
        uint first = bench.PeerTimestamp;
        bench.Given(Ack, 1601, 1, 100);
        bench.ExpectNothing();
        bench.AdvanceMs(10);

        // Delayed acknowledgment: the second segment is not the one that is echoed (RFC 7323 section 4.3).
        bench.Given(Ack, 1701, 1, 500);
        bench.Given(Ack, 2201, 1, 500);
        Assert.Equal(first, bench.Expect(Ack, 1, 2701).Options.TimestampEcho);
        bench.AdvanceMs(10);

        // A gap: what is ahead of it is not echoed.
        bench.Given(Ack, 3000, 1, 10);
        Assert.Equal(first, bench.Expect(Ack, 1, 2701).Options.TimestampEcho);
        bench.AdvanceMs(10);
        uint filling = bench.PeerTimestamp;
        bench.Given(Ack, 2701, 1, 299);
        Assert.Equal(filling, bench.Expect(Ack, 1, 3010).Options.TimestampEcho);
    }

    [Fact]
    public void A_RST_or_SYN_that_is_challenged_leaves_no_timestamp_behind()
    {
        using TcpBench bench = Timestamps();
        bench.Given(Syn, 1, timestamp: bench.PeerTimestamp + 1_000_000);
        bench.Given(Rst, 2, timestamp: bench.PeerTimestamp + 1_000_000);
        bench.Given(Ack, 1, 1, 10);
        Assert.Equal(10, bench.Connection.ReadableBytes);
    }

    private static TcpBench Timestamps(uint peerClock = 777)
    {
        var bench = new TcpBench(tcp => tcp with { Timestamps = true }) { PeerTimestamps = true };
        bench.PeerTimestampOffset = peerClock - (uint)(bench.NowUs / 1000);
        return bench.Accept();
    }
}
