using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.Net.Tcp.TcpFlags;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>The receiver's part of selective acknowledgment: what is offered in SYNs, and what is told of out-of-order (RFC 2018) and duplicate data (RFC 2883).</summary>
public sealed class TcpSackReceiveTests
{
    [Theory]
    [InlineData(true, true, true)]
    [InlineData(true, false, false)]
    [InlineData(false, true, false)]
    public void SACK_is_permitted_in_the_SYN_ACK_if_the_SYN_permits_it(bool ours, bool theirs, bool expected)
    {
        using var bench = new TcpBench(tcp => tcp with { Sack = ours });
        bench.Listen();
        bench.Given(Syn, 0, options: TcpBench.SynOptions(sack: theirs));
        Assert.Equal(expected, bench.Expect(Syn | Ack, 0, 1).Options.SackPermitted);
        bench.Given(Ack, 1, 1);
        bench.Given(Ack, 1001, 1, 100);
        Assert.Equal(expected ? 1 : 0, bench.SackOf(bench.Expect(Ack, 1, 1)).Length);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Our_SYN_permits_SACK_if_the_settings_do(bool sack)
    {
        using var bench = new TcpBench(tcp => tcp with { Sack = sack });
        bench.Open();
        Assert.Equal(sack, bench.Expect(Syn, 0).Options.SackPermitted);
    }

    [Fact]
    public void The_block_that_was_added_to_last_comes_first()
    {
        using TcpBench bench = Accept();
        Assert.Equal([(2001L, 3001L)], Gap(bench, 2001));
        Assert.Equal([(4001L, 5001L), (2001L, 3001L)], Gap(bench, 4001));
        Assert.Equal([(6001L, 7001L), (4001L, 5001L), (2001L, 3001L)], Gap(bench, 6001));
        Assert.Equal([(4001L, 7001L), (2001L, 3001L)], Gap(bench, 5001));
        Assert.Equal([(2001L, 3501L), (4001L, 7001L)], Gap(bench, 3001, 500));
    }

    [Theory]
    [InlineData(false, 4)]
    [InlineData(true, 3)]
    public void As_many_blocks_are_told_of_as_fit_beside_the_timestamps(bool timestamps, int blocks)
    {
        using TcpBench bench = Accept(timestamps);
        for (int i = 0; i < 6; i++)
        {
            bench.Given(Ack, 2001 + (2000 * i), 1, 1000);
        }

        SentSegment last = bench.TakeSent()[^1];
        Assert.Equal([.. Enumerable.Range(0, blocks).Select(i => (12_001L - (2000 * i), 13_001L - (2000 * i)))], bench.SackOf(last));
        Assert.Equal(timestamps, last.Options.HasTimestamp);
    }

    [Fact]
    public void A_filled_gap_is_told_of_no_more()
    {
        using TcpBench bench = Accept();
        Gap(bench, 2001);
        Gap(bench, 4001);
        bench.Given(Ack, 1, 1, 2000);
        Assert.Equal([(4001L, 5001L)], bench.SackOf(bench.Expect(Ack, 1, 3001)));
        bench.Given(Ack, 3001, 1, 1000);
        Assert.Empty(bench.SackOf(bench.Expect(Ack, 1, 5001)));
    }

    [Fact]
    public void What_was_dropped_again_to_make_room_is_told_of_no_more()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { Sack = true, ReceiveQuotaBytes = 4 * 2048 }, pageSize: 2048).Accept();
        Gap(bench, 2001);
        Gap(bench, 3001);
        bench.Given(Ack, 1, 1, 1000);
        bench.TakeSent();

        // Pages for the third fragment there are, but not for a fourth.
        for (int i = 0; i < 3; i++)
        {
            bench.Given(Ack, 1001 + (100 * i), 1, 100);
        }

