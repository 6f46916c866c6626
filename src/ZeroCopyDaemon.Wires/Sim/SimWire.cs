using System.Buffers.Binary;
using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.Wires.Sim;

/// <summary>
/// A wire in memory, under a clock that its user keeps: delay, jitter, bandwidth, loss, duplication, reordering and corruption, all from one seed. Between two NICs it is a cable,
/// between more a hub. It owns copies of the frames under way. Single-threaded.
/// <para>Drive it with <see cref="Poll"/>, no later than <see cref="NextDeadlineUs"/>.</para>
/// </summary>
public sealed class SimWire(SimWireOptions options) : ICounterSource
{
    private const int EthernetHeaderBytes = 14;
    private const int EtherTypeIpv4 = 0x0800;

    private readonly SimRandom _random = new(options.Seed);
    private readonly List<Port> _ports = [];
    private readonly PriorityQueue<Flight, (long DueUs, long Order)> _flights = new();
    private readonly Stack<Flight> _spare = new();
    private long _order;
    private long _bytes;

    /// <summary>What the wire does to frames.</summary>
    public SimWireOptions Options { get; } = options;

    /// <summary>Sees each frame as it is sent.</summary>
    public ISimWireObserver? Observer { get; set; }

    /// <summary>Frames that NICs handed to the wire.</summary>
    public long Frames { get; private set; }

    /// <summary>Frames delivered, second copies included.</summary>
    public long Delivered { get; private set; }

    /// <summary>Frames lost at random.</summary>
    public long Lost { get; private set; }

    /// <summary>Frames dropped because too many were under way.</summary>
    public long QueueDropped { get; private set; }

    /// <summary>Frames that arrived twice.</summary>
    public long Duplicated { get; private set; }

    /// <summary>Frames that were overtaken.</summary>
    public long Reordered { get; private set; }

    /// <summary>Frames whose bits were flipped.</summary>
    public long Corrupted { get; private set; }

    /// <summary>Frames on their way.</summary>
    public int UnderWay => _flights.Count;

    /// <summary>When the next frame arrives, in microseconds, or <see cref="long.MaxValue"/>.</summary>
    public long NextDeadlineUs => _flights.TryPeek(out _, out (long DueUs, long Order) due) ? due.DueUs : long.MaxValue;

    /// <summary>Plugs a NIC in: the wire becomes its <see cref="NicModel.Wire"/>. Returns the port's number, counted from 0.</summary>
    public int Plug(NicModel nic)
    {
        ArgumentNullException.ThrowIfNull(nic);
        Invariant.That(nic.Wire is null, "a NIC is plugged into one wire");
        nic.Wire = new Port(this, _ports.Count, nic);
        _ports.Add((Port)nic.Wire);
        return _ports.Count - 1;
    }

