using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Wires.Sim;

namespace ZeroCopyDaemon.Simulation;

/// <summary>One end of a simulated connection: opens it, sends, receives, and ends it, as its plan says. The application, as it were.</summary>
internal sealed class SimEnd : IDisposable
{
    private const int MaxConnectAttempts = 1000;
    private const long AbortPatienceUs = 600_000_000;

    private readonly SimWorld _world;
    private readonly SimConnectionPlan _plan;
    private readonly bool _isA;
    private readonly bool _connects;
    private readonly bool _earlyWrites;
    private readonly SimRandom _random;
    private readonly IpEndpoint _local;
    private readonly IpEndpoint _remote;
    private TcpListener? _listener;
    private int _attempts;
    private long _connectAgainUs = long.MaxValue;
    private long _closedAtUs;
    private bool _peerClosed;
    private bool _sendShut;
    private bool _closeCalled;

    public SimEnd(SimWorld world, SimHost host, SimConnectionPlan plan, bool isA, IpEndpoint local, IpEndpoint remote, SimPattern sends, SimPattern receives, SimRandom random)
    {
        _world = world;
        _plan = plan;
        _isA = isA;
        _connects = plan.Open == SimOpen.Simultaneous || plan.Open == SimOpen.ByA == isA;
        _earlyWrites = random.Chance(0.5);
        _random = random;
        _local = local;
        _remote = remote;
        Host = host;
        SimEndPlan mine = isA ? plan.A : plan.B;
        SimEndPlan others = isA ? plan.B : plan.A;
        Sender = new SimSender(mine, sends, random, host.Pool);
        Receiver = new SimReceiver(mine, receives, others.SendBytes, random, host.Pool, mine.Echo ? Sender : null);
    }

    public SimHost Host { get; }

    /// <summary>The other end.</summary>
    public SimEnd Peer { get; set; } = null!;

    public SimSender Sender { get; }

    public SimReceiver Receiver { get; }

    /// <summary>Null before it is open and after it is closed.</summary>
    public TcpConnection? Connection { get; private set; }

    /// <summary>TCP is done with it, and so is the application.</summary>
    public bool Done => Closed && Receiver.Held == 0;

    /// <summary>The last event came.</summary>
    public bool Closed { get; private set; }

    public bool Established { get; private set; }

    public bool Failed { get; private set; }

    /// <summary>The peer had forgotten the connection, after TIME-WAIT, when this end's last FIN reached it: everything had arrived.</summary>
    public bool LateReset { get; private set; }

    /// <summary>States seen, a bit per <see cref="TcpState"/>.</summary>
    public int States { get; private set; }

    /// <summary>SYN-RECEIVED was seen at an end that connected.</summary>
    public bool OpenedSimultaneously { get; private set; }

    private string Who => _isA ? "A" : "B";

    public void Listen()
    {
        if (!_connects)
        {
            _listener = Host.Stack.Listen(new IpEndpoint(IpAddress.Any, _local.Port), backlog: 4);
            _listener.Owner = this;
        }
    }

    public void Connect(long nowUs)
    {
        if (!_connects)
        {
            return;
        }

        _connectAgainUs = long.MaxValue;
        SimFailureException.Unless(++_attempts <= MaxConnectAttempts, $"{Who} can't connect to its neighbour in {MaxConnectAttempts} attempts");
        Connection = Host.Stack.Connect(_local, _remote, nowUs);
        SimFailureException.Unless(Connection is not null, $"{Who} is refused a connection by its own stack");
        Connection.Owner = this;
        _world.Event(nowUs, Who, $"connects from {Connection.Local} to {_remote}");
    }

    /// <summary>Notes the state that the connection is in.</summary>
    public void Sample()
    {
        if (Connection is not null)
        {
            States |= 1 << (int)Connection.State;
            OpenedSimultaneously |= _connects && Connection.State == TcpState.SynReceived;
        }

        if (_listener is { HalfOpen: > 0 })
        {
            States |= 1 << (int)TcpState.SynReceived;
        }
    }

