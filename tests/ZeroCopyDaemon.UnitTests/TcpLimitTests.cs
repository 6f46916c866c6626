using System.Reflection;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.Net.Tcp.TcpFlags;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>What a peer can make grow, and what the steady state costs.</summary>
public sealed class TcpLimitTests(ITestOutputHelper output)
{
    [Fact]
    public void Half_open_connections_are_bounded_by_the_backlog()
    {
        using var bench = new TcpBench();
        bench.Listen(backlog: 4);
        for (ushort port = 1; port <= 10; port++)
        {
            bench.Given(Syn, 0, from: TcpBench.Peer with { Port = port });
        }

        Assert.Equal((4, 4), (bench.Listener!.HalfOpen, bench.TakeSent().Length));
        Assert.Equal((6L, 6L), (bench.Drops[DropReason.LISTENOVERFLOWS], bench.Tcp.Counters.ListenOverflows));
        bench.Given(Ack, 1, 1, from: TcpBench.Peer with { Port = 1 });
        bench.Given(Syn, 0, from: TcpBench.Peer with { Port = 11 });
        bench.Expect(Syn | Ack, 0, 1);
    }

    [Fact]
    public void Connections_not_accepted_yet_are_bounded_by_the_backlog_and_a_late_one_gets_its_turn()
    {
        using var bench = new TcpBench();
        bench.Listen(backlog: 2);
        IpEndpoint third = TcpBench.Peer with { Port = 3 };
        bench.Given(Syn, 0, from: third);
        for (ushort port = 1; port <= 2; port++)
        {
            bench.Given(Syn, 0, from: TcpBench.Peer with { Port = port });
            bench.Given(Ack, 1, 1, from: TcpBench.Peer with { Port = port });
        }

        bench.TakeSent();
        TcpConnection[] accepted = bench.TakeAccepted();
        Assert.Equal(2, accepted.Length);
        bench.Given(Ack, 1, 1, 100, from: third);
        bench.ExpectNothing();
        Assert.Equal((1, 2), (bench.Listener!.HalfOpen, bench.Listener.AcceptQueueLength));
        bench.Given(Syn, 0, from: TcpBench.Peer with { Port = 4 });
        bench.ExpectNothing();
        bench.Listener.MarkAccepted(accepted[0]);
        bench.AdvanceToNextSegment();
        bench.Expect(Syn | Ack, 0, 1);
        bench.Given(Ack, 1, 1, 100, from: third);
        bench.Expect(Ack, 1, 101);
        Assert.Equal(third, Assert.Single(bench.TakeAccepted()).Remote);
    }

    [Fact]
    public void A_connection_that_ends_before_it_was_accepted_leaves_the_accept_queue()
    {
        using var bench = new TcpBench();
        bench.Listen(backlog: 1);
        bench.Given(Syn, 0);
        bench.Given(Ack, 1, 1);
        bench.Given(Rst, 1);
        Assert.Equal(0, bench.Listener!.AcceptQueueLength);
        bench.Given(Syn, 0, from: TcpBench.Peer with { Port = 2 });
        Assert.Equal(2, bench.TakeSent().Length);
    }

    [Fact]
    public void A_flood_of_100_000_SYNs_stays_bounded_and_ends()
    {
        using var bench = new TcpBench { Records = false };
        bench.Listen(backlog: 128);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100_000; i++)
        {
            bench.GivenOnly(Syn, i, from: new IpEndpoint(IpAddress.FromV4(0x0B000000u + (uint)i), (ushort)(1024 + (i % 60_000))));
            if (i % 64 == 0)
            {
                bench.Tcp.Poll(bench.NowUs);
                bench.NowUs += 10;
            }
        }

