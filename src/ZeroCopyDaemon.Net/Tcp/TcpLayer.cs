using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Ip;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>
/// All of a stack's TCP: tables of connections, listeners and TIME-WAIT entries, timers, the round of connections that have something to send, events. Single-threaded.
/// </summary>
internal sealed partial class TcpLayer : ITcpInput, ICounterSource
{
    private const int SlotBits = 17;
    private const int GenerationMask = (1 << (31 - SlotBits)) - 1;
    private readonly SipHash _hash;
    private readonly Dictionary<FlowKey, TcpConnection> _flows;
    private readonly Dictionary<IpEndpoint, TcpListener> _listeners = [];
    private readonly TimeWaitTable _timeWait;
    private readonly TimerHeap _timers = new();
    private readonly Queue<TcpConnection> _ready = new();
    private readonly Queue<TcpConnection> _events = new();
    private readonly List<TcpConnection?> _slots = [];
    private readonly List<int> _generations = [];
    private readonly Stack<int> _freeSlots = new();
    private readonly Dictionary<int, DepartedCharge> _departed = [];
    private long _challengeWindowUs;
    private int _challengesLeft;
    private TcpConnection? _lastFound;
    private uint _nextPort;

    private readonly record struct DepartedCharge(ReceiveBudget Budget, long Bytes);

    public TcpLayer(NetStackOptions options, PagePool pool, IFrameDevice device, IIpOutput ip, ReceiveBudget root, DropCounters drops)
    {
        Options = options.Tcp;
        Pool = pool;
        Device = device;
        Ip = ip;
        RootBudget = root;
        Drops = drops;
        _hash = new SipHash(options.Secret);
        var comparer = new FlowKeyComparer(_hash);
        _flows = new Dictionary<FlowKey, TcpConnection>(comparer);
        _timeWait = new TimeWaitTable(Options.MaxTimeWait, Options.TimeWaitUs, comparer);
        _nextPort = (uint)_hash.Hash([2UL]);
    }

    /// <summary>May be replaced while in use: what is opened later begins with the new ones.</summary>
    public TcpOptions Options { get; set; }

    public PagePool Pool { get; }

    public IFrameDevice Device { get; }

    public IIpOutput Ip { get; }

    public ReceiveBudget RootBudget { get; }

    public DropCounters Drops { get; }

    public TcpCounters Counters { get; } = new();

    public long NextDeadlineUs => Math.Min(_timers.NextDeadlineUs, _timeWait.NextDeadlineUs);

    public bool HasPendingOutput => _ready.Count > 0;

    public int ConnectionCount => _flows.Count;

    /// <summary>Every slot counts, also that of a connection whose last event nobody has taken yet.</summary>
    private bool HasRoom => _slots.Count - _freeSlots.Count < Math.Min(Options.MaxConnections, 1 << SlotBits);

    public int TimeWaitCount => _timeWait.Count;

    public bool IsInTimeWait(IpEndpoint local, IpEndpoint remote) => _timeWait.Contains(new FlowKey(local, remote));

    public int EndTimeWait()
    {
        int ended = _timeWait.Count;
        _timeWait.Expire(long.MaxValue);
        return ended;
    }

    public IEnumerable<TcpConnection> Connections
    {
        get
        {
            foreach (TcpConnection? connection in _slots.ToArray())
            {
                if (connection is not null)
                {
                    yield return connection;
                }
            }
        }
    }

    public bool TryGetConnection(int id, out TcpConnection connection)
    {
        int slot = id & ((1 << SlotBits) - 1);
        connection = id >= 0 && slot < _slots.Count ? _slots[slot]! : null!;
        return connection is not null && connection.Id == id;
    }

    public TcpListener Listen(IpEndpoint local, int backlog, ReceiveBudget? budget)
    {
        if (_listeners.ContainsKey(local))
        {
            throw new InvalidOperationException($"{local} has a listener already.");
        }

        var listener = new TcpListener(this, local, backlog, budget ?? RootBudget);
        _listeners.Add(local, listener);
        return listener;
    }

    public void CloseListener(TcpListener listener, long nowUs)
    {
        _listeners.Remove(listener.Local);
        foreach (TcpConnection connection in _flows.Values.Where(c => c.Listener == listener && c.State == TcpState.SynReceived).ToArray())
        {
            connection.Abort(nowUs);
        }
    }

