using System.Buffers.Binary;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Wires.Impaired;
using static ZeroCopyDaemon.UnitTests.IpHost;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>The way in alone: single frames, between a driver's hand and an IP layer.</summary>
public sealed class ImpairedReceiveTests
{
    /// <summary>As Linux hands segments to a TAP: the checksum field holds the pseudo-header's sum, and the device says that all is well.</summary>
    private static byte[] Unfinished(byte[] segment)
    {
        BinaryPrimitives.WriteUInt16BigEndian(segment.AsSpan(16), InternetChecksum.Fold(InternetChecksum.PseudoHeader(Peer, Local, IpProtocol.Tcp, segment.Length)));
        return segment;
    }

    private static byte[] Segment(int payload, int options) => TcpBytes(IpHost.Pattern(payload), options: [.. Enumerable.Repeat((byte)1, options)]);

    [Theory]
    [InlineData(RxChecksum.Unnecessary, false)]
    [InlineData(RxChecksum.Unnecessary, true)]
    [InlineData(RxChecksum.None, false)]
    [InlineData(RxChecksum.Bad, false)]
    public void A_harmed_segment_never_reaches_TCP_whatever_the_device_said_of_it_and_whether_its_checksum_was_finished(RxChecksum verdict, bool unfinished)
    {
        using var host = new IpHost();
        for (ulong seed = 0; seed < 3000; seed++)
        {
            // With a copy that is whole and shares the payload, every other time.
            double duplication = seed % 2;
            var rx = new ImpairedRx(host.Ip, host.Pool, new ImpairmentOptions { Corruption = 1, Duplication = duplication, ReorderUs = 0 }, seed);
            byte[] segment = Segment((int)(seed % 7) * 500 + 6, (int)(seed % 5) * 4);
            TestFrames.Receive(rx, host.Pool, Ipv4(IpProtocol.Tcp, unfinished ? Unfinished(segment) : segment), 0, verdict);
            Assert.Equal(long.MaxValue, rx.NextDueUs);
            if (duplication == 0)
            {
                Assert.Empty(host.Tcp.Segments);
            }
            else
            {
                Assert.Equal(segment[^6..], Assert.Single(host.Tcp.Segments).Payload[^6..]);
                host.Tcp.Segments.Clear();
            }
        }

        host.AssertClean();
    }

    [Fact]
    public void Harm_to_padding_harms_nobody()
    {
        using var host = new IpHost();
        for (ulong seed = 0; seed < 500; seed++)
        {
            var rx = new ImpairedRx(host.Ip, host.Pool, new ImpairmentOptions { Corruption = 1 }, seed);
            TestFrames.Receive(rx, host.Pool, Ipv4(IpProtocol.Tcp, TcpBytes([])), 0, RxChecksum.Unnecessary);
        }

        Assert.All(host.Tcp.Segments, segment => Assert.Equal((1u, 2u, 0), (segment.Seq, segment.Ack, segment.Payload.Length)));
        Assert.InRange(host.Tcp.Segments.Count, 1, 200);
        host.AssertClean();
    }

    [Fact]
    public void A_frame_without_a_checksum_of_its_own_is_lost_instead_of_harmed()
    {
        using var host = new IpHost();
        var rx = new ImpairedRx(host.Ip, host.Pool, new ImpairmentOptions { Corruption = 1 }, 1);
        TestFrames.Receive(rx, host.Pool, Arp(ArpOperation.Request, PeerMac, Peer, Local), 0);
        TestFrames.Receive(rx, host.Pool, Ipv4(IpProtocol.Tcp, Segment(1000, 12).AsSpan(0, 512), more: true), 0);
        TestFrames.Receive(rx, host.Pool, Ipv4(IpProtocol.Tcp, Segment(1000, 12).AsSpan(512), offset: 512), 0);
        Assert.Empty(host.Device.TakeAll());
        var table = new CounterTable();
        rx.VisitCounters(table);
        Assert.Equal((3, 3, 0), (table.Values["impair.rx_frames"], table.Values["impair.rx_lost"], table.Values["impair.rx_corrupted"]));
        host.AssertClean();
    }

    [Fact]
    public void A_repeated_frame_is_the_same_bytes_twice_and_no_copy_of_them()
    {
        using var pool = new NativePool();
        var stack = new Recorder();
        var rx = new ImpairedRx(stack, pool.Pool, new ImpairmentOptions { Duplication = 1, LatencyUs = 10, ReorderUs = 0 }, 1);
        int chain = TestFrames.Chain(pool.Pool, IpHost.Pattern(300), [100, 200], offset: 64);
        byte[] headers = NicFrames.TcpFrame([]);
        rx.Receive(new RxFrame(headers, chain, 300, RxChecksum.Unnecessary, 77), 0);
        headers.AsSpan().Clear();
        Assert.Equal((0, 10L), (rx.Deliver(9), rx.NextDueUs));
        Assert.Equal(2, rx.Deliver(10));
        Assert.Equal(2, stack.Frames.Count);
        Assert.All(stack.Frames, frame => Assert.Equal((300, RxChecksum.Unnecessary, 77u), (frame.PayloadLength, frame.Checksum, frame.RssHash)));
        Assert.All(stack.Frames, frame => Assert.Equal(NicFrames.TcpFrame([]), frame.Headers));
        int[] chains = [.. stack.Frames.Select(frame => frame.Payload)];
        Assert.NotEqual(chains[0], chains[1]);
        Assert.Equal(pool.Pool.PoolOffset(chains[0]), pool.Pool.PoolOffset(chains[1]));
        Assert.Equal(IpHost.Pattern(300), TestFrames.Bytes(pool.Pool, chains[0]));
        pool.Pool.ReleaseChain(chains[0]);
        Assert.Equal(IpHost.Pattern(300), TestFrames.Bytes(pool.Pool, chains[1]));
        pool.Pool.ReleaseChain(chains[1]);
        Assert.Equal(0, pool.Pool.PagesInUse);
    }