        bench.Tcp.Poll(bench.NowUs);
        Assert.Equal((128, 128), (bench.Listener!.HalfOpen, bench.Tcp.ConnectionCount));
        long grown = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(grown < 1 << 20, $"{grown} bytes");
        bench.AdvanceMs(200_000);
        bench.TakeEvents();
        bench.AssertClean();
    }

    [Fact]
    public void Connections_are_bounded_until_their_last_event_was_taken()
    {
        using var bench = new TcpBench(tcp => tcp with { MaxConnections = 3 });
        bench.Listen(backlog: 100);
        for (ushort port = 1; port <= 5; port++)
        {
            bench.Given(Syn, 0, from: TcpBench.Peer with { Port = port });
            bench.Given(Ack, 1, 1, from: TcpBench.Peer with { Port = port });
            bench.Given(Rst, 1, from: TcpBench.Peer with { Port = port });
        }

        Assert.Equal((2L, 0), (bench.Drops[DropReason.CONNECTION_LIMIT], bench.Tcp.ConnectionCount));
        bench.TakeEvents();
        bench.TakeSent();
        bench.Given(Syn, 0);
        bench.Expect(Syn | Ack, 0, 1);
        Assert.NotNull(bench.Tcp.Connect(default, TcpBench.Peer, bench.NowUs, null));
        Assert.NotNull(bench.Tcp.Connect(default, TcpBench.Peer, bench.NowUs, null));
        Assert.Null(bench.Tcp.Connect(default, TcpBench.Peer, bench.NowUs, null));
    }

    [Fact]
    public void A_connection_that_never_was_established_is_nobodys_business()
    {
        using var bench = new TcpBench(tcp => tcp with { MaxConnections = 3 });
        TcpListener listener = bench.Listen(backlog: 100);
        for (ushort port = 1; port <= 9; port++)
        {
            bench.Given(Syn, 0, from: TcpBench.Peer with { Port = port });
            bench.Given(Rst, 1, from: TcpBench.Peer with { Port = port });
        }

        bench.Given(Syn, 0);
        listener.Close(bench.NowUs);
        Assert.False(bench.Tcp.TryTakeEvent(out _, out _));
        bench.AssertClean();
    }

    [Fact]
    public void Ids_differ_between_a_connection_and_the_next_one_in_its_place()
    {
        using var bench = new TcpBench();
        bench.Listen();
        var ids = new HashSet<int>();
        for (int i = 0; i < 100; i++)
        {
            bench.Given(Syn, 0);
            bench.Given(Ack, 1, 1);
            bench.TakeEvents();
            Assert.True(bench.Connection.Id >= 0 && ids.Add(bench.Connection.Id));
            bench.Connection.Abort(bench.NowUs);
            bench.TakeEvents();
        }
    }

    // Steady state.

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Receiving_allocates_nothing_per_segment(bool timestamps)
    {
        using var bench = new TcpBench(tcp => tcp with { Timestamps = timestamps }) { PeerTimestamps = timestamps };
        bench.Accept();
        bench.Records = false;
        byte[] page = new byte[1000];
        long seq = 1;
        long allocated = Measure(() =>
        {
            // Two in order, one ahead of a gap, the gap filled, a duplicate.
            One(0);
            One(1000);
            One(3000);
            One(2000);
            One(2000);
            seq += 4000;
            bench.Tcp.Poll(bench.NowUs);
            while (bench.Tcp.TryTakeEvent(out TcpConnection connection, out _))
            {
                connection.Receive(700, 100, out int head);
                bench.Pool.ReleaseChain(head);
                connection.Receive(int.MaxValue, 100, out head);
                bench.Pool.ReleaseChain(head);
            }

            bench.NowUs += 1000;

            void One(int offset) => bench.Tcp.OnSegment(
                new TcpSegment
                {
                    Source = TcpBench.Peer, Destination = TcpBench.Local, Seq = new SeqNumber(bench.Irs + (uint)(seq + offset)), Ack = new SeqNumber(bench.Iss + 1), Flags = Ack, Window = 65535,
                    Options = new TcpSegmentOptions { WindowScale = -1, HasTimestamp = timestamps, TimestampValue = bench.PeerTimestamp, TimestampEcho = bench.OurTimestamp },
                    Payload = TestFrames.Chain(bench.Pool, page), PayloadLength = page.Length,
                },
                bench.NowUs);
        });
        Assert.Equal(0, allocated);
        Assert.Equal(0, bench.Connection.ReadableBytes);
        Assert.True(bench.Connection.GetInfo(bench.NowUs).BytesReceived > 1_000_000);
    }

    [Fact]
    public void Sending_allocates_nothing_per_segment()
    {
        using var bench = new TcpBench(tcp => tcp with { MaxSendItems = 64 }) { CompletesAtOnce = false };
        bench.Accept();
        bench.Records = false;
        long sent = 0;
        long allocated = Measure(() =>
        {
            for (int i = 0; i < 20; i++)
            {
                Assert.True(bench.Queue(500));
                sent += 500;
            }

            bench.Tcp.Poll(bench.NowUs);
            bench.NowUs += 1000;
            Acknowledge(sent - 5000);
            bench.Tcp.Poll(bench.NowUs);
            Acknowledge(sent);
            bench.Complete();
            while (bench.Tcp.TryTakeEvent(out TcpConnection connection, out _))
            {
                while (connection.TryTakeSent(out _))
                {
                }
            }
        });
        Assert.Equal(0, allocated);
        Assert.Equal(0, bench.Connection.SendQueueBytes);

        void Acknowledge(long position) => bench.Tcp.OnSegment(
            new TcpSegment
            {
                Source = TcpBench.Peer, Destination = TcpBench.Local, Seq = new SeqNumber(bench.Irs + 1), Ack = new SeqNumber(bench.Iss + 1 + (uint)position), Flags = Ack, Window = 65535,
                Payload = -1, Options = new TcpSegmentOptions { WindowScale = -1 },
            },
            bench.NowUs);
    }

    [Fact]
    public void An_idle_connection_costs_less_than_2_KiB_with_its_parts_and_its_place_in_the_tables()
    {
        using var bench = new TcpBench { Records = false };
        bench.Listen(backlog: 2000);
        Open(0, 1100);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Open(1100, 1900);
        long perConnection = (GC.GetAllocatedBytesForCurrentThread() - before) / 800;
        output.WriteLine($"an idle connection: {perConnection} bytes");
        Assert.InRange(perConnection, 1, 2047);
        Assert.Equal(1900, bench.Tcp.ConnectionCount);

        void Open(int from, int to)
        {
            for (int i = from; i < to; i++)
            {
                bench.GivenOnly(Syn, 0, from: TcpBench.Peer with { Port = (ushort)(1000 + i) });
            }

            bench.Tcp.Poll(bench.NowUs);
        }
    }

    // Numbers and hashes.

    [Fact]
    public void SipHash_is_the_official_one()
    {
        // The reference implementation's test vectors: key 00..0f, message 00 01 02 ..., for whole words.
        var hash = new SipHash(new UInt128(0x0F0E0D0C0B0A0908, 0x0706050403020100));
        ulong[] words = [0x0706050403020100, 0x0F0E0D0C0B0A0908, 0x1716151413121110, 0x1F1E1D1C1B1A1918, 0x2726252423222120, 0x2F2E2D2C2B2A2928];
        Assert.Equal(0x726FDB47DD0E0E31UL, hash.Hash([]));
        Assert.Equal(0x93F5F5799A932462UL, hash.Hash(words.AsSpan(0, 1)));
        Assert.Equal(0x3F2ACC7F57C29BDBUL, hash.Hash(words.AsSpan(0, 2)));
        Assert.Equal(0xB8AD50C6F649AF94UL, hash.Hash(words.AsSpan(0, 3)));
        Assert.Equal(0x7127512F72F27CCEUL, hash.Hash(words.AsSpan(0, 4)));
    }

    [Fact]
    public void Initial_sequence_numbers_differ_by_tuple_and_secret_and_rise_with_the_clock()
    {
        uint[] first = Numbers(0x1234, 0), other = Numbers(0x1235, 0), later = Numbers(0x1234, 4_000_000);
        Assert.Equal(first.Length, first.Distinct().Count());
        Assert.NotEqual(first, other);
        for (int i = 0; i < first.Length; i++)
        {
            Assert.Equal(first[i] + 1_000_000, later[i]);
        }

        // No pattern from one port to the next.
        Assert.Equal(first.Length - 1, Enumerable.Range(1, first.Length - 1).Select(i => first[i] - first[i - 1]).Distinct().Count());

        static uint[] Numbers(UInt128 secret, long laterUs)
        {
            using var bench = new TcpBench(secret: secret);
            bench.NowUs += laterUs;
            bench.Listen(backlog: 100);
            var numbers = new List<uint>();
            for (ushort port = 1; port <= 50; port++)
            {
                bench.Given(Syn, 0, from: TcpBench.Peer with { Port = port });
                numbers.Add(bench.IssTowards(TcpBench.Peer with { Port = port }));
            }

            return [.. numbers];
        }
    }

    [Fact]
    public void Flows_that_differ_in_anything_are_different_and_equal_ones_hash_alike()
    {
        var comparer = new FlowKeyComparer(new SipHash(99));
        var flow = new FlowKey(TcpBench.Local, TcpBench.Peer);
        Assert.Equal(comparer.GetHashCode(flow), comparer.GetHashCode(new FlowKey(TcpBench.Local, TcpBench.Peer)));
        FlowKey[] others = [new(TcpBench.Peer, TcpBench.Local), flow with { LocalPort = 81 }, flow with { RemotePort = 81 }, flow with { Remote = TcpBench.Local.Address }, flow with { Local = TcpBench.Peer.Address }];
        Assert.All(others, other => Assert.True(!comparer.Equals(flow, other) && comparer.GetHashCode(flow) != comparer.GetHashCode(other)));
        var hashes = new HashSet<int>();
        for (int i = 0; i < 10_000; i++)
        {
            hashes.Add(comparer.GetHashCode(flow with { RemotePort = (ushort)i }));
        }

        Assert.True(hashes.Count > 9_990);
    }

    [Fact]
    public void Every_counter_that_is_kept_is_shown()
    {
        var table = new CounterTable();
        var counters = new TcpCounters();
        FieldInfo[] fields = [.. typeof(TcpCounters).GetFields(BindingFlags.Public | BindingFlags.Instance)];
        for (int i = 0; i < fields.Length; i++)
        {
            fields[i].SetValue(counters, 1000L + i);
        }

        counters.VisitCounters(table);
        for (int i = 0; i < fields.Length; i++)
        {
            Assert.Contains(1000L + i, table.Values.Values);
        }
    }

    private static long Measure(Action round)
    {
        for (int i = 0; i < 1000; i++)
        {
            round();
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++)
        {
            round();
        }

        return GC.GetAllocatedBytesForCurrentThread() - before;
    }
}