    public TcpConnection? Connect(IpEndpoint local, IpEndpoint remote, long nowUs, ReceiveBudget? budget)
    {
        IpAddress source = local.Address.IsAny ? Ip.SourceFor(remote.Address) : local.Address;
        if (local.Port == 0)
        {
            if (!TryPickPort(source, remote, out ushort port))
            {
                return null;
            }

            local = new IpEndpoint(source, port);
        }
        else
        {
            local = new IpEndpoint(source, local.Port);
        }

        var flow = new FlowKey(local, remote);
        if (_flows.ContainsKey(flow) || !HasRoom)
        {
            return null;
        }

        TcpConnection connection = Add(flow, null, budget ?? RootBudget, InitialSequenceAfterTimeWait(flow, nowUs));
        Counters.ActiveOpens++;
        connection.OpenActively(nowUs);
        return connection;
    }

    /// <inheritdoc/>
    public void OnSegment(in TcpSegment segment, long nowUs)
    {
        Counters.InSegs++;
        Counters.InBytes += segment.PayloadLength;
        var flow = new FlowKey(segment.Destination, segment.Source);

        // Segments come in trains: mostly it is the last one's connection again.
        TcpConnection? connection = _lastFound;
        if (connection is null || connection.Flow != flow)
        {
            _flows.TryGetValue(flow, out connection);
        }

        if (connection is not null)
        {
            _lastFound = connection;
            connection.OnSegment(segment, nowUs);
            return;
        }

        if (_timeWait.TryFind(flow, out int timeWait) && !OnTimeWaitSegment(timeWait, segment, nowUs))
        {
            return;
        }

        if (!TryFindListener(segment.Destination, out TcpListener? listener))
        {
            Pool.ReleaseChain(segment.Payload);
            Drops.Count(DropReason.NO_SOCKET);
            ResetUnknown(segment, nowUs);
            return;
        }

        OnListenSegment(listener, flow, segment, nowUs);
    }

    /// <inheritdoc/>
    public void OnIcmpError(IpEndpoint local, IpEndpoint remote, SeqNumber quotedSeq, byte type, byte code, int nextHopMtu, long nowUs)
    {
        if (_flows.TryGetValue(new FlowKey(local, remote), out TcpConnection? connection))
        {
            connection.OnIcmpError(quotedSeq, type, code, nextHopMtu, nowUs);
        }
    }

    /// <summary>Runs due timers, then lets every connection that has something to send have its turn until done or the TX ring is full. Returns frames sent.</summary>
    public int Poll(long nowUs)
    {
        _timeWait.Expire(nowUs);
        NotifyMemoryReleased();
        NotifySlotReleased();
        while (_timers.TryTakeDue(nowUs, out TcpConnection due))
        {
            due.OnTimers(nowUs);
            _timers.Update(due);
        }

        long before = Device.TxPosted;
        bool full = false;
        for (int turns = _ready.Count; turns > 0 && !full; turns = _ready.Count)
        {
            while (turns-- > 0)
            {
                TcpConnection connection = _ready.Dequeue();
                connection.IsReady = false;
                if (connection.IsRemoved)
                {
                    continue;
                }

                switch (connection.Output(nowUs))
                {
                    case OutputResult.RingFull:
                        MarkReady(connection);
                        full = true;
                        break;
                    case OutputResult.More:
                        MarkReady(connection);
                        break;
                    case OutputResult.AwaitingNeighbor when !connection.IsAwaitingNeighbor:
                        connection.IsAwaitingNeighbor = true;
                        _awaitingNeighbor.Add(connection);
                        break;
                    default:
                        break;
                }

                _timers.Update(connection);
                if (full)
                {
                    break;
                }
            }
        }

        NotifyDeviceDone();
        return (int)(Device.TxPosted - before);
    }

    public bool TryTakeEvent(out TcpConnection connection, out TcpEvents events)
    {
        NotifyDeviceDone();
        if (!_events.TryDequeue(out connection!))
        {
            events = TcpEvents.None;
            return false;
        }

        events = connection.TakeEvents();
        if ((events & TcpEvents.Closed) != 0)
        {
            Forget(connection);
        }

        return true;
    }