    /// <summary>The stack has news.</summary>
    public void OnEvents(TcpConnection connection, TcpEvents events, long nowUs)
    {
        _world.Event(nowUs, Who, $"{events}{((events & TcpEvents.Failed) != 0 ? $" ({connection.Error})" : "")}, {Receiver.Position} bytes received");
        if ((events & TcpEvents.Accepted) != 0)
        {
            SimFailureException.Unless(Connection is null && connection.Listener == _listener, $"{Who} accepts one connection, of its own listener");
            Connection = connection;
            Connection.Owner = this;
            _listener!.MarkAccepted(connection);
            Established = true;
        }

        SimFailureException.Unless(connection == Connection, $"{Who} hears of a connection that isn't its own: {events}");
        Established |= (events & TcpEvents.Connected) != 0;
        _peerClosed |= (events & TcpEvents.PeerClosed) != 0;
        SimFailureException.Unless(!_peerClosed || connection.PeerClosed || Failed || (events & TcpEvents.Failed) != 0, $"{Who} was told of the peer's FIN, and its connection knows nothing of it");
        if ((events & TcpEvents.Failed) != 0)
        {
            OnFailed(connection, nowUs);
        }

        if ((events & TcpEvents.Closed) != 0)
        {
            OnClosed(connection, nowUs);
        }
    }

    /// <summary>Does what is to be done now. Returns the amount of work.</summary>
    public int Step(long nowUs)
    {
        int work = Receiver.ReleaseDue(nowUs);
        if (nowUs >= _connectAgainUs)
        {
            Connect(nowUs);
            work++;
        }

        if (Connection is null)
        {
            if (!Closed && IsAbandoned(nowUs))
            {
                // Aborted before this end had even heard of it.
                Closed = true;
                _closedAtUs = nowUs;
                work++;
            }

            return work;
        }

        work += Sender.TakeSent(Connection);
        if (Established && !_closeCalled)
        {
            work += Receiver.Read(Connection, nowUs);
        }

        if ((Established || _earlyWrites) && !_sendShut && !Failed)
        {
            work += Sender.Write(Connection, nowUs);
        }

        return Established && !Failed ? work + End(nowUs) : work;
    }

    /// <summary>When <see cref="Step"/> has something to do next.</summary>
    public long NextDeadlineUs()
    {
        long dueUs = Math.Min(_connectAgainUs, Receiver.NextDeadlineUs(Established && !_closeCalled ? Connection : null));
        if (Connection is not null && (Established || _earlyWrites) && !_sendShut && !Failed)
        {
            dueUs = Math.Min(dueUs, Sender.NextWriteUs(Connection));
        }

        return Peer.Closed && _plan.Aborts && !Closed ? Math.Min(dueUs, Peer._closedAtUs + AbortPatienceUs) : dueUs;
    }

    /// <summary>What it looks like, for a failure's text.</summary>
    public string Describe(long nowUs) =>
        $"{Who}: {(Connection is null ? (Closed ? "closed" : "not open") : Connection.GetInfo(nowUs).ToString())}, given {Sender.Position}, taken back {Sender.TakenBack}, received {Receiver.Position}, "
        + $"{Receiver.Held} leases held, {Sender.Outstanding} items out";

    public void CloseListener(long nowUs) => _listener?.Close(nowUs);

    public void Dispose() => Sender.Dispose();

