using ZeroCopyDaemon.Kernel.Sockets;
using ZeroCopyDaemon.Kernel.Workers;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Wires;

namespace ZeroCopyDaemon.Kernel.Loop;

/// <summary>
/// Everything that the loop thread owns, and one turn of the loop: wire, NIC, stack, sockets, workers. Knows no clock and never sleeps, so a test can drive it turn by turn.
/// </summary>
internal sealed class KernelCore : ICounterSource
{
    /// <summary>Frames per RX queue and turn: NAPI's customary weight.</summary>
    private const int PollBudget = 64;

    /// <summary>Events of different workers are looked at in turn; one worker's submissions per turn are bounded by its ring.</summary>
    private readonly List<AttachedWorker> _workers = [];

    private readonly long[] _departedCounters = new long[WorkerCounters.Names.Count];
    private readonly long _listenerLingerUs;
    private readonly int _expectedWorkers;
    private readonly IFrameReceiver _receiver;
    private long _workerBells;
    private long _completions;
    private long _submissions;
    private long _protocolViolations;
    private long _turns;
    private int _lastWorkerId;
    private long _listenersCloseAtUs = long.MaxValue;
    private long _conflictsTold;
    private long _conflictsTold6;
    private int _mtu;
    private bool _linkUp;

    public KernelCore(KernelHostOptions options, PagePool pool, NicModel nic, NicDriver driver, NetStack stack, IWire wire)
    {
        Pool = pool;
        Nic = nic;
        Driver = driver;
        Stack = stack;
        Wire = wire;
        _receiver = wire.Filter(stack, pool);
        _listenerLingerUs = (long)(options.ListenerLingerSeconds * 1e6);
        _expectedWorkers = Math.Max(1, options.ExpectedWorkers);
        Sockets = new SocketLayer(stack, pool, stack.Options.Tcp.MaxSendItems, worker => worker.DisposeTx());

        // The rings are a reserve that connections cannot take: the NIC can always be given another page for the one it filled.
        long ringBytes = (long)options.RxRingSize * options.RxQueues * options.PageBytes;
        // So is what the wire holds back: it is charged to nobody.
        long wireBytes = (long)wire.MaxPagesHeld * options.PageBytes;
        stack.RootBudget.LimitBytes = options.PoolBytes - wireBytes - ringBytes - Math.Max(ringBytes / 4, options.PageBytes * 4);
    }

    public PagePool Pool { get; }

    public NicModel Nic { get; }

    public NicDriver Driver { get; }

    public NetStack Stack { get; }

    public IWire Wire { get; }

    public SocketLayer Sockets { get; }

    public IReadOnlyList<AttachedWorker> Workers => _workers;

    /// <summary>Called when a worker was detached, so that the loop stops watching its doorbell.</summary>
    public Action<AttachedWorker>? WorkerDetached { get; set; }

    /// <summary>When the next turn must come at the latest.</summary>
    public long NextDeadlineUs => Math.Min(Math.Min(Stack.NextDeadlineUs, Nic.NextInterruptUs), Math.Min(Wire.NextDeadlineUs, _listenersCloseAtUs));

    /// <summary>True while some worker could not be told everything because its completion ring was full.</summary>
    public bool HasBlockedWorker
    {
        get
        {
            foreach (AttachedWorker worker in _workers)
            {
                if (worker.Blocked)
                {
                    return true;
                }
            }

            return false;
        }
    }

    /// <summary>True while the wire holds frames back that the NIC has to send.</summary>
    public bool IsTxHeldBack => Driver.TxCompleted != Driver.TxPosted;

