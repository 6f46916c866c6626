using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Wires.Sim;

namespace ZeroCopyDaemon.Simulation;

/// <summary>
/// Two hosts, a bad wire between them, and a clock that jumps from one thing that happens to the next. Checks every promise as it goes, and throws at the first that does not hold.
/// </summary>
internal sealed class SimWorld : IDisposable
{
    private const ushort FirstPortA = 40_000;
    private const ushort FirstPortB = 80;
    private const int MaxTurnsAtOnce = 20_000;
    private const int TurnsBetweenChecks = 64;
    private const long PatienceUs = 24L * 3600 * 1_000_000;

    private static readonly IpAddress AddressA = IpAddress.FromV4(10, 0, 0, 1);
    private static readonly IpAddress AddressB = IpAddress.FromV4(10, 0, 0, 2);
    private static readonly IpAddress AddressA6 = new(0xFD00_0000_0000_0000, 1);
    private static readonly IpAddress AddressB6 = new(0xFD00_0000_0000_0000, 2);

    private readonly SimScenario _scenario;
    private readonly SimHost _a;
    private readonly SimHost _b;
    private readonly List<SimEnd> _ends = [];
    private readonly List<SimStream[]> _streams = [];
    private readonly SimTrace? _trace;
    private readonly SimWireChecker _checker;
    private int _timeWaitStates;
    private long _turns;
    private long _progress = -1;
    private long _progressUs;

    public SimWorld(SimScenario scenario, TextWriter? trace)
    {
        _scenario = scenario;
        var random = new SimRandom(scenario.Seed ^ 0x5DEE_CE66_D1CE_F00D);
        var secretA = new UInt128(random.NextUInt64(), random.NextUInt64());
        var secretB = new UInt128(random.NextUInt64(), random.NextUInt64());
        StartUs = scenario.BytesToWrap == 0 ? scenario.StartUs : StartNearWrap(scenario, secretA, secretB);
        NowUs = StartUs;
        _trace = trace is null ? null : new SimTrace(trace, StartUs);
        _a = HostA(scenario, secretA);
        _b = HostB(scenario, secretB);
        Wire = new SimWire(scenario.Wire);
        _checker = new SimWireChecker(scenario.A.Nic.Mtu, StreamOf) { Trace = _trace };
        Wire.Observer = _checker;
        Wire.Plug(_a.Nic);
        Wire.Plug(_b.Nic);
        for (int i = 0; i < scenario.Connections.Count; i++)
        {
            AddConnection(i, scenario.Connections[i], random);
        }

        _a.AfterFrame = () => Sample(_a);
        _b.AfterFrame = () => Sample(_b);
    }

    /// <summary>When the world began.</summary>
    public long StartUs { get; }

    public long NowUs { get; private set; }

    public SimWire Wire { get; }

    public IReadOnlyList<SimEnd> Ends => _ends;

    /// <summary>States seen, a bit per <see cref="TcpState"/>.</summary>
    public int States
    {
        get
        {
            int states = _timeWaitStates;
            foreach (SimEnd end in _ends)
            {
                states |= end.States;
            }

            return states;
        }
    }

    public ulong Hash => _checker.Hash;

    public long RepeatedSegments => _checker.Repeated;

    public int Wrapped => _checker.Wrapped;

    /// <summary>A frame did not get through, unharmed, to a stack.</summary>
    public bool HasLostFrames => Wire.Lost + Wire.QueueDropped + Wire.Corrupted > 0 || DropVisitor.Of(_a.VisitDevice).Count + DropVisitor.Of(_b.VisitDevice).Count > 0;

    /// <summary>Runs to the end.</summary>
    public void Run()
    {
        foreach (SimEnd end in _ends)
        {
            end.Listen();
        }

        foreach (SimEnd end in _ends)
        {
            end.Connect(NowUs);
        }

        RunUntil(AllDone);
        Event(NowUs, "", "both ends of every connection are closed");
        foreach (SimEnd end in _ends)
        {
            end.CloseListener(NowUs);
        }

        RunUntil(AllQuiet);
        foreach (SimHost host in (ReadOnlySpan<SimHost>)[_a, _b])
        {
            host.CheckInvariants([]);
            host.CheckNothingHeld();
        }
    }