    private int End(long nowUs)
    {
        bool mayAbort = _plan.Close == (_isA ? SimClose.AbortByA : SimClose.AbortByB) && Receiver.Position >= _plan.AbortAfterBytes;
        bool resetLost = IsAbandoned(nowUs);
        if (mayAbort || resetLost)
        {
            // A reset is sent once. If it is lost, an end that only waits never finds out; but lost it must be.
            SimFailureException.Unless(!resetLost || _world.HasLostFrames, $"{Who} never heard of its peer's abort, though no frame was lost");
            _world.Event(nowUs, Who, "aborts");
            Connection!.Abort(nowUs);
            return 1;
        }

        bool sent = Sender.Finished;
        bool all = sent && Receiver.Finished;
        switch (_plan.Close)
        {
            case SimClose.AFirst when !_isA:
            case SimClose.BFirst when _isA:
                return all && _peerClosed ? ShutdownSend(nowUs) : 0;
            case SimClose.FullByA when _isA:
            case SimClose.FullByB when !_isA:
                return all ? Close(nowUs) : 0;
            case SimClose.FullByA:
            case SimClose.FullByB:
                return all && _peerClosed ? Close(nowUs) : 0;
            case SimClose.Simultaneous:
                return all && (Peer._closeCalled || (Peer.Sender.Finished && Peer.Receiver.Finished)) ? Close(nowUs) : 0;
            default:
                return sent ? ShutdownSend(nowUs) : 0;
        }
    }

    private bool IsAbandoned(long nowUs) => _plan.Aborts && Peer.Closed && nowUs >= Peer._closedAtUs + AbortPatienceUs;

    private int ShutdownSend(long nowUs)
    {
        if (_sendShut)
        {
            return 0;
        }

        _sendShut = true;
        _world.Event(nowUs, Who, $"has sent everything, {Sender.Position} bytes, and ends its direction");
        Connection!.ShutdownSend();
        return 1;
    }

    private int Close(long nowUs)
    {
        if (_closeCalled)
        {
            return 0;
        }

        _closeCalled = true;
        _sendShut = true;
        _world.Event(nowUs, Who, "closes");
        Connection!.Close(nowUs);
        return 1;
    }

    private void OnFailed(TcpConnection connection, long nowUs)
    {
        Failed = true;

        // ARP may be lost too often, as anything; and one end of a simultaneous open that has to try again may find the other doing just that.
        bool tryAgain = !Established
            && (connection.Error == TcpError.HostUnreachable || (connection.Error == TcpError.ConnectionRefused && _plan.Open == SimOpen.Simultaneous && (Peer._connectAgainUs != long.MaxValue || Peer._attempts + _attempts > 2)));
        bool everything = Sender.Finished && Receiver.Finished && _sendShut && _peerClosed;
        LateReset = everything && connection.Error == TcpError.ConnectionReset && Peer.Closed && Peer.Host.Stack.TimeWaitCount == 0;
        SimFailureException.Unless(
            tryAgain || LateReset || _plan.Aborts,
            $"{Who}'s connection failed ({connection.Error}) after {Receiver.Position} bytes received and {Sender.Position} sent, and nobody aborted it{Environment.NewLine}{Describe(nowUs)}{Environment.NewLine}{Peer.Describe(nowUs)}");
    }

    private void OnClosed(TcpConnection connection, long nowUs)
    {
        Sender.TakeSent(connection);
        SimFailureException.Unless(Sender.Outstanding == 0, $"{Sender.Outstanding} of {Who}'s send items are lost: its connection is closed and they did not come back");
        if (!Failed)
        {
            Receiver.Drain(connection, nowUs);
        }

        connection.Owner = null;
        Connection = null;
        if (Failed && !Established && !Peer.Closed)
        {
            Failed = false;
            Sender.Restart();
            _connectAgainUs = nowUs + _random.Between(1_000_000L, 5_000_000L);
            return;
        }

        Sender.Drop();
        Closed = true;
        _closedAtUs = nowUs;
        States |= 1 << (int)TcpState.Closed;
        if (!_plan.Aborts)
        {
            SimFailureException.Unless(
                Sender.Finished && Receiver.Finished,
                $"{Who}'s connection closed in order after {Receiver.Position} bytes received and {Sender.Position} sent, which is not all");
        }
    }
}
