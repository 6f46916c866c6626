using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.Net.Tcp.TcpFlags;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Charges and windows where segments share pages.</summary>
public sealed class TcpSharedPageTests
{
    private const int Quota = 64 * 4096;

    [Theory]
    [InlineData(1460)]
    [InlineData(536)]
    [InlineData(100)]
    public void Segments_end_to_end_make_nearly_all_of_the_quota_payload_and_none_is_dropped(int mss)
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { ReceiveQuotaBytes = Quota, WindowScaling = true }, pages: 512);
        var pages = new OpenPages(bench.Pool);
        bench.Lay = pages.Lay;
        bench.Accept(mss: mss, scale: 7);
        long seq = FillWindow(bench, mss);
        Assert.Equal(0, bench.Drops.Total);
        Assert.InRange(bench.Connection.ChargedBytes, Quota / 2, Quota);

        // A page pays for sixteen fragments: with 41 in a page, 25 pay for themselves.
        Assert.True(seq > (mss >= 536 ? 0.85 : 0.30) * Quota, $"{seq} bytes of {Quota}");
        bench.Receive();
        pages.Finish();
        Assert.Equal(0, bench.Connection.ChargedBytes);
    }

    [Fact]
    public void A_pause_in_the_last_of_the_window_costs_a_page_and_no_byte()
    {
        using TcpBench bench = new TcpBench(tcp => tcp with { ReceiveQuotaBytes = Quota, WindowScaling = true }, pages: 512);
        var pages = new OpenPages(bench.Pool);
        bench.Lay = pages.Lay;
        bench.Accept(mss: 1460, scale: 7);
        long seq = FillWindow(bench, 1460, out long edge);
        while (seq < edge)
        {
            // The NIC has finished the page meanwhile, and the sender sends what the window still takes.
            pages.Finish();
            int length = (int)Math.Min(1460, edge - seq);
            bench.Given(Ack, seq, 1, length);
            seq += length;
            bench.AdvanceMs(40);
            foreach (SentSegment sent in bench.TakeSent())
            {
                edge = sent.Ack + ((long)sent.Window << 7);
            }
        }

        Assert.Equal((0L, seq - 1), (bench.Drops.Total, bench.Connection.ReadableBytes));
        bench.Receive();
    }

    [Fact]
    public void Connections_that_share_a_page_each_pay_for_their_own_part_of_it()
    {
        using var bench = new TcpBench();
        var pages = new OpenPages(bench.Pool, shared: true);
        bench.Lay = pages.Lay;
        bench.Listen(backlog: 100);
        TcpConnection[] connections = [Accept(bench, 5000), Accept(bench, 5001)];
        bench.Given(Ack, 1, 1, 1000, from: connections[0].Remote);
        bench.Given(Ack, 1, 1, 1000, from: connections[1].Remote);
        bench.Given(Ack, 1001, 1, 10, from: connections[0].Remote);
        Assert.Equal((1024 + 256L, 1024L, 2 * 1024 + 256L), (connections[0].ChargedBytes, connections[1].ChargedBytes, bench.Root.ChargedBytes));
        connections[0].Receive(int.MaxValue, int.MaxValue, out int taken);
        bench.Pool.ReleaseChain(taken);
        Assert.Equal((0L, 1024L), (connections[0].ChargedBytes, connections[1].ChargedBytes));
        connections[1].Abort(bench.NowUs);
        Assert.Equal(0, bench.Root.ChargedBytes);
        pages.Finish();
        Assert.Equal(0, bench.Pool.PagesInUse);
    }

    [Fact]
    public void Small_charges_pin_pages_only_as_far_as_the_pool_goes_and_leave_its_last_eighth_to_others()
    {
        using var bench = new TcpBench(tcp => tcp with { ReceiveQuotaBytes = 1 << 20 }, pages: 128, budgetBytes: 64 * 4096);
        bench.Lay = bytes =>
        {
            int chain = TestFrames.Chain(bench.Pool, bytes);
            bench.Pool.MarkShared(bench.Pool[chain].Page);
            return chain;
        };
        bench.Listen(backlog: 100);
        TcpConnection hoarder = Accept(bench, 5000), other = Accept(bench, 5001);
        for (int i = 0; i < 100; i++)
        {
            bench.Given(Ack, hoarder.GetInfo(0).BytesReceived + 1, 1, 1, from: hoarder.Remote);
            Assert.True(bench.Root.ChargedBytes + bench.Pool.OvercommittedBytes <= bench.Root.LimitBytes);
        }

        Assert.InRange(bench.Pool.PagesInUse, 50, 57);
        Assert.Equal((bench.Pool.PagesInUse * 256L, 100L - bench.Pool.PagesInUse), (hoarder.ChargedBytes, bench.Drops[DropReason.PROTO_MEM]));
        bench.TakeSent();
        for (int i = 0; i < 200; i++)
        {
            bench.Given(Ack, 1 + (i * 500), 1, 500, from: other.Remote);
            Assert.Equal(500, other.Receive(int.MaxValue, int.MaxValue, out int taken));
            bench.Pool.ReleaseChain(taken);
        }

        Assert.True(bench.TakeSent()[^1].Window >= 500);
        hoarder.Abort(bench.NowUs);
        Assert.Equal((0L, 0L, 0), (bench.Root.ChargedBytes, bench.Pool.OvercommittedBytes, bench.Pool.PagesInUse));
    }

    private static long FillWindow(TcpBench bench, int mss) => FillWindow(bench, mss, out _);

    /// <summary>Full segments for as long as one fits into the window.</summary>
    private static long FillWindow(TcpBench bench, int mss, out long edge)
    {
        long seq = 1;
        edge = 1 + 20_000;
        while (seq + mss <= edge)
        {
            bench.Given(Ack, seq, 1, mss);
            seq += mss;
            foreach (SentSegment sent in bench.TakeSent())
            {
                edge = sent.Ack + ((long)sent.Window << 7);
            }
        }

        return seq;
    }

    private static TcpConnection Accept(TcpBench bench, ushort port)
    {
        IpEndpoint from = TcpBench.Peer with { Port = port };
        bench.Given(Syn, 0, from: from, options: TcpBench.SynOptions());
        bench.Given(Ack, 1, 1, from: from);
        bench.TakeSent();
        TcpConnection connection = Assert.Single(bench.TakeAccepted());
        bench.Listener!.MarkAccepted(connection);
        return connection;
    }

    /// <summary>Lays payload down end to end, as a NIC that merges does (or that packs, if shared).</summary>
    private sealed class OpenPages(PagePool pool, bool shared = false)
    {
        private int _page = -1;
        private int _position;

        public int Lay(byte[] bytes)
        {
            int head = PagePool.NoFragment, tail = PagePool.NoFragment;
            for (int at = 0; at < bytes.Length;)
            {
                if (_page < 0)
                {
                    Assert.True(pool.TryPost(out _page));
                    _position = 0;
                    if (shared)
                    {
                        pool.MarkShared(_page);
                    }
                }

                int length = Math.Min(bytes.Length - at, pool.Geometry.PageSize - _position);
                int slot = pool.AddFragment(_page, _position, length);
                bytes.AsSpan(at, length).CopyTo(pool.Payload(slot));
                (head, tail) = (head == PagePool.NoFragment ? slot : head, Link(tail, slot));
                at += length;
                _position += length;
                if (_position == pool.Geometry.PageSize)
                {
                    Finish();
                }
            }

            return head;
        }

        public void Finish()
        {
            if (_page >= 0)
            {
                pool.EndPosting(_page);
                _page = -1;
            }
        }

        private int Link(int tail, int slot)
        {
            if (tail != PagePool.NoFragment)
            {
                pool[tail].Next = slot;
            }

            return slot;
        }
    }
}
