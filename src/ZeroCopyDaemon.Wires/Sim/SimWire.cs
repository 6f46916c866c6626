using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Wires.Impaired;

namespace ZeroCopyDaemon.Wires.Sim;

/// <summary>
/// A wire in memory, under a clock that its user keeps: delay, jitter, bandwidth, loss, duplication, reordering and corruption, all from one seed. Between two NICs it is a cable,
/// between more a hub. It owns copies of the frames under way. Single-threaded.
/// <para>Drive it with <see cref="Poll"/>, no later than <see cref="NextDeadlineUs"/>.</para>
/// </summary>
public sealed class SimWire(SimWireOptions options) : ICounterSource
{

    private readonly SimRandom _random = new(options.Seed);
    private readonly List<Port> _ports = [];
    private readonly PriorityQueue<FlyingFrame, (long DueUs, long Order)> _flights = new();
    private readonly FrameStore _store = new();
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
        while (_flights.TryPeek(out FlyingFrame? flight, out (long DueUs, long Order) due) && due.DueUs <= nowUs)
        {
            _flights.Dequeue();
            ReadOnlySpan<byte> frame = flight.Bytes;
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

            _store.Return(flight);
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
        FlyingFrame flight = _store.Copy(frame);
        Frames++;
        _bytes += flight.Length;
        from.Learn(EthernetAddress.Read(flight.Bytes[6..]));
        ImpairmentVerdict verdict = from.Impairment.Decide(flight.Length, BitFlips.AreNoticed(flight.Bytes, flight.Length), from.UnderWay, nowUs);
        Observer?.OnFrame(from.Number, flight.Bytes, verdict.Fate, nowUs);
        if (verdict.IsDropped)
        {
            Lost += verdict.Fate == FrameFate.Lost ? 1 : 0;
            QueueDropped += verdict.Fate == FrameFate.QueueDropped ? 1 : 0;
            _store.Return(flight);
            return;
        }

        if ((verdict.Fate & FrameFate.Duplicated) != 0)
        {
            // The copy is taken before bits are flipped: one of the two may arrive unharmed.
            Duplicated++;
            Launch(_store.Copy(flight), from, verdict.CopyArrivesUs);
        }

        if ((verdict.Fate & FrameFate.Corrupted) != 0)
        {
            Corrupted++;
            BitFlips.Apply(verdict.Flips, flight.Bytes);
        }

        Reordered += (verdict.Fate & FrameFate.Reordered) != 0 ? 1 : 0;
        Launch(flight, from, verdict.ArrivesUs);
    }

    private void Launch(FlyingFrame flight, Port from, long dueUs)
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

    private sealed class Port(SimWire wire, int number, NicModel nic) : IWirePort
    {
        private readonly HashSet<EthernetAddress> _seen = [];
        private EthernetAddress _lastSeen;

        public int Number => number;

        public NicModel Nic => nic;

        public Impairment Impairment { get; } = new(wire.Options, wire._random);

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
    }
}