    public void Event(long nowUs, string who, string what) => _trace?.Event(nowUs, who, what);

    public void VisitCounters(ICounterVisitor visitor)
    {
        Wire.VisitCounters(visitor);
        foreach (SimHost host in (ReadOnlySpan<SimHost>)[_a, _b])
        {
            host.VisitDevice(visitor);
            host.Stack.VisitCounters(visitor);
        }
    }

    public void Dispose()
    {
        foreach (SimEnd end in _ends)
        {
            end.Dispose();
        }

        _a.Dispose();
        _b.Dispose();
    }

    private bool AllDone()
    {
        foreach (SimEnd end in _ends)
        {
            if (!end.Done)
            {
                return false;
            }
        }

        return true;
    }

    private bool AllQuiet() =>
        Wire.UnderWay == 0 && _a.IsIdle(NowUs) && _b.IsIdle(NowUs)
        && _a.Stack.ConnectionCount == 0 && _b.Stack.ConnectionCount == 0 && _a.Stack.TimeWaitCount == 0 && _b.Stack.TimeWaitCount == 0;

    private void RunUntil(Func<bool> done)
    {
        while (true)
        {
            Settle();
            if (done())
            {
                return;
            }

            long nextUs = NextDeadlineUs();
            if (nextUs == long.MaxValue || !IsGettingOn(nextUs))
            {
                string what = nextUs == long.MaxValue ? "deadlock: nobody has anything to do any more" : "a day of virtual time went by in which nothing got any further";
                throw new SimFailureException($"{what}{Environment.NewLine}{string.Join(Environment.NewLine, _ends.Select(end => end.Describe(NowUs)))}");
            }

            NowUs = Math.Max(NowUs + 1, nextUs);
        }
    }

    /// <summary>The wire may be as bad as it likes, but in a day a byte, an acknowledgment or an end has to get through.</summary>
    private bool IsGettingOn(long nextUs)
    {
        long progress = _a.Stack.TimeWaitCount + _b.Stack.TimeWaitCount + (4L * (_a.Stack.ConnectionCount + _b.Stack.ConnectionCount));
        foreach (SimEnd end in _ends)
        {
            progress = (progress * 31) + end.Receiver.Position + end.Sender.TakenBack + (end.Done ? 1 : 0) + end.States;
        }

        if (progress != _progress)
        {
            (_progress, _progressUs) = (progress, nextUs);
        }

        return nextUs - _progressUs < PatienceUs;
    }

    /// <summary>Lets everything happen that happens at this instant.</summary>
    private void Settle()
    {
        for (int turn = 0; ; turn++)
        {
            SimFailureException.Unless(turn < MaxTurnsAtOnce, "the world does not come to rest: something goes on and on without time passing");
            int work = Wire.Poll(NowUs);
            work += Turn(_a);
            work += Turn(_b);
            foreach (SimEnd end in _ends)
            {
                work += end.Step(NowUs);
            }

            Sample(_a);
            Sample(_b);
            if (_turns++ % TurnsBetweenChecks == 0)
            {
                CheckHosts();
            }

            if (work == 0 && NextDeadlineUs() > NowUs)
            {
                return;
            }
        }
    }

    private int Turn(SimHost host)
    {
        int work = host.Turn(NowUs);
        while (host.Stack.TryTakeEvent(out TcpConnection connection, out TcpEvents events))
        {
            SimEnd? end = connection.Owner as SimEnd ?? connection.Listener?.Owner as SimEnd;
            SimFailureException.Unless(end is not null, $"host {host.Name}: an event of a connection that is nobody's: {events} from {connection.Remote}");
            end.OnEvents(connection, events, NowUs);
            work++;
        }

        return work;
    }

