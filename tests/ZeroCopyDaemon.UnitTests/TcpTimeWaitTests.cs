using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.Net.Tcp.TcpFlags;

namespace ZeroCopyDaemon.UnitTests;

public sealed class TcpTimeWaitTests
{
    [Fact]
    public void It_lasts_twice_the_segment_lifetime()
    {
        using TcpBench bench = InTimeWait();
        bench.AdvanceMs(59_999);
        Assert.Equal(1, bench.Tcp.TimeWaitCount);
        bench.AdvanceMs(1);
        Assert.Equal(0, bench.Tcp.TimeWaitCount);
        Assert.Equal(long.MaxValue, bench.Tcp.NextDeadlineUs);
        bench.ExpectNothing();
    }

    [Fact]
    public void The_FIN_sent_again_is_acknowledged_and_the_time_starts_anew()
    {
        using TcpBench bench = InTimeWait();
        bench.AdvanceMs(50_000);
        bench.Given(Fin | Ack, 1, 2);
        bench.Expect(Ack, 2, 2);
        bench.AdvanceMs(50_000);
        Assert.Equal(1, bench.Tcp.TimeWaitCount);
        bench.AdvanceMs(10_000);
        Assert.Equal(0, bench.Tcp.TimeWaitCount);
    }

    [Fact]
    public void Old_data_is_acknowledged_and_released()
    {
        using TcpBench bench = InTimeWait();
        bench.Given(Ack, 1, 1, 500);
        bench.Expect(Ack, 2, 2);
        bench.Given(Ack, 1, 2);
        bench.Expect(Ack, 2, 2);
        bench.Given(Ack, 1, 2);
        bench.ExpectNothing();
        bench.Given(Ack, 2, 2);
        bench.ExpectNothing();
        bench.AssertClean();
    }

    [Fact]
    public void RST_does_not_shorten_it()
    {
        using TcpBench bench = InTimeWait();
        bench.Given(Rst, 2);
        bench.ExpectNothing();
        Assert.Equal(1, bench.Tcp.TimeWaitCount);
    }

    [Theory]
    [InlineData(3, true)]
    [InlineData(100_000, true)]
    [InlineData(2, false)]
    [InlineData(1, false)]
    [InlineData(-100, false)]
    public void Without_timestamps_a_SYN_above_the_old_numbers_opens_anew(int seq, bool opens)
    {
        using TcpBench bench = InTimeWait();
        uint old = bench.Iss;
        bench.Given(Syn, seq);
        SentSegment answer = Assert.Single(bench.TakeSent());
        if (!opens)
        {
            Assert.Equal((Ack, 2L, 2L), (answer.Flags, answer.Seq, answer.Ack));
            return;
        }

        Assert.Equal((Syn | Ack, seq + 1L), (answer.Flags, answer.Ack));
        Assert.True(new SeqNumber(bench.Iss) > new SeqNumber(old + 2));
        Assert.Equal((0, 1), (bench.Tcp.TimeWaitCount, bench.Tcp.Counters.TimeWaitReused));
        bench.Given(Ack, seq + 1, 1);
        Assert.Equal(TcpEvents.Accepted, bench.TakeEvents());
    }

    [Theory]
    [InlineData(1, -100_000, true)]
    [InlineData(0, 3, true)]
    [InlineData(0, 1, false)]
    [InlineData(-1, 100_000, false)]
    public void With_timestamps_a_later_one_opens_anew_whatever_the_sequence_number(int later, int seq, bool opens)
    {
        using TcpBench bench = InTimeWait(timestamps: true);
        bench.Given(Syn, seq, timestamp: bench.PeerTimestamp + (uint)later);
        Assert.Equal(opens ? Syn | Ack : Ack, Assert.Single(bench.TakeSent()).Flags);
    }

    [Fact]
    public void Answers_carry_timestamps_if_the_connection_did()
    {
        using TcpBench bench = InTimeWait(timestamps: true);
        uint last = bench.OurTimestamp;
        bench.AdvanceMs(100);
        bench.Given(Fin | Ack, 1, 2);
        SentSegment answer = bench.Expect(Ack, 2, 2);
        Assert.True(answer.Options.HasTimestamp);
        Assert.Equal(last + 100, answer.Options.TimestampValue);
    }