    [Fact]
    public void A_full_fragment_table_costs_the_copy_and_not_the_frame()
    {
        using var native = new NativePool(pages: 2);
        var stack = new Recorder();
        PagePool pool = native.Pool;
        int first = TestFrames.Chain(pool, new byte[100]);
        for (int i = 0; i < pool.FragmentCapacity - 1; i++)
        {
            Assert.NotEqual(PagePool.NoFragment, pool.AddFragment(pool[first].Page, i, 1));
        }

        var rx = new ImpairedRx(stack, pool, new ImpairmentOptions { Duplication = 1 }, 1);
        rx.Receive(new RxFrame(NicFrames.TcpFrame([]), first, 100, RxChecksum.None), 0);
        Assert.Single(stack.Frames);
    }

    [Fact]
    public void What_it_holds_is_at_most_its_share_of_the_pool()
    {
        using var pool = new NativePool(pages: 1024);
        var stack = new Recorder();
        var rx = new ImpairedRx(stack, pool.Pool, new ImpairmentOptions { LatencyUs = 1_000 }, 1);
        Assert.Equal(128, rx.MaxPages);
        for (int i = 0; i < 200; i++)
        {
            rx.Receive(new RxFrame(NicFrames.TcpFrame([]), TestFrames.Chain(pool.Pool, new byte[100]), 100, RxChecksum.None), 0);
            rx.Receive(new RxFrame(NicFrames.TcpFrame([]), PagePool.NoFragment, 0, RxChecksum.None), 0);
        }

        var table = new CounterTable();
        rx.VisitCounters(table);
        Assert.Equal((328, 72), (table.Values["impair.rx_held"], table.Values["impair.rx_queue_dropped"]));
        Assert.Equal(128, pool.Pool.PagesInUse);
        rx.Clear();
        Assert.Equal(1024, pool.Pool.FreePages);
    }

    [Fact]
    public void In_the_steady_state_neither_way_allocates()
    {
        using var pool = new NativePool(pages: 4096);
        var sink = new Sink(pool.Pool);
        ImpairmentOptions options = new() { LatencyUs = 100, JitterUs = 50, Loss = 0.1, Duplication = 0.1, Reordering = 0.1, Corruption = 0.1 };
        var rx = new ImpairedRx(sink, pool.Pool, options, 1);
        var tx = new ImpairedTx(sink, options, 2);
        byte[] headers = NicFrames.TcpFrame([]);
        byte[] payload = new byte[500];

        // More at once than later on, so that there is room for the most that may be under way.
        Run(0, 5_000, perUs: 2);
        rx.Deliver(9_000);
        tx.Deliver(9_000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Run(10_000, 20_000, perUs: 1);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.True(sink.Carried > 10_000 && sink.Received > 10_000);

        void Run(int from, int to, int perUs)
        {
            for (int nowUs = from; nowUs < to; nowUs++)
            {
                for (int i = 0; i < perUs; i++)
                {
                    rx.Receive(new RxFrame(headers, TestFrames.Chain(pool.Pool, payload), payload.Length, RxChecksum.Unnecessary), nowUs);
                    tx.TryCarry(new TxFrame(headers, [], 0), nowUs);
                }

                rx.Deliver(nowUs);
                tx.Deliver(nowUs);
            }
        }
    }

    private sealed class Sink(PagePool pool) : IFrameReceiver, IWirePort
    {
        public int Carried { get; private set; }

        public int Received { get; private set; }

        public bool TryCarry(in TxFrame frame, long nowUs)
        {
            Carried++;
            return true;
        }

        public void Receive(in RxFrame frame, long nowUs)
        {
            Received++;
            pool.ReleaseChain(frame.Payload);
        }
    }

    private sealed record Frame(byte[] Headers, int Payload, int PayloadLength, RxChecksum Checksum, uint RssHash);

    private sealed class Recorder : IFrameReceiver
    {
        public List<Frame> Frames { get; } = [];

        public void Receive(in RxFrame frame, long nowUs) => Frames.Add(new Frame([.. frame.Headers], frame.Payload, frame.PayloadLength, frame.Checksum, frame.RssHash));
    }
}
