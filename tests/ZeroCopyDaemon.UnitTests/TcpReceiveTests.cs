using CsCheck;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.Net.Tcp.TcpFlags;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Payload on its way to the application: order, overlaps, receives, acknowledgments.</summary>
public sealed class TcpReceiveTests
{
    [Fact]
    public void Two_1000_byte_writes_come_out_of_one_2000_byte_receive()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Ack | Psh, 1, 1, 1000);
        bench.Given(Ack | Psh, 1001, 1, 1000);
        Assert.Equal(2000, bench.Connection.ReadableBytes);
        Assert.Equal([1000, 1000], bench.Receive(2000));
        Assert.Equal(0, bench.Connection.ReadableBytes);
    }

    [Fact]
    public void A_receive_splits_the_last_fragment_and_leaves_the_rest()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Ack, 1, 1, 1000);
        bench.Given(Ack, 1001, 1, 1000);
        Assert.Equal([1000, 500], bench.Receive(1500));
        Assert.Equal([1], bench.Receive(1));
        Assert.Equal([499], bench.Receive(5000));
        Assert.Equal([], bench.Receive(5000));
        bench.Given(Ack, 2001, 1, 300);
        Assert.Equal([100], bench.Receive(100));
        bench.Given(Ack, 2301, 1, 300);
        Assert.Equal([200, 300], bench.Receive());
    }

    [Fact]
    public void A_receive_takes_no_more_fragments_than_it_was_told()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.GivenStream(1, 10, 100);
        Assert.Equal([100, 100, 100], bench.Receive(1000, maxFragments: 3));
        Assert.Equal([100, 50], bench.Receive(150, maxFragments: 3));
        Assert.Equal([], bench.Receive(150, maxFragments: 0));
        Assert.Equal([], bench.Receive(0));
        Assert.Equal([50, 100, 100, 100, 100, 100], bench.Receive());
    }

    [Fact]
    public void A_segment_in_several_pages_is_a_chain_of_fragments()
    {
        using var bench = new TcpBench(pageSize: 2048) { Mtu = 9000 };
        bench.Accept(mss: 8960);
        bench.Given(Ack, 1, 1, 8960);
        Assert.Equal([2048, 2048, 2048, 2048, 768], bench.Receive());
    }

    [Fact]
    public void What_is_ahead_of_a_gap_waits_until_the_gap_is_filled()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Ack, 1001, 1, 1000);
        bench.Expect(Ack, 1, 1);
        bench.Given(Ack, 3001, 1, 500);
        bench.Expect(Ack, 1, 1);
        Assert.Equal((0L, 2), (bench.Connection.ReadableBytes, bench.Connection.GetInfo(bench.NowUs).OutOfOrderFragments));
        Assert.Equal(TcpEvents.None, bench.TakeEvents());
        bench.Given(Ack, 1, 1, 1000);
        bench.Expect(Ack, 1, 2001);
        Assert.Equal(TcpEvents.Readable, bench.TakeEvents());
        Assert.Equal([1000, 1000], bench.Receive());
        bench.Given(Ack, 2001, 1, 1000);
        bench.Expect(Ack, 1, 3501);
        Assert.Equal([1000, 500], bench.Receive());
    }

    [Fact]
    public void Duplicates_are_acknowledged_at_once_and_delivered_once()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Ack, 1, 1, 1000);
        bench.Expect(Ack, 1, 1001);
        bench.Given(Ack, 1, 1, 1000);
        bench.Expect(Ack, 1, 1001);
        bench.Given(Ack, 501, 1, 500);
        bench.Expect(Ack, 1, 1001);
        bench.Given(Ack, 2001, 1, 100);
        bench.Given(Ack, 2001, 1, 100);
        Assert.Equal(2, bench.TakeSent().Length);
        Assert.Equal([1000], bench.Receive());
        Assert.Equal(1, bench.Connection.GetInfo(bench.NowUs).OutOfOrderFragments);
    }

    [Fact]
    public void An_overlap_with_what_was_received_is_trimmed_off_the_front()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Ack, 1, 1, 1000);
        bench.Given(Ack, 501, 1, 1000);
        Assert.Equal([1000, 500], bench.Receive());
    }

    [Fact]
    public void What_goes_beyond_the_window_is_trimmed_off_the_end()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Ack, 65_001, 1, 1000);
        bench.Expect(Ack, 1, 1);
        int held = Enumerable.Range(0, bench.Pool.FragmentCapacity).Single(slot => bench.Pool[slot].State == FragmentState.OutOfOrder);
        Assert.Equal(535, bench.Pool[held].Length);
    }

    [Theory]
    [InlineData(2001, 1000, 1501, 1000)] // over its front
    [InlineData(2001, 1000, 2501, 1000)] // over its end
    [InlineData(2001, 1000, 2201, 300)] // within
    [InlineData(2001, 1000, 1501, 2000)] // around
    [InlineData(2001, 1000, 2001, 1000)] // the same
    [InlineData(2001, 1000, 2001, 300)] // the same beginning, shorter
    [InlineData(2001, 1000, 2001, 1400)] // the same beginning, longer
    [InlineData(2001, 1000, 1801, 1200)] // the same end
    public void Overlaps_of_what_is_held_aside_are_trimmed_both_ways(int firstSeq, int firstLength, int secondSeq, int secondLength)
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Ack, firstSeq, 1, firstLength);
        bench.Given(Ack, secondSeq, 1, secondLength);
        bench.Given(Ack, 3601, 1, 10);
        bench.TakeSent();
        bench.Given(Ack, 1, 1, 3600);
        bench.Expect(Ack, 1, 3611);
        bench.Receive();
        Assert.Equal((3610L, 0, 0L), (bench.Connection.GetInfo(bench.NowUs).BytesReceived, bench.Connection.GetInfo(bench.NowUs).OutOfOrderFragments, bench.Connection.ChargedBytes));
    }

    [Fact]
    public void One_segment_can_bridge_many_that_are_held_aside()
    {
        using TcpBench bench = new TcpBench().Accept();
        for (int i = 0; i < 10; i++)
        {
            bench.Given(Ack, 101 + (i * 200), 1, 100);
        }

        bench.Given(Ack, 51, 1, 1500);
        bench.TakeSent();
        bench.Given(Ack, 1, 1, 60);
        bench.Expect(Ack, 1, 1601);
        bench.Given(Ack, 1601, 1, 1000);
        bench.Receive();
        Assert.Equal(2600, bench.Connection.GetInfo(bench.NowUs).BytesReceived);
    }

    [Theory]
    [InlineData(0xFFFF_FFFFu)]
    [InlineData(0xFFFF_FC17u)]
    [InlineData(0x7FFF_FFFFu)]
    [InlineData(0x7FFF_FC17u)]
    public void Sequence_numbers_wrap_without_a_trace(uint irs)
    {
        using TcpBench bench = new TcpBench(irs: irs).Accept();
        bench.Given(Ack, 2001, 1, 1000);
        bench.Expect(Ack, 1, 1);
        bench.Given(Ack, 1001, 1, 1500);
        bench.Expect(Ack, 1, 1);
        bench.Given(Ack, 1, 1, 1200);
        bench.Expect(Ack, 1, 3001);
        bench.Receive();
        Assert.Equal(3000, bench.Connection.GetInfo(bench.NowUs).BytesReceived);
    }

    [Fact]
    public void Segments_in_any_order_and_any_pieces_come_out_as_the_stream_and_no_page_stays_behind() =>
        Gen.Select(Gen.Int[0, 60], Gen.Int[1, 30], Gen.Int[0, 9]).Array[1, 40].Sample(pieces =>
        {
            using TcpBench bench = new TcpBench(pages: 128, irs: uint.MaxValue - 900).Accept();
            foreach ((int place, int length, int action) in pieces)
            {
                if (action == 0)
                {
                    bench.Receive(place + 1, length);
                }
                else
                {
                    bench.Given(Ack, 1 + (place * 25), 1, length * 25);
                }
            }

            for (int seq = 1; seq < 2250; seq += 75)
            {
                bench.Given(Ack, seq, 1, 75);
            }

            bench.Receive();
            TcpInfo info = bench.Connection.GetInfo(bench.NowUs);
            Assert.Equal((2250L, 0, 0L, 0), (info.BytesReceived, info.OutOfOrderFragments, info.ChargedBytes, bench.Pool.FragmentsInUse));
        });

    [Fact]
    public void Whoever_reads_byte_by_byte_and_holds_every_lease_leaves_a_slot_for_each_page_that_can_still_come()
    {
        using TcpBench bench = new TcpBench(pages: 16).Accept();
        bench.Given(Ack, 1, 1, 1000);
        bench.TakeEvents();
        var kept = new List<int>();
        while (bench.Receive(1, keep: kept).Length > 0)
        {
        }

        Assert.Equal((bench.Pool.FragmentCapacity - 15, 1000 - kept.Count), (bench.Pool.FragmentsInUse, bench.Connection.ReadableBytes));
        Assert.Equal(kept.Count + 1, bench.Pool.FragmentsInUse);
        bench.Poll();
        Assert.Equal(TcpEvents.None, bench.TakeEvents());
        bench.Pool.Release(kept[0]);
        kept.RemoveAt(0);
        bench.Poll();
        Assert.Equal(TcpEvents.Readable, bench.TakeEvents());
        bench.Poll();
        Assert.Equal(TcpEvents.None, bench.TakeEvents());
        Assert.Single(bench.Receive(1, keep: kept));
        Assert.Single(bench.Receive());
        bench.Release(kept);
    }

    // Acknowledgments.

    [Fact]
    public void The_first_segments_are_acknowledged_at_once_so_that_the_peers_slow_start_is_quick()
    {
        using TcpBench bench = new TcpBench().Accept();
        for (int i = 0; i < 16; i++)
        {
            bench.Given(Ack, 1 + (i * 100), 1, 100);
            bench.Expect(Ack, 1, 101 + (i * 100));
        }

        bench.Given(Ack, 1601, 1, 100);
        bench.ExpectNothing();
    }

    [Fact]
    public void An_acknowledgment_waits_40_ms_for_company()
    {
        using TcpBench bench = Warm(out long seq);
        bench.Given(Ack, seq, 1, 100);
        Assert.Equal(40_000, bench.AdvanceToNextSegment());
        bench.Expect(Ack, 1, seq + 100);
        bench.AdvanceMs(1000);
        bench.ExpectNothing();
        Assert.Equal(1, bench.Tcp.Counters.DelayedAcks);
    }

    [Fact]
    public void Every_second_full_segment_is_acknowledged()
    {
        using TcpBench bench = Warm(out long seq);
        for (int i = 0; i < 10; i++)
        {
            bench.Given(Ack, seq, 1, 1000);
            seq += 1000;
            if (i % 2 == 1)
            {
                bench.Expect(Ack, 1, seq);
            }

            bench.ExpectNothing();
            bench.Receive();
        }
    }

    [Fact]
    public void What_we_send_carries_the_acknowledgment_that_waits()
    {
        using TcpBench bench = Warm(out long seq);
        bench.Given(Ack, seq, 1, 100);
        bench.Send(10);
        bench.Expect(Ack, 1, seq + 100, 10);
        bench.AdvanceMs(100);
        bench.ExpectNothing();
    }

    [Fact]
    public void What_is_out_of_order_or_fills_a_gap_is_acknowledged_at_once()
    {
        using TcpBench bench = Warm(out long seq);
        bench.Given(Ack, seq + 100, 1, 100);
        bench.Expect(Ack, 1, seq);
        bench.Given(Ack, seq + 300, 1, 100);
        bench.Expect(Ack, 1, seq);
        bench.Given(Ack, seq, 1, 100);
        bench.Expect(Ack, 1, seq + 200);
        bench.Given(Ack, seq + 200, 1, 100);
        bench.Expect(Ack, 1, seq + 400);
        bench.Given(Ack, seq + 400, 1, 100);
        bench.ExpectNothing();
    }

    [Fact]
    public void Several_segments_that_come_together_are_acknowledged_together_but_duplicates_one_by_one()
    {
        using TcpBench bench = Warm(out long seq);
        for (int i = 0; i < 8; i++)
        {
            bench.GivenOnly(Ack, seq + (i * 1000), 1, 1000);
        }

        bench.Poll();
        bench.Expect(Ack, 1, seq + 8000);
        bench.ExpectNothing();
        for (int i = 0; i < 3; i++)
        {
            bench.GivenOnly(Ack, seq + 9000 + (i * 1000), 1, 1000);
        }

        bench.Poll();
        Assert.Equal([seq + 8000, seq + 8000, seq + 8000], bench.TakeSent().Select(sent => sent.Ack));
    }

    [Fact]
    public void Payload_keeps_its_place_in_memory_from_segment_to_application()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Ack, 1, 1, 1000);
        var kept = new List<int>();
        bench.Receive(keep: kept);
        int slot = Assert.Single(kept);
        unsafe
        {
            bench.Pool.PageAddress(bench.Pool[slot].Page)[bench.Pool[slot].Offset + 5] ^= 0xFF;
        }

        Assert.Equal((byte)(TcpBench.PeerByte(5) ^ 0xFF), bench.Pool.Payload(slot)[5]);
        bench.Release(kept);
    }

    [Fact]
    public void Fragments_say_whose_they_are_and_where_in_the_stream_they_belong()
    {
        using TcpBench bench = new TcpBench().Accept();
        bench.Given(Ack, 1001, 1, 1000);
        int held = Enumerable.Range(0, bench.Pool.FragmentCapacity).Single(slot => bench.Pool[slot].State == FragmentState.OutOfOrder);
        Assert.Equal((bench.Connection.Id, 1000L, bench.Irs + 1001), (bench.Pool[held].Connection, bench.Pool[held].StreamOffset, bench.Pool[held].Sequence));
        bench.Given(Ack, 1, 1, 1000);
        Assert.Equal(FragmentState.Queued, bench.Pool[held].State);
        bench.Receive();
        Assert.Equal(0, bench.Drops.Total);
    }

    private static TcpBench Warm(out long seq)
    {
        TcpBench bench = new TcpBench().Accept();
        seq = bench.GivenStream(1, 16);
        bench.Receive();
        return bench;
    }
}
