using System.Buffers.Binary;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Wires.Sim;

namespace ZeroCopyDaemon.UnitTests;

public sealed class SimWireTests
{
    /// <summary>Two NICs on a wire; frames are put onto the wire directly, and read from the second NIC's driver.</summary>
    private sealed class Setup : IFrameReceiver, IDisposable
    {
        private readonly NativePool _poolA = new();
        private readonly NativePool _poolB = new(pages: 2048);
        private readonly NicDriver _driverA;
        private readonly NicDriver _driverB;

        public Setup(SimWireOptions options)
        {
            A = new NicModel(new NicOptions { RxRingSize = 64 }, _poolA.Pool.Geometry);
            NicModel b = new(new NicOptions { RxRingSize = 1024, RxUsecs = 0, RxFrames = 1 }, _poolB.Pool.Geometry);
            _driverA = new NicDriver(A, _poolA.Pool);
            _driverB = new NicDriver(b, _poolB.Pool);
            Wire = new SimWire(options);
            Wire.Plug(A);
            Wire.Plug(b);
        }

        public NicModel A { get; }

        public SimWire Wire { get; }

        /// <summary>Number of each frame that arrived, and when; -1 if it was harmed.</summary>
        public List<(int Number, long AtUs)> Arrived { get; } = [];

        public void Send(int number, long nowUs)
        {
            byte[] frame = new byte[100];
            frame[5] = 2;
            frame[11] = 1;
            BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), 0x0800);
            BinaryPrimitives.WriteInt32BigEndian(frame.AsSpan(60), number);
            BinaryPrimitives.WriteInt32BigEndian(frame.AsSpan(64), ~number);
            for (int i = 14; i < 100; i++)
            {
                frame[i] = i is >= 60 and < 68 ? frame[i] : (byte)i;
            }

