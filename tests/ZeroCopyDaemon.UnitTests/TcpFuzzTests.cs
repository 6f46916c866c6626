using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Ip;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.Net.Tcp.TcpFlags;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>A peer that sends whatever it likes, an application that does whatever it may, a device and an IP layer at their worst: every promise holds, and nothing is left in the end.</summary>
public sealed class TcpFuzzTests(ITestOutputHelper output)
{
    private const int Runs = 400;
    private const int Steps = 400;

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Nothing_that_a_peer_sends_breaks_a_promise(int batch)
    {
        var visits = new long[Enum.GetValues<TcpState>().Length];
        long received = 0, segments = 0;
        for (int run = 0; run < Runs / 4; run++)
        {
            int seed = (batch * 1000) + run;
            try
            {
                using var one = new Run(seed);
                one.Go();
                received += one.Received;
                segments += one.Segments;
                for (int state = 0; state < visits.Length; state++)
                {
                    visits[state] += one.Bench.Tcp.Counters.Visits((TcpState)state);
                }
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"seed {seed}: {e.Message}", e);
            }
        }

        output.WriteLine($"{segments} segments, {received} bytes received, states: {string.Join(' ', Enum.GetValues<TcpState>().Select(state => $"{state} {visits[(int)state]}"))}");
        Assert.True(received > 100_000);
        Assert.All(Enum.GetValues<TcpState>(), state => Assert.True(visits[(int)state] > 0, $"{state} was never visited"));
    }

    private sealed class Run : IDisposable
    {
        private readonly Random _random;
        private readonly List<int> _held = [];
        private readonly HashSet<TcpConnection> _open = [];
        private long _peerNext = 1;
        private long _edge = long.MinValue;

        public Run(int seed)
        {
            _random = new Random(seed);
            bool timestamps = _random.Next(2) == 0, scaling = _random.Next(2) == 0;
            Bench = new TcpBench(
                tcp => tcp with
                {
                    Timestamps = timestamps,
                    WindowScaling = scaling,
                    Nagle = _random.Next(2) == 0,
                    ReceiveQuotaBytes = 1 << _random.Next(12, 20),
                    MaxOutOfOrderFragments = 1 + _random.Next(50),
                    MaxSendItems = 1 + _random.Next(40),
                    MaxRetransmissions = 3 + _random.Next(4),
                    TimeWaitUs = 1_000_000,
                    FinWait2Us = 1_000_000,
                },
                pages: 128,
                irs: (uint)_random.NextInt64(1L << 32))
            {
                PeerTimestamps = timestamps,
                MaxTsoBytes = _random.Next(2) * 20_000,
                MaxChunks = 1 + _random.Next(10),
                CompletesAtOnce = _random.Next(2) == 0,
            };
            Bench.Listen(backlog: 4);
        }

        public TcpBench Bench { get; }

        public long Received { get; private set; }

        public long Segments { get; private set; }

        public void Go()
        {
            for (int step = 0; step < Steps; step++)
            {
                Bench.Answer = _random.Next(30) == 0 ? (IpSendResult)(2 + _random.Next(2)) : IpSendResult.Sent;
                Bench.Room = _random.Next(30) == 0 ? _random.Next(3) : int.MaxValue;
                Step();
                Bench.Poll();
                if (Bench.Answer == IpSendResult.AwaitingNeighbor)
                {
                    Bench.Tcp.OnNeighborResolved(TcpBench.Peer.Address, Bench.NowUs);
                }

                CheckSent();
                Drain();
                CheckCharges();
            }

            Finish();
        }

        public void Dispose() => Bench.Dispose();

        private void Step()
        {
            TcpConnection? connection = Current();
            switch (_random.Next(20))
            {
                case 0 when connection is null:
                    if (Bench.Tcp.Connect(TcpBench.Local, TcpBench.Peer, Bench.NowUs, null) is { } opened)
                    {
                        Bench.Adopt(opened);
                        _open.Add(opened);
                        _peerNext = 1;
                    }

                    break;
                case 1:
                    Segment(Syn, Near(0), Near(0), 0);
                    break;
                case 2:
                    Segment(Syn | Ack, Near(0), Near(1), 0);
                    break;
                case 3:
                    Segment(Rst | (_random.Next(2) == 0 ? Ack : None), Near(_peerNext), 0, 0);
                    break;
                case 4:
                    Segment((TcpFlags)_random.Next(64), Near(_peerNext), Near(Acked()), _random.Next(100));
                    break;
                case 5:
                    Segment(Fin | Ack, Near(_peerNext), Acked(), _random.Next(2) * _random.Next(1400));
                    break;
                case 6:
                    Bench.Advance((long)Math.Exp(_random.NextDouble() * 18));
                    break;
                case 7:
                    connection?.ShutdownSend();
                    break;
                case 8 when connection is not null && _random.Next(3) == 0:
                    connection.Close(Bench.NowUs);
                    break;
                case 9 when connection is not null && _random.Next(10) == 0:
                    connection.Abort(Bench.NowUs);
                    break;
                case 10 or 11 when connection is not null:
                    Send(connection);
                    break;
                case 12:
                    Bench.Complete(_random.Next(4));
                    break;
                case 13:
                    Bench.Tcp.OnIcmpError(TcpBench.Local, TcpBench.Peer, new SeqNumber((uint)Near(1)), 3, (byte)_random.Next(6), _random.Next(1500), Bench.NowUs);
                    break;
                case 14 or 15 when connection is not null:
                    Read(connection);
                    break;
                case 16 when _held.Count > 0:
                    int index = _random.Next(_held.Count);
                    Bench.Pool.Release(_held[index]);
                    _held.RemoveAt(index);
                    break;
                default:
                    int length = _random.Next(1, 1400);
                    Segment(Ack, _random.Next(4) == 0 ? Near(_peerNext) : _peerNext, Acked(), length);
                    break;
            }
        }

        private TcpConnection? Current() => Bench.Connection is { } connection && _open.Contains(connection) ? connection : null;

        /// <summary>What our side has sent so far, so that an acknowledgment of it is a sensible one.</summary>
        private long Acked()
        {
            if (Current() is not { } connection)
            {
                return 1;
            }

            TcpInfo info = connection.GetInfo(Bench.NowUs);
            long una = info.SndUna - Bench.Iss, next = info.SndNxt - Bench.Iss;
            return _random.Next(3) == 0 ? una : una + _random.NextInt64(Math.Max(1, next - una + 1));
        }

        private long Near(long position) => _random.Next(4) switch
        {
            0 => position,
            1 => position + _random.Next(-3, 4),
            2 => position + _random.Next(-70_000, 70_000),
            _ => position + _random.NextInt64(uint.MaxValue),
        };

        private void Segment(TcpFlags flags, long seq, long ack, int length)
        {
            Segments++;
            Bench.GivenOnly(
                flags,
                seq,
                ack,
                length,
                window: (ushort)(_random.Next(4) == 0 ? _random.Next(3) * _random.Next(2000) : 65535),
                options: (flags & Syn) != 0 ? TcpBench.SynOptions(_random.Next(1, 3000), (sbyte)_random.Next(-1, 15)) : null,
                timestamp: Bench.PeerTimestamps && _random.Next(10) > 0 ? (uint)(Bench.PeerTimestamp + (_random.Next(10) == 0 ? _random.Next(-3, 4) : 0)) : null);
        }

        private unsafe void Send(TcpConnection connection)
        {
            Bench.ChecksPayload = false;
            if (_held.Count > 0 && _random.Next(2) == 0)
            {
                if (connection.TrySend(new SendItem(Bench.Pool, _held[^1], 1), _random.Next(3) == 0))
                {
                    _held.RemoveAt(_held.Count - 1);
                }

                return;
            }

            connection.TrySend(new SendItem(Bench.Pool.PageAddress(0), 1 + _random.Next(3000), 1), _random.Next(3) == 0);
        }

        private void Read(TcpConnection connection)
        {
            long readable = connection.ReadableBytes;
            int taken = connection.Receive(1 + _random.Next(3000), 1 + _random.Next(4), out int slot);
            Assert.Equal(readable - taken, connection.ReadableBytes);
            Received += taken;
            for (int next; slot != PagePool.NoFragment; slot = next)
            {
                next = Bench.Pool[slot].Next;
                _held.Add(slot);
            }
        }

        private void CheckSent()
        {
            foreach (SentSegment sent in Bench.TakeSent())
            {
                if ((sent.Flags & Syn) != 0)
                {
                    (_edge, _peerNext) = (long.MinValue, 1);
                }
                else if ((sent.Flags & (Ack | Rst)) == Ack && Current() is { State: not TcpState.Closed } connection)
                {
                    long edge = sent.Ack + ((long)sent.Window << connection.GetInfo(Bench.NowUs).ReceiveScale);
                    Assert.True(edge >= _edge, $"the window's edge went from {_edge} back to {edge}");
                    (_edge, _peerNext) = (edge, Math.Max(_peerNext, sent.Ack));
                }
            }
        }

        private void Drain()
        {
            while (Bench.Tcp.TryTakeEvent(out TcpConnection connection, out TcpEvents events))
            {
                if ((events & TcpEvents.Accepted) != 0)
                {
                    _open.Add(connection);
                    Bench.Adopt(connection);
                    connection.Listener!.MarkAccepted(connection);
                }

                Assert.True(_open.Contains(connection), $"an event of a connection that is over: {events}");
                while (connection.TryTakeSent(out _))
                {
                }

                if ((events & TcpEvents.Closed) != 0)
                {
                    Assert.Equal(0, connection.ReadableBytes);
                    _open.Remove(connection);
                    _edge = long.MinValue;
                }
            }
        }

        private void CheckCharges() => Assert.Equal(PoolLedger.Charges(Bench.Pool).Values.Sum(), Bench.Root.ChargedBytes);

        private void Finish()
        {
            (Bench.Answer, Bench.Room) = (IpSendResult.Sent, int.MaxValue);
            foreach (TcpConnection connection in _open.ToArray())
            {
                connection.Abort(Bench.NowUs);
            }

            Bench.Listener!.Close(Bench.NowUs);
            for (int i = 0; i < 10; i++)
            {
                Bench.Complete();
                Bench.AdvanceMs(10_000);
                Drain();
            }

            _held.ForEach(Bench.Pool.Release);
            Assert.Empty(_open);
            Assert.Equal(0, Bench.Tcp.TimeWaitCount);
            Bench.AssertClean();
        }
    }
}