        Assert.All(bench.TakeSent(), sent => Assert.True(bench.SackOf(sent).All(block => block.Right > sent.Ack)));
        Assert.True(bench.Drops[DropReason.TCP_OFO_QUEUE_PRUNE] > 0);
        bench.Given(Ack, 5001, 1, 0);
        Assert.All(bench.TakeSent(), sent => Assert.Empty(bench.SackOf(sent)));
    }

    [Fact]
    public void Text_carries_the_report_where_there_is_room_and_full_segments_go_without()
    {
        using TcpBench bench = Accept();
        Gap(bench, 2001);
        bench.Send(1000);
        Assert.Empty(bench.SackOf(bench.Expect(Ack, 1, 1, 1000)));
        bench.Send(500);
        Assert.Equal([(2001L, 3001L)], bench.SackOf(bench.Expect(Ack, 1001, 1, 500)));
    }

    [Fact]
    public void Sequence_numbers_in_blocks_wrap()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { Sack = true }, irs: uint.MaxValue - 2500).Accept();
        Assert.Equal([(2001L, 3001L)], Gap(bench, 2001));
        Assert.Equal([(2001L, 4001L)], Gap(bench, 3001));
        bench.Given(Ack, 1, 1, 2000);
        Assert.Empty(bench.SackOf(bench.Expect(Ack, 1, 4001)));
    }

    // Duplicates.

    [Fact]
    public void A_segment_that_comes_again_is_told_of_once()
    {
        using TcpBench bench = Accept();
        bench.Given(Ack, 1, 1, 1000);
        bench.TakeSent();
        bench.Given(Ack, 1, 1, 1000);
        Assert.Equal([(1L, 1001L)], bench.SackOf(bench.Expect(Ack, 1, 1001)));
        bench.Given(Ack, 1001, 1, 1000);
        bench.AdvanceMs(500);
        Assert.Empty(bench.SackOf(bench.Expect(Ack, 1, 2001)));
        Assert.Equal((1L, 0L), (bench.Tcp.Counters.DsackOldSent, bench.Tcp.Counters.DsackOfoSent));
    }

    [Fact]
    public void A_segment_that_comes_half_again_is_acknowledged_at_once_with_the_half()
    {
        using TcpBench bench = Accept();
        bench.GivenStream(1, 20);
        bench.Given(Ack, 19_501, 1, 1000);
        Assert.Equal([(19_501L, 20_001L)], bench.SackOf(bench.Expect(Ack, 1, 20_501)));
    }

    [Fact]
    public void Data_out_of_order_that_comes_again_is_told_of_before_the_block_that_has_it()
    {
        // RFC 2883 section 4.2.1, and 4.2.2 with a partial duplicate.
        using TcpBench bench = Accept();
        Gap(bench, 2001);
        Gap(bench, 3001);
        Gap(bench, 6001);
        Assert.Equal([(2001L, 3001L), (2001L, 4001L), (6001L, 7001L)], Gap(bench, 2001));
        Assert.Equal([(3501L, 4001L), (2001L, 4501L), (6001L, 7001L)], Gap(bench, 3501));
        Assert.Equal([(2001L, 4501L), (1501L, 5001L), (6001L, 7001L)], Gap(bench, 1501, 3500));
        Assert.Equal((0L, 3L), (bench.Tcp.Counters.DsackOldSent, bench.Tcp.Counters.DsackOfoSent));
    }

    [Fact]
    public void A_duplicate_below_a_gap_is_told_of_before_what_is_above_it()
    {
        // RFC 2883 section 4.1.2.
        using TcpBench bench = Accept();
        bench.GivenStream(1, 2);
        Gap(bench, 3001, 1000, ack: 2001);
        Assert.Equal([(1L, 1001L), (3001L, 4001L)], Gap(bench, 1, 1000, ack: 2001));
        Assert.Equal([(5001L, 6001L), (3001L, 4001L)], Gap(bench, 5001, 1000, ack: 2001));
    }

    [Fact]
    public void A_segment_that_fills_a_gap_and_has_more_which_was_there_already_is_told_of_by_half()
    {
        using TcpBench bench = Accept();
        bench.GivenStream(1, 2);
        Gap(bench, 4001, 1000, ack: 2001);
        Gap(bench, 3501, 1000, ack: 2001);
        bench.TakeSent();
        bench.Given(Ack, 2001, 1, 2000);
        Assert.Equal([(3501L, 4001L)], bench.SackOf(bench.Expect(Ack, 1, 5001)));
    }

    [Fact]
    public void Without_SACK_nothing_is_told()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Ack, 2001, 1, 1000);
        bench.Given(Ack, 2001, 1, 1000);
        bench.Given(Ack, 1, 1, 500);
        bench.Given(Ack, 1, 1, 500);
        Assert.All(bench.TakeSent(), sent => Assert.Equal(0, sent.Options.Sack.Count));
    }

    private static TcpBench Accept(bool timestamps = false) => new TcpBench(tcp => tcp with { Sack = true, Timestamps = timestamps }) { PeerTimestamps = timestamps }.Accept();

    /// <summary>A segment that isn't the next one; what is told at once.</summary>
    private static (long Left, long Right)[] Gap(TcpBench bench, long seq, int length = 1000, long ack = 1)
    {
        bench.Given(Ack, seq, 1, length);
        (long, long)[] blocks = bench.SackOf(bench.Expect(Ack, 1, ack));
        bench.ExpectNothing();
        return blocks;
    }
}