    [Fact]
    public void An_old_duplicate_of_the_FIN_does_not_prolong_it()
    {
        using TcpBench bench = InTimeWait(timestamps: true);
        bench.AdvanceMs(30_000);
        bench.Given(Fin | Ack, 1, 2, timestamp: bench.PeerTimestamp - 40_000);
        bench.AdvanceMs(30_000);
        Assert.Equal(0, bench.Tcp.TimeWaitCount);
    }

    [Fact]
    public void A_new_SYN_does_not_open_if_nobody_listens_any_more()
    {
        using TcpBench bench = InTimeWait();
        bench.Listener!.Close(bench.NowUs);
        bench.Given(Syn, 100_000);
        bench.Expect(Rst | Ack, -(long)bench.Iss, 100_001);
        Assert.Equal(1, bench.Tcp.TimeWaitCount);
    }

    [Fact]
    public void We_may_open_anew_ourselves_above_the_old_numbers()
    {
        using TcpBench bench = InTimeWait();
        uint old = bench.Iss;
        bench.Open();
        bench.Expect(Syn, 0);
        Assert.True(new SeqNumber(bench.Iss) > new SeqNumber(old + 2));
        Assert.Equal(0, bench.Tcp.TimeWaitCount);
    }

    [Fact]
    public void The_next_incarnations_numbers_are_above_even_if_the_old_ones_ran_ahead_of_the_clock()
    {
        using TcpBench bench = new TcpBench().Accept();
        for (int sent = 0; sent < 2_000_000;)
        {
            bench.Queue(1000);
            bench.Poll();
            sent += 1000;
            bench.Given(Ack, 1, 1 + sent);
            bench.TakeSentItems();
        }

        bench.TakeSent();
        bench.Connection.Close(bench.NowUs);
        bench.Poll();
        SentSegment fin = Assert.Single(bench.TakeSent());
        bench.Given(Fin | Ack, 1, fin.Seq + 1);
        bench.TakeSent();
        uint old = bench.Iss;
        bench.Given(Syn, 5);
        Assert.True(new SeqNumber(bench.Iss) > new SeqNumber(old + 2_000_002));
    }

    [Fact]
    public void Beyond_the_limit_the_oldest_goes()
    {
        var comparer = new FlowKeyComparer(new SipHash(1));
        var table = new TimeWaitTable(3, 1000, comparer);
        for (ushort port = 1; port <= 5; port++)
        {
            table.Add(Flow(port), new TimeWaitEntry { SndNxt = new SeqNumber(port) }, port);
        }

        Assert.Equal((3, 2L), (table.Count, table.Evicted));
        Assert.False(table.Contains(Flow(2)));
        Assert.True(table.TryFind(Flow(3), out int slot));
        Assert.Equal(3u, table[slot].SndNxt.Value);
        table.Restart(slot, 6);
        Assert.Equal(1004, table.NextDeadlineUs);
        table.Expire(1005);
        Assert.Equal((1, 1006L), (table.Count, table.NextDeadlineUs));
        table.Add(Flow(3), default, 7);
        Assert.Equal((1, 1007L), (table.Count, table.NextDeadlineUs));
        table.Remove(Flow(3));
        Assert.Equal((0, long.MaxValue), (table.Count, table.NextDeadlineUs));
    }

    [Fact]
    public void The_table_allocates_nothing_once_it_has_its_size()
    {
        var table = new TimeWaitTable(64, 1000, new FlowKeyComparer(new SipHash(1)));
        Churn(0, 1000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Churn(1000, 10_000);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(64, table.Count);

        void Churn(int from, int to)
        {
            for (int i = from; i < to; i++)
            {
                table.Add(Flow((ushort)i), default, i);
                table.Remove(Flow((ushort)(i - 5)));
                table.Add(Flow((ushort)(i - 5)), default, i);
            }
        }
    }

    private static FlowKey Flow(ushort port) => new(TcpBench.Local, new IpEndpoint(TcpBench.Peer.Address, port));

    private static TcpBench InTimeWait(bool timestamps = false)
    {
        var bench = new TcpBench(tcp => tcp with { Timestamps = timestamps }) { PeerTimestamps = timestamps };
        bench.Accept();
        bench.Connection.Close(bench.NowUs);
        bench.Poll();
        bench.Given(Fin | Ack, 1, 2);
        bench.TakeSent();
        bench.TakeEvents();
        Assert.Equal(1, bench.Tcp.TimeWaitCount);
        return bench;
    }
}