    /// <summary>True if a turn would find something to do right now.</summary>
    public bool HasWork(long nowUs)
    {
        if (Wire.NeedsPoll || Driver.NeedsPoll(nowUs) || Stack.NextDeadlineUs <= nowUs)
        {
            return true;
        }

        foreach (AttachedWorker worker in _workers)
        {
            if (worker.Submissions.Available > 0)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>One turn. Returns how much was done; 0 = idle.</summary>
    public int RunOnce(long nowUs)
    {
        _turns++;
        int work = Wire.Poll(nowUs);
        WatchLink();
        work += Driver.Poll(nowUs, PollBudget, _receiver);
        work += Sockets.TakeEvents(nowUs);
        work += DrainSubmissions(nowUs);
        work += Stack.Poll(nowUs);
        work += Nic.ProcessTx(nowUs);
        work += Sockets.TakeEvents(nowUs);
        work += DeliverAll(nowUs);
        if (_listenersCloseAtUs <= nowUs)
        {
            CloseAbandonedListeners(nowUs);
        }

        return work;
    }

    /// <summary>Detaches every worker since the daemon stops. Returns how many there were.</summary>
    public int DetachAll(long nowUs)
    {
        AttachedWorker[] all = [.. _workers];
        foreach (AttachedWorker worker in all)
        {
            Detach(worker, DetachReason.Shutdown, nowUs);
        }

        return all.Length;
    }

    public void AddWorker(AttachedWorker worker, long nowUs)
    {
        worker.AttachedAtUs = nowUs;
        _workers.Add(worker);
        Sockets.AddWorker(worker);
        ShareOut();
    }

    /// <summary>An id that neither a worker nor the sends of a dead one still use.</summary>
    public int NextWorkerId()
    {
        do
        {
            _lastWorkerId = (_lastWorkerId % ushort.MaxValue) + 1;
        }
        while (Sockets.IsIdInUse(_lastWorkerId));
        return _lastWorkerId;
    }

    public AttachedWorker? FindWorker(string token) => _workers.Find(worker => string.Equals(worker.Token, token, StringComparison.Ordinal));

    /// <summary>
    /// A worker goes: by its own wish, because its process ended, or because it broke the rules. What it had published before counts, unless it broke the rules. Idempotent.
    /// </summary>
    public void Detach(AttachedWorker worker, DetachReason reason, long nowUs)
    {
        if (worker.Detached)
        {
            return;
        }

        if (reason < DetachReason.RingCorrupt)
        {
            Drain(worker, nowUs);
            if (worker.Detached)
            {
                return;
            }
        }
        else
        {
            _protocolViolations++;
        }

        worker.Detached = true;
        worker.Reason = reason;
        for (int i = 0; i < _departedCounters.Length; i++)
        {
            _departedCounters[i] += worker.Counter(i);
        }

        _workers.Remove(worker);
        bool orderly = reason is DetachReason.Requested or DetachReason.Shutdown;
        foreach (SocketListener listener in Sockets.Listeners.ToArray())
        {
            if (!SocketLayer.Leave(listener, worker))
            {
                continue;
            }

            // A supervisor may be about to start another worker: clients wait in the backlog rather than being refused.
            listener.ClosesAtUs = orderly ? nowUs : nowUs + _listenerLingerUs;
            _listenersCloseAtUs = Math.Min(_listenersCloseAtUs, listener.ClosesAtUs);
        }

        Sockets.Disown(worker, orderly, nowUs);
        unsafe
        {
            Volatile.Write(ref *(uint*)(worker.KernelArea.Address + WorkerAreaLayout.DetachedOffset), (uint)reason);
        }

        worker.Bell.Ring();
        WorkerDetached?.Invoke(worker);
        worker.Events.Writer.TryWrite(new Protocol.Control.AttachEvent
        {
            Detached = new Protocol.Control.Detached { Reason = (uint)reason, Message = Describe(reason) },
        });
        worker.Events.Writer.TryComplete();
        worker.Dispose();
        ShareOut();
    }

    /// <summary>A sentence for listings and for the worker.</summary>
    public static string Describe(DetachReason reason) => reason switch
    {
        DetachReason.None => "",
        DetachReason.Requested => "the worker detached",
        DetachReason.Exited => "the worker's process ended",
        DetachReason.Shutdown => "the daemon is stopping",
        DetachReason.RingCorrupt => "the worker wrote a ring index out of range",
        DetachReason.BadDescriptor => "the worker submitted an operation that doesn't exist or has reserved bits set",
        DetachReason.BadHandle => "the worker named a connection or listener that is not its own",
        DetachReason.BadLease => "the worker named a lease that is not its own, or that it had released before",
        DetachReason.BadRange => "the worker named a range outside its TX area",
        DetachReason.LimitExceeded => "the worker had more outstanding than its limits allow",
        _ => reason.ToString(),
    };

    /// <summary>Opens or shares a listener for a worker. Throws <see cref="KernelHostException"/> if the port can't be had.</summary>
    public SocketListener Listen(AttachedWorker worker, int port, int backlog, Func<int, string> expose, Action<int> unexpose)
    {
        SocketListener? listener = Sockets.FindListenerByPort(port);
        if (listener is null)
        {
            string address = expose(port);
            try
            {
                TcpListener tcp = Stack.Listen(new IpEndpoint(IpAddress.Any, (ushort)port), backlog, Stack.RootBudget);
                listener = Sockets.AddListener(tcp, port, address, Wire.AlsoAt(port));
            }
            catch (InvalidOperationException e)
            {
                unexpose(port);
                throw new KernelHostException(e.Message, e);
            }
        }

        SocketLayer.Join(listener, worker);
        return listener;
    }

    /// <summary>A worker leaves a listener; with the last one it closes.</summary>
    public void Unlisten(AttachedWorker worker, SocketListener listener, long nowUs)
    {
        if (SocketLayer.Leave(listener, worker))
        {
            listener.ClosesAtUs = nowUs;
            CloseAbandonedListeners(nowUs);
        }
    }

    /// <summary>Told when a listener closes, so that the wire stops taking clients for it.</summary>
    public Action<int>? ListenerClosed { get; set; }

    /// <summary>Told of what a user should know, on the loop thread; one line.</summary>
    public Action<string>? Notice { get; set; }

    /// <summary>Tells every worker that the kernel is about to sleep, or awake.</summary>
    public void SetSleeping(bool sleeping)
    {
        foreach (AttachedWorker worker in _workers)
        {
            worker.SetKernelSleeping(sleeping);
        }
    }

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        Pool.VisitCounters(visitor);
        Nic.VisitCounters(visitor);
        Driver.VisitCounters(visitor);
        Stack.VisitCounters(visitor);
        Wire.VisitCounters(visitor);
        Sockets.VisitCounters(visitor);
        for (int i = 0; i < _departedCounters.Length; i++)
        {
            visitor.Counter(WorkerCounters.Names[i], _departedCounters[i]);
            foreach (AttachedWorker worker in _workers)
            {
                visitor.Counter(WorkerCounters.Names[i], worker.Counter(i));
            }
        }

        visitor.Counter("kernel.loop_turns", _turns);
        visitor.Counter("kernel.worker_bells", _workerBells);
        visitor.Counter("kernel.completions", _completions);
        visitor.Counter("kernel.submissions", _submissions);
        visitor.Counter("kernel.protocol_violations", _protocolViolations);
        visitor.Counter("kernel.workers", _workers.Count);
    }

    /// <summary>What a wire finds out about its link concerns the stack too.</summary>
    private void WatchLink()
    {
        if (_linkUp != Nic.LinkUp)
        {
            _linkUp = Nic.LinkUp;
            if (_linkUp)
            {
                Stack.Announce();
            }
        }

        if (_mtu != Nic.Mtu)
        {
            _mtu = Nic.Mtu;
            Stack.OnMtuChanged();
        }

        TellConflict(Stack.AddressConflicts, ref _conflictsTold, Stack.Options.Address, "--address");
        TellConflict(Stack.AddressConflicts6, ref _conflictsTold6, Stack.Options.Address6, "--address6");
    }

    private void TellConflict((long Count, EthernetAddress Hardware) conflicts, ref long told, IpAddress address, string setting)
    {
        if (conflicts.Count != 0 && told == 0)
        {
            Notice?.Invoke($"another host on the wire ({conflicts.Hardware}) says that it has the address {address}: clients may reach that one instead; choose another {setting}, or take the address from it");
        }

        told = conflicts.Count;
    }

    /// <summary>Each worker's share of the pool, so that one that never releases can't starve the others.</summary>
    private void ShareOut()
    {
        int shares = Math.Max(_expectedWorkers, _workers.Count);

        // Twice the even share: workers are rarely all busy at once, and a stuck one still leaves most of the pool to the others.
        long limit = Stack.RootBudget.LimitBytes / Math.Max(2, (shares + 1) / 2);
        foreach (AttachedWorker worker in _workers)
        {
            worker.Budget.LimitBytes = limit;
        }
    }

    private int DrainSubmissions(long nowUs)
    {
        int work = 0;
        for (int i = _workers.Count - 1; i >= 0; i--)
        {
            work += Drain(_workers[i], nowUs);
        }

        return work;
    }

    private int Drain(AttachedWorker worker, long nowUs)
    {
        int taken = 0;
        DetachReason reason = DetachReason.None;
        int limit = worker.Submissions.Available;
        while (taken < limit && worker.Submissions.TryRead(out Submission submission))
        {
            taken++;
            reason = Sockets.Submit(worker, submission, nowUs);
            if (reason != DetachReason.None)
            {
                break;
            }
        }

        if (taken > 0)
        {
            worker.Submissions.Retire();
            _submissions += taken;
        }

        if (worker.Submissions.Corrupt)
        {
            reason = DetachReason.RingCorrupt;
        }

        if (reason != DetachReason.None)
        {
            Detach(worker, reason, nowUs);
            return taken + 1;
        }

        return taken;
    }

    private int DeliverAll(long nowUs)
    {
        int work = 0;
        for (int i = _workers.Count - 1; i >= 0; i--)
        {
            AttachedWorker worker = _workers[i];
            if (worker.Dirty.Count == 0)
            {
                continue;
            }

            int written = Sockets.Deliver(worker);
            if (worker.Completions.Corrupt)
            {
                Detach(worker, DetachReason.RingCorrupt, nowUs);
                continue;
            }

            if (written == 0)
            {
                continue;
            }

            work += written;
            _completions += written;
            worker.Completions.Publish();
            if (worker.Bell.RingIfAsleep())
            {
                _workerBells++;
            }
        }

        return work;
    }

    private void CloseAbandonedListeners(long nowUs)
    {
        _listenersCloseAtUs = long.MaxValue;
        foreach (SocketListener listener in Sockets.Listeners.ToArray())
        {
            if (listener.ClosesAtUs <= nowUs)
            {
                Sockets.RemoveListener(listener, nowUs);
                ListenerClosed?.Invoke(listener.Port);
            }
            else
            {
                _listenersCloseAtUs = Math.Min(_listenersCloseAtUs, listener.ClosesAtUs);
            }
        }
    }
}