    private long NextDeadlineUs()
    {
        long dueUs = Math.Min(Wire.NextDeadlineUs, Math.Min(_a.NextDeadlineUs(NowUs), _b.NextDeadlineUs(NowUs)));
        foreach (SimEnd end in _ends)
        {
            dueUs = Math.Min(dueUs, end.NextDeadlineUs());
        }

        return dueUs;
    }

    private void CheckHosts()
    {
        foreach (SimHost host in (ReadOnlySpan<SimHost>)[_a, _b])
        {
            host.CheckInvariants(_ends.Where(end => end.Host == host && end.Connection is not null).Select(end => end.Connection!));
        }
    }

    private void Sample(SimHost host)
    {
        foreach (SimEnd end in _ends)
        {
            if (end.Host == host)
            {
                end.Sample();
            }
        }

        if (host.Stack.TimeWaitCount > 0)
        {
            _timeWaitStates |= 1 << (int)TcpState.TimeWait;
        }
    }

    private void AddConnection(int index, SimConnectionPlan plan, SimRandom random)
    {
        (IpEndpoint localA, IpEndpoint localB) = Endpoints(index, _scenario.Ipv6);
        if (plan.Open == SimOpen.ByA && _scenario.BytesToWrap == 0 && random.Chance(0.3))
        {
            localA = localA with { Port = 0 };
        }

        var fromA = new SimPattern(random.NextUInt64());
        SimPattern fromB = plan.B.Echo ? fromA : new SimPattern(random.NextUInt64());
        var a = new SimEnd(this, _a, plan, isA: true, localA, localB, fromA, fromB, new SimRandom(random.NextUInt64()));
        var b = new SimEnd(this, _b, plan, isA: false, localB, localA, fromB, fromA, new SimRandom(random.NextUInt64()));
        a.Peer = b;
        b.Peer = a;
        _ends.Add(a);
        _ends.Add(b);
        _streams.Add([new SimStream(fromA, plan.A.SendBytes), new SimStream(fromB, plan.B.SendBytes)]);
    }

    private SimStream? StreamOf(ushort portB, bool fromA)
    {
        int index = portB - FirstPortB;
        return (uint)index < (uint)_streams.Count ? _streams[index][fromA ? 0 : 1] : null;
    }

    private static SimHost HostA(SimScenario scenario, UInt128 secret) => new("A", scenario.A, AddressA, scenario.Ipv6 ? AddressA6 : default, secret);

    private static SimHost HostB(SimScenario scenario, UInt128 secret) => new("B", scenario.B, AddressB, scenario.Ipv6 ? AddressB6 : default, secret);

    private static (IpEndpoint A, IpEndpoint B) Endpoints(int index, bool ipv6) =>
        (new IpEndpoint(ipv6 ? AddressA6 : AddressA, (ushort)(FirstPortA + index)), new IpEndpoint(ipv6 ? AddressB6 : AddressB, (ushort)(FirstPortB + index)));

    /// <summary>
    /// Initial sequence numbers come from a clock and a secret (RFC 6528), and the clock goes up by one each 4 microseconds: so a host that is asked at one time tells when to ask it for the
    /// number that is wanted.
    /// </summary>
    private static long StartNearWrap(SimScenario scenario, UInt128 secretA, UInt128 secretB)
    {
        bool byA = scenario.Connections[0].Open != SimOpen.ByB;
        using SimHost scratch = byA ? HostA(scenario, secretA) : HostB(scenario, secretB);
        (IpEndpoint a, IpEndpoint b) = Endpoints(0, scenario.Ipv6);
        TcpConnection? connection = scratch.Stack.Connect(byA ? a : b, byA ? b : a, scenario.StartUs);
        SimFailureException.Unless(connection is not null, "a fresh stack can connect");
        uint initial = connection.GetInfo(scenario.StartUs).SndUna;
        uint wanted = unchecked(0u - scenario.BytesToWrap);
        connection.Abort(scenario.StartUs);
        return scenario.StartUs + (4L * unchecked(wanted - initial));
    }
}
