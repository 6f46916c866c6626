using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.Net.Tcp.TcpFlags;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>The peer's window is closed, or too small.</summary>
public sealed class TcpPersistTests
{
    [Fact]
    public void A_closed_window_is_probed_by_one_byte_with_backoff_up_to_a_minute()
    {
        using TcpBench bench = Closed();
        var intervals = new List<long>();
        for (int i = 0; i < 12; i++)
        {
            intervals.Add(bench.AdvanceToNextSegment() / 1000);
            bench.Expect(Ack, 1001, 1, 1);
            bench.Given(Ack, 1, 1001, window: 0);
            bench.ExpectNothing();
        }

        Assert.Equal([200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000, 60_000], intervals);
        Assert.Equal(12, bench.Tcp.Counters.WindowProbes);
    }

    [Fact]
    public void A_peer_that_answers_is_never_given_up()
    {
        using TcpBench bench = Closed();
        for (int i = 0; i < 200; i++)
        {
            bench.AdvanceToNextSegment();
            bench.TakeSent();
            bench.Given(Ack, 1, 1001, window: 0);
        }

        Assert.Equal(TcpState.Established, bench.Connection.State);
    }

    [Fact]
    public void A_peer_that_does_not_answer_is_given_up()
    {
        using TcpBench bench = Closed(tcp => tcp with { MaxRetransmissions = 6 });
        for (int i = 0; i < 6; i++)
        {
            bench.AdvanceToNextSegment();
            bench.Expect(Ack, 1001, 1, 1);
        }

        bench.AdvanceMs(120_000);
        bench.ExpectNothing();
        Assert.Equal(TcpError.TimedOut, bench.Connection.Error);
        bench.TakeSentItems();
        bench.TakeEvents();
        bench.AssertClean();
    }

    [Fact]
    public void When_the_window_opens_the_probes_byte_goes_again_with_the_rest()
    {
        using TcpBench bench = Closed();
        bench.AdvanceToNextSegment();
        bench.Expect(Ack, 1001, 1, 1);
        bench.Given(Ack, 1, 1001, window: 5000);
        bench.Expect(Ack, 1001, 1, 1000);
        bench.Given(Ack, 1, 2001, window: 5000);
        bench.AdvanceMs(60_000);
        bench.ExpectNothing();
        Assert.Equal(0, bench.Connection.SendQueueBytes);
    }

    [Fact]
    public void A_probe_that_is_taken_counts()
    {
        using TcpBench bench = Closed();
        bench.AdvanceToNextSegment();
        bench.Expect(Ack, 1001, 1, 1);
        bench.Given(Ack, 1, 1002, window: 0);
        bench.AdvanceToNextSegment();
        bench.Expect(Ack, 1002, 1, 1);
        bench.Given(Ack, 1, 1003, window: 2000);
        bench.Expect(Ack, 1003, 1, 998);
    }

    [Fact]
    public void A_window_too_small_for_a_sensible_segment_is_used_after_a_while()
    {
        using TcpBench bench = new TcpBench();
        bench.Accept(window: 2000);
        bench.Send(4000);
        bench.TakeSent();
        bench.Given(Ack, 1, 2001, window: 300);
        bench.ExpectNothing();
        Assert.Equal(200_000, bench.AdvanceToNextSegment());
        bench.Expect(Ack, 2001, 1, 300);
        bench.Given(Ack, 1, 2301, window: 300);
        bench.ExpectNothing();
        bench.AdvanceToNextSegment();
        bench.Expect(Ack, 2301, 1, 300);
    }

    [Fact]
    public void Data_lost_when_the_window_closed_is_probed_for_and_sent_again_when_it_opens()
    {
        using TcpBench bench = new TcpBench();
        bench.Accept(window: 3000);
        bench.Send(3000);
        bench.TakeSent();
        bench.Given(Ack, 1, 1001, window: 0);
        bench.AdvanceToNextSegment();
        bench.Expect(Ack, 1001, 1, 1);
        for (int i = 0; i < 40; i++)
        {
            bench.Given(Ack, 1, 1001, window: 0);
            bench.AdvanceToNextSegment();
            bench.Expect(Ack, 1001, 1, 1);
        }

        bench.Given(Ack, 1, 1001, window: 3000);
        bench.Expect(Ack, 1001, 1, 1000);
    }

    [Fact]
    public void Our_acknowledgments_are_within_the_closed_window_while_a_probe_is_out()
    {
        using TcpBench bench = Closed();
        bench.AdvanceToNextSegment();
        bench.Expect(Ack, 1001, 1, 1);
        bench.Given(Ack, 1, 1001, 1000, window: 0);
        bench.Expect(Ack, 1001, 1001);
    }

    [Fact]
    public void A_reset_is_within_the_closed_window_while_a_probe_is_out()
    {
        using TcpBench bench = Closed();
        bench.AdvanceToNextSegment();
        bench.Expect(Ack, 1001, 1, 1);
        bench.Connection.Abort(bench.NowUs);
        bench.Expect(Rst | Ack, 1001, 1);
    }

    [Fact]
    public void A_lost_window_update_is_made_up_for_by_the_answer_to_a_probe()
    {
        using TcpBench bench = TcpBench.WithWindowOf1000();
        bench.Given(Ack, 1, 1, 1000);
        bench.AdvanceMs(40);
        bench.Receive();
        bench.Poll();
        Assert.Equal(1000, bench.TakeSent()[^1].Window);

        // What the peer never heard: it probes, below and at the edge.
        bench.Given(Ack, 1000, 1);
        Assert.Equal(1000, bench.Expect(Ack, 1, 1001).Window);
        bench.Given(Ack, 1001, 1, 1);
        bench.AdvanceMs(40);
        Assert.Equal(1002, bench.TakeSent()[^1].Ack);
    }

    [Fact]
    public void A_probe_that_can_not_be_sent_is_sent_later()
    {
        using TcpBench bench = Closed();
        bench.Room = 0;
        bench.AdvanceMs(500);
        bench.Room = int.MaxValue;
        bench.Poll();
        bench.Expect(Ack, 1001, 1, 1);
        bench.Given(Ack, 1, 1001, window: 0);
        bench.Answer = Net.Ip.IpSendResult.Unreachable;
        bench.AdvanceMs(3_000);
        bench.Answer = Net.Ip.IpSendResult.Sent;
        bench.AdvanceToNextSegment();
        bench.Expect(Ack, 1001, 1, 1);
    }

    private static TcpBench Closed(Func<TcpOptions, TcpOptions>? configure = null)
    {
        var bench = new TcpBench(configure);
        bench.Accept();
        bench.Queue(1000);
        bench.Queue(1000);
        bench.PeerWindow = 1000;
        bench.Given(Ack, 1, 1);
        bench.Expect(Ack, 1, 1, 1000);
        bench.Given(Ack, 1, 1001, window: 0);
        bench.ExpectNothing();
        return bench;
    }
}
