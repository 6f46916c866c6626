using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Flows that mostly go forward, and garbage between them, through NIC and driver under each placement.</summary>
public sealed class NicPlacementFuzzTests(ITestOutputHelper output)
{
    private const int Seeds = 150;
    private const int Steps = 400;

    [Theory]
    [InlineData(Placement.None)]
    [InlineData(Placement.Split)]
    [InlineData(Placement.Packed)]
    [InlineData(Placement.Merge)]
    public void Every_frame_comes_up_once_in_order_with_its_bytes_and_no_two_fragments_overlap(Placement placement)
    {
        long frames = 0, runs = 0, matches = 0;
        for (int seed = 0; seed < Seeds; seed++)
        {
            try
            {
                using var run = new Run(placement, seed);
                run.Go();
                frames += run.Accepted;
                runs += run.Bench.Counter("nic.rx_merge_runs");
                matches += run.Bench.Counter("nic.rx_merge_match_packets");
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"{placement}, seed {seed}: {e.Message}", e);
            }
        }

        output.WriteLine($"{placement}: {frames} frames, {runs} runs, {matches} segments that went on with one");
        Assert.True(frames > Seeds * 50, $"only {frames} frames were placed");
        Assert.Equal(placement == Placement.Merge, runs > Seeds && matches > runs / 4);
    }

    private sealed class Run : IDisposable
    {
        private readonly Random _random;
        private readonly Dictionary<ushort, uint> _next = [];
        private readonly Queue<byte[]>[] _expected;
        private readonly Dictionary<int, byte[]> _held = [];
        private readonly NicOptions _options;
        private long _nowUs;
        private int _received;

        public Run(Placement placement, int seed)
        {
            _random = new Random(seed);
            _options = NicBench.Small(placement) with
            {
                RxRingSize = 16 << _random.Next(2),
                RxQueues = 1 + _random.Next(2),
                RxCompletionQueueSize = _random.Next(3) == 0 ? 16 : 0,
                Mtu = _random.Next(2) == 0 ? 1500 : 9000,
                RxUsecs = _random.Next(20),
                RxFrames = _random.Next(5),
                MergeContexts = 1 + _random.Next(6),
                MergeFlushUs = 1 + _random.Next(200),
                PauseFrames = true,
            };
            _expected = [.. Enumerable.Range(0, _options.RxQueues).Select(_ => new Queue<byte[]>())];
            Bench = new NicBench(_options, pages: 100, pageSize: 2048 << _random.Next(3), headroom: _random.Next(3) * 50);
        }

        public NicBench Bench { get; }

        public long Accepted { get; private set; }

        public void Go()
        {
            for (int step = 0; step < Steps; step++)
            {
                _nowUs += _random.Next(12);
                switch (_random.Next(10))
                {
                    case < 7:
                        Offer(NextFrame());
                        break;
                    case < 9:
                        Poll(budget: 1 + _random.Next(30));
                        break;
                    default:
                        Bench.Hold = _random.Next(2) == 0;
                        if (_random.Next(2) == 0)
                        {
                            Release();
                        }

                        break;
                }

                Bench.Pool.CheckInvariants();
            }

            while (Bench.Nic.NextInterruptUs != long.MaxValue || Bench.Driver.NeedsPoll(_nowUs))
            {
                Poll(64);
                _nowUs++;
            }

            Assert.Equal(Accepted, Bench.Received.Count);
            Release();
            Poll(64);
            Bench.Pool.CheckInvariants();
            Assert.Equal((0, 100), (Bench.Pool.PagesInUse, Bench.Pool.FreePages + Bench.Pool.PostedPages));
            Assert.InRange(Bench.Counter("rx.payload_bytes"), 0, Bench.Counter("rx.payload_page_bytes"));
        }

        public void Dispose() => Bench.Dispose();

        private byte[] NextFrame()
        {
            ushort port = (ushort)_random.Next(1, 9);
            uint sequence = _next.GetValueOrDefault(port, uint.MaxValue - 5000);
            int length = _random.Next(4) switch
            {
                0 => _random.Next(3),
                1 => _random.Next(_options.Mtu - 40),
                _ => _options.Mtu - 40,
            };
            byte[] payload = NicFrames.Pattern(length, _random.Next(60_000));
            switch (_random.Next(20))
            {
                case 0:
                    return NicFrames.UdpFrame(payload.AsSpan(0, length / 2));
                case 1:
                    return NicFrames.TcpFrame(payload, sequence: sequence - (uint)_random.Next(1, 3000), sourcePort: port);
                case 2:
                    return NicFrames.TcpFrame(payload, flags: (byte)_random.Next(256), sequence: sequence, sourcePort: port);
                case 3:
                    // Anything in the headers may be wrong.
                    byte[] garbled = NicFrames.TcpFrame(payload, sequence: sequence, sourcePort: port);
                    garbled[_random.Next(NicFrames.TcpHeaders)] = (byte)_random.Next(256);
                    return garbled.AsSpan(0, Math.Max(14, _random.Next(3) == 0 ? _random.Next(garbled.Length) : garbled.Length)).ToArray();
                case 4:
                    return [.. NicFrames.TcpFrame(payload.AsSpan(0, length / 2), sequence: sequence, sourcePort: port), 0, 0, 0];
                default:
                    _next[port] = sequence + (uint)length + (_random.Next(30) == 0 ? 100u : 0);
                    return NicFrames.TcpFrame(payload, sequence: sequence, sourcePort: port);
            }
        }

        private void Offer(byte[] frame)
        {
            long[] before = QueuePackets();
            if (Bench.Feed(frame, headerBytes: _random.Next(100), nowUs: _nowUs))
            {
                Accepted++;
                long[] after = QueuePackets();
                _expected[after[0] != before[0] ? 0 : 1].Enqueue(frame);
            }
        }

        private long[] QueuePackets() => [.. Bench.Nic.Describe().RxQueues.Select(queue => queue.Packets)];

        private void Poll(int budget)
        {
            int held = Bench.Held.Count;
            Bench.Poll(_nowUs, budget);
            for (; _received < Bench.Received.Count; _received++)
            {
                ReceivedFrame frame = Bench.Received[_received];
                byte[] bytes = frame.Bytes;
                Queue<byte[]>? queue = Array.Find(_expected, queue => queue.TryPeek(out byte[]? next) && next.AsSpan().SequenceEqual(bytes));
                Assert.True(queue is not null, $"frame {_received} is not what its queue has next");
                queue.Dequeue();
                if (Bench.Hold && frame.Payload.Length > 0)
                {
                    _held.Add(Bench.Held[held++], frame.Payload);
                }
            }

            CheckHeld();
        }

        /// <summary>What was handed up stays as it was, whatever came since; and nothing lies on anything else.</summary>
        private void CheckHeld()
        {
            foreach ((int head, byte[] payload) in _held)
            {
                int at = 0;
                for (int slot = head; slot != PagePool.NoFragment; slot = Bench.Pool[slot].Next)
                {
                    Assert.True(Bench.Pool.Payload(slot).SequenceEqual(payload.AsSpan(at, Bench.Pool[slot].Length)), "payload was overwritten");
                    at += Bench.Pool[slot].Length;
                }

                Assert.Equal(payload.Length, at);
            }

            foreach (IGrouping<int, LedgerEntry> page in PoolLedger.Entries(Bench.Pool).GroupBy(entry => entry.Page))
            {
                int end = 0;
                foreach (LedgerEntry entry in page.OrderBy(entry => entry.Offset))
                {
                    Assert.True(entry.Offset >= end, "two fragments overlap");
                    end = entry.Offset + entry.Length;
                }
            }
        }

        private void Release()
        {
            Bench.ReleaseHeld();
            _held.Clear();
        }
    }
}