    /// <summary>Delivers what is due. Returns frames delivered.</summary>
    public int Poll(long nowUs)
    {
        int delivered = 0;
        while (_flights.TryPeek(out Flight? flight, out (long DueUs, long Order) due) && due.DueUs <= nowUs)
        {
            _flights.Dequeue();
            ReadOnlySpan<byte> frame = flight.Bytes.AsSpan(0, flight.Length);
            EthernetAddress destination = EthernetAddress.Read(frame);
            _ports[flight.From].UnderWay--;
            foreach (Port port in _ports)
            {
                if (port.Number != flight.From && (_ports.Count == 2 || destination.IsGroup || port.HasSeen(destination) || !AnyHasSeen(destination)))
                {
                    port.Nic.ReceiveFromWire(new TxFrame(frame, [], 0), due.DueUs);
                    delivered++;
                }
            }

            _spare.Push(flight);
        }

        Delivered += delivered;
        return delivered;
    }

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        visitor.Counter("sim.frames", Frames);
        visitor.Counter("sim.bytes", _bytes);
        visitor.Counter("sim.delivered", Delivered);
        visitor.Counter("sim.lost", Lost);
        visitor.Counter("sim.queue_dropped", QueueDropped);
        visitor.Counter("sim.duplicated", Duplicated);
        visitor.Counter("sim.reordered", Reordered);
        visitor.Counter("sim.corrupted", Corrupted);
    }

    private void Carry(Port from, in TxFrame frame, long nowUs)
    {
        Flight flight = CopyOf(frame);
        Frames++;
        _bytes += flight.Length;
        from.Learn(EthernetAddress.Read(flight.Bytes.AsSpan(6)));

        // Every draw is made for every frame, so that one setting does not shift the others' luck.
        bool lost = _random.Chance(Options.Loss);
        bool duplicated = _random.Chance(Options.Duplication);
        bool reordered = _random.Chance(Options.Reordering);
        bool corrupted = _random.Chance(Options.Corruption);
        long jitterUs = _random.Below(Options.JitterUs + 1);
        long reorderUs = _random.Below(Options.ReorderUs + 1);
        long duplicateUs = _random.Below(Options.ReorderUs + 1);
        ulong flips = _random.NextUInt64();

        bool checksummed = flight.Length > EthernetHeaderBytes && BinaryPrimitives.ReadUInt16BigEndian(flight.Bytes.AsSpan(12)) == EtherTypeIpv4;
        lost |= corrupted && !checksummed;
        bool full = !lost && from.UnderWay >= Options.QueueFrames;
        SimFrameFate fate = lost ? SimFrameFate.Lost
            : full ? SimFrameFate.QueueDropped
            : (duplicated ? SimFrameFate.Duplicated : 0) | (reordered ? SimFrameFate.Reordered : 0) | (corrupted ? SimFrameFate.Corrupted : 0);
        Observer?.OnFrame(from.Number, flight.Bytes.AsSpan(0, flight.Length), fate, nowUs);
        if (lost || full)
        {
            Lost += lost ? 1 : 0;
            QueueDropped += full ? 1 : 0;
            _spare.Push(flight);
            return;
        }

        if (duplicated)
        {
            // The copy is taken before bits are flipped: one of the two may arrive unharmed.
            Duplicated++;
            Flight copy = Spare(flight.Length);
            flight.Bytes.AsSpan(0, flight.Length).CopyTo(copy.Bytes);
            Launch(copy, from, from.SendAt(nowUs, flight.Length, Options.BitsPerSecond) + Options.LatencyUs + duplicateUs);
        }

        if (corrupted)
        {
            Corrupted++;
            Flip(flight.Bytes.AsSpan(EthernetHeaderBytes, flight.Length - EthernetHeaderBytes), flips);
        }

        long arrivesUs = from.SendAt(nowUs, flight.Length, Options.BitsPerSecond) + Options.LatencyUs + jitterUs;
        if (reordered)
        {
            Reordered++;
            arrivesUs += reorderUs;
        }
        else
        {
            arrivesUs = from.InOrder(arrivesUs);
        }

        Launch(flight, from, arrivesUs);
    }

    private void Launch(Flight flight, Port from, long dueUs)
    {
        flight.From = from.Number;
        from.UnderWay++;
        _flights.Enqueue(flight, (dueUs, _order++));
    }

    private bool AnyHasSeen(EthernetAddress address)
    {
        foreach (Port port in _ports)
        {
            if (port.HasSeen(address))
            {
                return true;
            }
        }

        return false;
    }

    private static void Flip(Span<byte> bytes, ulong random)
    {
        long bits = (long)bytes.Length * 8;
        long start = (long)((random >> 20) % (ulong)bits);
        int count = (int)(random & 3) % 3 + 1;
        for (int i = 0; i < count; i++)
        {
            // The first bit is always flipped and the others lie at distinct distances, so that no flip undoes another.
            int distance = i == 0 ? 0 : (int)((random >> (4 * i)) & 0xF) % 7 + 1 + (7 * (i - 1));
            long bit = start + distance;
            if (bit < bits)
            {
                bytes[(int)(bit >> 3)] ^= (byte)(0x80 >> (int)(bit & 7));
            }
        }
    }

    private Flight CopyOf(in TxFrame frame)
    {
        Invariant.That(frame.Mss == 0 && !frame.ChecksumPartial, "only complete frames cross a wire");
        Flight flight = Spare(frame.Length);
        Span<byte> rest = flight.Bytes;
        frame.Headers.CopyTo(rest);
        rest = rest[frame.Headers.Length..];
        foreach (TxChunk chunk in frame.Payload)
        {
            chunk.Span.CopyTo(rest);
            rest = rest[chunk.Length..];
        }

        return flight;
    }

    private Flight Spare(int length)
    {
        if (!_spare.TryPop(out Flight? flight))
        {
            flight = new Flight();
        }

        if (flight.Bytes.Length < length)
        {
            flight.Bytes = new byte[Math.Max(length, 2048)];
        }

        flight.Length = length;
        return flight;
    }

    private sealed class Flight
    {
        public byte[] Bytes = [];
        public int Length;
        public int From;
    }

    private sealed class Port(SimWire wire, int number, NicModel nic) : IWirePort
    {
        private readonly HashSet<EthernetAddress> _seen = [];
        private EthernetAddress _lastSeen;
        private long _freeAtUs;
        private long _lastArrivalUs;

        public int Number => number;

        public NicModel Nic => nic;

        public int UnderWay { get; set; }

        public bool TryCarry(in TxFrame frame, long nowUs)
        {
            wire.Carry(this, frame, nowUs);
            return true;
        }

        public void Learn(EthernetAddress address)
        {
            if (address != _lastSeen)
            {
                _lastSeen = address;
                _seen.Add(address);
            }
        }

        public bool HasSeen(EthernetAddress address) => _seen.Contains(address);

        /// <summary>When the last bit has left, at the wire's bandwidth.</summary>
        public long SendAt(long nowUs, int bytes, long bitsPerSecond)
        {
            if (bitsPerSecond == 0)
            {
                return nowUs;
            }

            _freeAtUs = Math.Max(_freeAtUs, nowUs) + Math.Max(1, bytes * 8L * 1_000_000 / bitsPerSecond);
            return _freeAtUs;
        }

        /// <summary>Not before the frame sent before it.</summary>
        public long InOrder(long arrivesUs) => _lastArrivalUs = Math.Max(_lastArrivalUs, arrivesUs);
    }
}