            // Not a well-formed IPv4 packet on purpose: the wire must not care.
            A.Wire!.TryCarry(new TxFrame(frame, [], 0), nowUs);
        }

        public void Run()
        {
            while (Wire.NextDeadlineUs != long.MaxValue)
            {
                long nowUs = Wire.NextDeadlineUs;
                Wire.Poll(nowUs);
                while (_driverB.NeedsPoll(nowUs))
                {
                    _driverB.Poll(nowUs, 64, this);
                }
            }
        }

        void IFrameReceiver.Receive(in RxFrame frame, long nowUs)
        {
            byte[] bytes = new byte[frame.Headers.Length + frame.PayloadLength];
            frame.Headers.CopyTo(bytes);
            int at = frame.Headers.Length;
            for (int slot = frame.Payload; slot >= 0; slot = _poolB.Pool[slot].Next)
            {
                _poolB.Pool.Payload(slot).CopyTo(bytes.AsSpan(at));
                at += _poolB.Pool[slot].Length;
            }

            _poolB.Pool.ReleaseChain(frame.Payload);
            int number = BinaryPrimitives.ReadInt32BigEndian(bytes.AsSpan(60));
            bool right = BinaryPrimitives.ReadInt32BigEndian(bytes.AsSpan(64)) == ~number && bytes.Length == 100;
            for (int i = 14; right && i < 100; i++)
            {
                right = i is >= 60 and < 68 || bytes[i] == (byte)i;
            }

            Arrived.Add((right ? number : -1, nowUs));
        }

        public void Dispose()
        {
            _driverA.Dispose();
            _driverB.Dispose();
            _poolA.Dispose();
            _poolB.Dispose();
        }
    }

    private static Setup Send(SimWireOptions options, int frames = 2000, long everyUs = 10)
    {
        var setup = new Setup(options);
        for (int i = 0; i < frames; i++)
        {
            setup.Send(i, i * everyUs);
        }

        setup.Run();
        return setup;
    }

    [Fact]
    public void A_good_wire_delivers_everything_in_order_after_its_latency()
    {
        using Setup setup = Send(new SimWireOptions { LatencyUs = 250 });
        Assert.Equal(Enumerable.Range(0, 2000).Select(i => (i, (i * 10L) + 250)), setup.Arrived);
    }

    [Fact]
    public void Jitter_delays_but_keeps_the_order()
    {
        using Setup setup = Send(new SimWireOptions { LatencyUs = 100, JitterUs = 500 });
        Assert.Equal(Enumerable.Range(0, 2000), setup.Arrived.Select(frame => frame.Number));
        Assert.All(setup.Arrived, frame => Assert.InRange(frame.AtUs - (frame.Number * 10L), 100, 600));
        Assert.True(setup.Arrived.Select(frame => frame.AtUs - (frame.Number * 10L)).Distinct().Count() > 100);
    }

    [Fact]
    public void Loss_duplication_reordering_and_corruption_happen_as_often_as_asked_and_are_counted()
    {
        using Setup setup = Send(new SimWireOptions { Seed = 3, Loss = 0.1, Duplication = 0.05, Reordering = 0.2, ReorderUs = 200, Corruption = 0.05 });
        SimWire wire = setup.Wire;
        Assert.InRange(wire.Lost, 150, 250);
        Assert.InRange(wire.Duplicated, 60, 140);
        Assert.InRange(wire.Reordered, 280, 440);
        Assert.InRange(wire.Corrupted, 60, 140);
        Assert.Equal(2000 - wire.Lost + wire.Duplicated, setup.Arrived.Count);
        Assert.Equal(wire.Corrupted, setup.Arrived.Count(frame => frame.Number < 0));
        int[] order = [.. setup.Arrived.Select(frame => frame.Number).Where(number => number >= 0)];
        Assert.True(order.Zip(order.Skip(1)).Count(pair => pair.First > pair.Second) > 50);
        var counters = new Dictionary<string, long>();
        wire.VisitCounters(new Collect(counters));
        Assert.Equal((2000, wire.Lost, wire.Corrupted), (counters["sim.frames"], counters["sim.lost"], counters["sim.corrupted"]));
    }

    [Fact]
    public void Bandwidth_spreads_frames_out_and_a_full_queue_drops_from_the_tail()
    {
        // 100 bytes at 8 Mbit/s take 100 us.
        using Setup setup = Send(new SimWireOptions { LatencyUs = 0, BitsPerSecond = 8_000_000, QueueFrames = 5 }, frames: 10, everyUs: 0);
        Assert.Equal([(0, 100L), (1, 200L), (2, 300L), (3, 400L), (4, 500L)], setup.Arrived);
        Assert.Equal(5, setup.Wire.QueueDropped);
    }

    [Fact]
    public void The_same_seed_does_the_same_and_another_seed_something_else()
    {
        SimWireOptions options = new() { Seed = 1, Loss = 0.2, Duplication = 0.1, Reordering = 0.1, Corruption = 0.1, JitterUs = 50 };
        using Setup first = Send(options);
        using Setup second = Send(options);
        using Setup other = Send(options with { Seed = 2 });
        Assert.Equal(first.Arrived, second.Arrived);
        Assert.NotEqual(first.Arrived, other.Arrived);
    }

    [Fact]
    public void Every_corruption_is_found_by_the_internet_checksum()
    {
        var observer = new Checksums();
        using var setup = new Setup(new SimWireOptions { Seed = 5, Corruption = 1 });
        for (int i = 0; i < 1000; i++)
        {
            setup.Send(i, i);
        }

        setup.Run();
        Assert.Equal(1000, setup.Arrived.Count);
        Assert.All(setup.Arrived, frame => Assert.Equal(-1, frame.Number));
        Assert.Equal(1000, setup.Wire.Corrupted);
        Assert.True(observer.DifferForEveryShortBurst());
    }

    [Fact]
    public void The_generator_is_the_published_one()
    {
        // SplitMix64's first output for seed 0 is in its authors' test vectors; xoshiro's state is made of such outputs.
        Assert.Equal(0xE220_A839_7B1D_CDAFUL, SimRandom.Mix(0x9E37_79B9_7F4A_7C15));
        var random = new SimRandom(42);
        Assert.All(Enumerable.Range(0, 10_000), _ => Assert.InRange(random.Between(3, 7), 3, 7));
        Assert.Equal([0L, 1L, 2L], Enumerable.Range(0, 100).Select(_ => random.Below(3)).Distinct().Order());
        Assert.All(Enumerable.Range(0, 1000), _ => Assert.InRange(random.LogBetween(1, 1000), 1, 1000));
    }

    private sealed class Collect(Dictionary<string, long> counters) : ICounterVisitor
    {
        public void Counter(string name, long value) => counters[name] = value;
    }

    private sealed class Checksums
    {
        /// <summary>Flips up to three bits within 15 at every place of a packet, as the wire does, and looks whether the checksum notices.</summary>
        public bool DifferForEveryShortBurst()
        {
            byte[] packet = new byte[64];
            new Random(1).NextBytes(packet);
            ushort right = InternetChecksum.Compute(packet);
            for (int start = 0; start < (packet.Length * 8) - 15; start++)
            {
                for (int second = 0; second <= 7; second++)
                {
                    for (int third = 7; third <= 14; third++)
                    {
                        Flip(packet, start);
                        _ = second == 0 || Flip(packet, start + second);
                        _ = third == 7 || Flip(packet, start + third);
                        bool same = InternetChecksum.Compute(packet) == right;
                        Flip(packet, start);
                        _ = second == 0 || Flip(packet, start + second);
                        _ = third == 7 || Flip(packet, start + third);
                        if (same)
                        {
                            return false;
                        }
                    }
                }
            }

            return true;
        }

        private static bool Flip(byte[] packet, int bit)
        {
            packet[bit >> 3] ^= (byte)(0x80 >> (bit & 7));
            return true;
        }
    }
}