    /// <summary>A page charged to a connection is free again.</summary>
    public void Uncharge(int id, int bytes)
    {
        _memoryReleased = true;
        if (TryGetConnection(id, out TcpConnection connection))
        {
            connection.OnUncharged(bytes);
            return;
        }

        if (_departed.TryGetValue(id, out DepartedCharge charge))
        {
            charge.Budget.Charge(-bytes);
            if (charge.Bytes <= bytes)
            {
                _departed.Remove(id);
            }
            else
            {
                _departed[id] = charge with { Bytes = charge.Bytes - bytes };
            }
        }
    }

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        Counters.VisitCounters(visitor);
        visitor.Counter("tcp.TWEvicted", _timeWait.Evicted);
        visitor.Counter("tcp.TimeWait", _timeWait.Count);
    }

    // What connections need of the layer.

    public void MarkReady(TcpConnection connection)
    {
        if (!connection.IsReady)
        {
            connection.IsReady = true;
            _ready.Enqueue(connection);
        }
    }

    public void Raise(TcpConnection connection, TcpEvents events)
    {
        if (connection.AddEvents(events))
        {
            _events.Enqueue(connection);
        }
    }

    public void UpdateTimers(TcpConnection connection) => _timers.Update(connection);

    /// <summary>Takes a connection out of every table but the slots: it is over, and its last event is on its way.</summary>
    public void Remove(TcpConnection connection)
    {
        Invariant.That(!connection.IsRemoved, "a connection ends once");
        connection.IsRemoved = true;
        _flows.Remove(connection.Flow);
        _lastFound = null;
        _timers.Remove(connection);
        if (connection.IsAwaitingNeighbor)
        {
            _awaitingNeighbor.Remove(connection);
        }
    }

    /// <summary>Nobody will hear of it any more: the slot is free, and only pages that somebody still holds remember the connection.</summary>
    public void Forget(TcpConnection connection)
    {
        int slot = connection.Id & ((1 << SlotBits) - 1);
        _slots[slot] = null;
        _freeSlots.Push(slot);
        connection.OnForgotten();
        if (connection.ChargedBytes > 0)
        {
            _departed.Add(connection.Id, new DepartedCharge(connection.Budget, connection.ChargedBytes));
        }
    }

    public void EnterTimeWait(TcpConnection connection, in TimeWaitEntry entry, long nowUs)
    {
        Counters.TimeWaits++;
        Counters.Visit(TcpState.TimeWait);
        _timeWait.Add(connection.Flow, entry, nowUs);
    }

    /// <summary>True if one more challenge acknowledgment may be sent in this second (RFC 5961 section 7).</summary>
    public bool MayChallenge(long nowUs)
    {
        if (nowUs - _challengeWindowUs >= 1_000_000)
        {
            // How many is nobody else's to know: a fixed number, counted out by an outsider, would tell which connections there are (CVE-2016-5696).
            _challengeWindowUs = nowUs;
            _challengesLeft = 500 + (int)(_hash.Hash([6UL, (ulong)nowUs]) % 1000);
        }

        if (_challengesLeft == 0)
        {
            return false;
        }

        _challengesLeft--;
        Counters.ChallengeAck++;
        return true;
    }

    /// <summary>A RST that no connection stands behind; lost if the ring is full, as on any wire.</summary>
    public void SendReset(IpEndpoint local, IpEndpoint remote, SeqNumber seq, SeqNumber ack, bool withAck, long nowUs)
    {
        var header = new TcpHeaderToSend
        {
            Source = local,
            Destination = remote,
            Seq = seq,
            Ack = withAck ? ack : default,
            Flags = withAck ? TcpFlags.Rst | TcpFlags.Ack : TcpFlags.Rst,
        };
        if (Ip.SendTcp(header, default, 0, 0, nowUs) == IpSendResult.Sent)
        {
            Counters.OutRsts++;
            Counters.OutSegs++;
        }
    }

    /// <summary>A per-connection offset, so that timestamps tell nothing of uptime or of other connections (RFC 7323 section 7.1).</summary>
    public uint TimestampOffset(in FlowKey flow) => (uint)_hash.Hash(flow, purpose: 4);

    private TcpConnection Add(in FlowKey flow, TcpListener? listener, ReceiveBudget budget, SeqNumber initialSequence)
    {
        if (!_freeSlots.TryPop(out int slot))
        {
            slot = _slots.Count;
            Invariant.That(slot < 1 << SlotBits, "there are slots for every connection that the options allow");
            _slots.Add(null);
            _generations.Add(0);
        }

        int id;
        do
        {
            _generations[slot] = (_generations[slot] + 1) & GenerationMask;
            id = (_generations[slot] << SlotBits) | slot;
        }
        while (_departed.ContainsKey(id));
        var connection = new TcpConnection(this, id, flow, listener, budget, initialSequence);
        _slots[slot] = connection;
        _flows.Add(flow, connection);
        return connection;
    }
}
