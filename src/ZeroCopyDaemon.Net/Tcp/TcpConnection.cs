using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>
/// One TCP connection (RFC 9293). Owned by its <see cref="NetStack"/>; used on the stack's thread only. Output that a call makes possible is sent by the next <see cref="NetStack.Poll"/>.
/// <para>Send positions count bytes from the first one after SYN, so that nothing wraps; the FIN, once queued, is the byte after the last one.</para>
/// </summary>
public sealed partial class TcpConnection
{
    private readonly TcpLayer _layer;
    private readonly SeqNumber _iss;
    private readonly CongestionControl _congestion = new NewRenoCongestionControl();
    private readonly LossRecovery _recovery = new NewRenoRecovery();
    private SendQueue _send;
    private ReceiveQueue _receive = ReceiveQueue.Create();
    private RttEstimator _rtt;
    private Deadlines _deadlines;
    private ReceiveBudget _budget;
    private TcpEvents _events;
    private TcpState _state;
    private bool _appClosed;
    private bool _closedRaised;
    private bool _closedPending;
    private bool _drainPending;
    private bool _isForgotten;

    [InlineArray(4)]
    private struct Deadlines
    {
        private long _first;
    }

    internal TcpConnection(TcpLayer layer, int id, in FlowKey flow, TcpListener? listener, ReceiveBudget budget, SeqNumber initialSequence)
    {
        _layer = layer;
        _iss = initialSequence;
        Id = id;
        Flow = flow;
        Listener = listener;
        IsAnnounced = listener is null;
        _budget = budget;
        budget.Connections++;
        TcpOptions options = layer.Options;
        ReceiveQuotaBytes = options.ReceiveQuotaBytes;
        ReceiveBufferBytes = listener?.ReceiveBufferBytes ?? long.MaxValue;
        NoDelay = !options.Nagle;
        _send = new SendQueue(options.MaxSendItems);
        _rtt = new RttEstimator(options.InitialRtoUs, options.MinRtoUs, options.MaxRtoUs);
        _timestampOffset = layer.TimestampOffset(flow);
        _rcvScale = ScaleFor(options.MaxReceiveWindow);
        ((Span<long>)_deadlines).Fill(long.MaxValue);
        SetRatio(layer.Device.Mtu - HeaderBytes);
    }

    /// <summary>Unique among live connections; never negative. Fragments and pages name their holder by it.</summary>
    public int Id { get; }

    public TcpState State
    {
        get => _state;
        private set
        {
            if (_state != value)
            {
                _layer.Counters.CurrEstab += (IsEstablished(value) ? 1 : 0) - (IsEstablished(_state) ? 1 : 0);
                _state = value;
                _layer.Counters.Visit(value);
            }
        }
    }

    public IpEndpoint Local => new(Flow.Local, Flow.LocalPort);

    public IpEndpoint Remote => new(Flow.Remote, Flow.RemotePort);

    /// <summary>Who accepted it; null for an active open.</summary>
    public TcpListener? Listener { get; }

    /// <summary>For the socket layer's use.</summary>
    public object? Owner { get; set; }

    /// <summary>Set after <see cref="TcpEvents.Failed"/>.</summary>
    public TcpError Error { get; private set; }

    /// <summary>True switches Nagle's algorithm off (RFC 9293 section 3.7.4).</summary>
    public bool NoDelay { get; set; }

    /// <summary>Budget that received pages are charged to; the socket layer moves the connection to its worker's on accept (what is already charged moves along).</summary>
    public ReceiveBudget Budget
    {
        get => _budget;
        set
        {
            if (_isForgotten)
            {
                return;
            }

            _budget.Charge(-ChargedBytes);
            _budget.Connections--;
            _budget = value;
            _budget.Charge(ChargedBytes);
            _budget.Connections++;
        }
    }

    /// <summary>This connection's own limit of truesize bytes.</summary>
    public long ReceiveQuotaBytes { get; set; }

    /// <summary>
    /// Payload bytes that may wait for the application (SO_RCVBUF): the window offered is what is left of it, whatever memory there is besides. Without a limit memory alone decides.
    /// </summary>
    public long ReceiveBufferBytes { get; set; }

    /// <summary>Truesize bytes charged: queued, out of order, leased, transmitting as a lease.</summary>
    public long ChargedBytes { get; private set; }

    /// <summary>In-order bytes on the receive queue.</summary>
    public long ReadableBytes => _receive.ReadableBytes;

    /// <summary>True once the peer's FIN has been taken in, in order. The stream has ended when also <see cref="ReadableBytes"/> is 0.</summary>
    public bool PeerClosed { get; private set; }

    /// <summary>Free places on the send queue.</summary>
    public int SendItemsFree => _send.Free;

    /// <summary>Bytes queued and not yet acknowledged.</summary>
    public long SendQueueBytes => Math.Max(0, _send.End - _una);

    internal FlowKey Flow { get; }

    /// <summary>Somebody has heard of it: it was opened from here, or the event of its being accepted was raised. What ends half-open is nobody's business.</summary>
    internal bool IsAnnounced { get; private set; }

    internal bool CountsInAcceptQueue { get; set; }

    internal bool IsReady { get; set; }

    internal bool IsRemoved { get; set; }

    internal bool IsAwaitingDevice { get; set; }

    internal bool IsAwaitingNeighbor { get; set; }

    internal bool IsAwaitingMemory { get; set; }

    internal bool IsAwaitingSlot { get; set; }

    internal int HeapIndex { get; set; } = -1;

    internal long HeapDeadlineUs { get; set; }

    internal long NextDeadlineUs => Math.Min(Math.Min(_deadlines[0], _deadlines[1]), Math.Min(_deadlines[2], _deadlines[3]));

    private PagePool Pool => _layer.Pool;

    private DropCounters Drops => _layer.Drops;

    /// <summary>
    /// Takes in-order payload off the receive queue: at most <paramref name="maxBytes"/> in at most <paramref name="maxFragments"/> fragments, the last one split if need be.
    /// <paramref name="head"/> is the first of the chain, which the caller now holds (state still <see cref="FragmentState.Queued"/>; lease or release each). Returns the bytes taken.
    /// The window opens again as pages are released, not here. 0 although there are bytes: no fragment can be split now as too many are held; <see cref="TcpEvents.Readable"/> comes once one can.
    /// </summary>
    public int Receive(int maxBytes, int maxFragments, out int head)
    {
        int taken = _receive.Take(Pool, maxBytes, maxFragments, out head);
        if (taken == 0 && maxBytes > 0 && maxFragments > 0 && _receive.ReadableBytes > 0)
        {
            _layer.AwaitSlot(this);
        }

        if (_drainPending && _receive.ReadableBytes == 0)
        {
            _drainPending = false;
            RaiseClosed();
        }

        return taken;
    }

    /// <summary>
    /// Queues payload. False (nothing taken) when the queue is full, or after <see cref="ShutdownSend"/>, or when the connection is not (going to be) synchronised.
    /// <paramref name="more"/>: more follows at once, so a short last segment may wait (MSG_MORE).
    /// </summary>
    public bool TrySend(in SendItem item, bool more = false)
    {
        if (_finQueued || _appClosed || IsRemoved || _send.Free == 0 || item.Length == 0)
        {
            return false;
        }

        if (item.Fragment != PagePool.NoFragment)
        {
            Pool[item.Fragment].State = FragmentState.Transmitting;
        }

        _send.Add(item, more);
        _layer.MarkReady(this);
        return true;
    }

    /// <summary>
    /// Takes back the oldest send item that was acknowledged in full (or given up, when the connection failed) and is no longer read by the device. A fragment was released already.
    /// </summary>
    public bool TryTakeSent(out SendItem item) => _send.TryTake(Pool, _layer.Device.TxCompleted, out item);

    /// <summary>Sends FIN once everything queued was sent. Idempotent.</summary>
    public void ShutdownSend()
    {
        if (!_finQueued && !IsRemoved)
        {
            _finQueued = true;
            _layer.MarkReady(this);
        }
    }

    /// <summary>
    /// The application is done with both directions: FIN after what is queued; queued or later received payload makes it a reset (RFC 2525 section 2.17, RFC 9293 section 3.6).
    /// Events go on until <see cref="TcpEvents.Closed"/>. Idempotent.
    /// </summary>
    public void Close(long nowUs)
    {
        if (_appClosed)
        {
            return;
        }

        _appClosed = true;
        if (IsRemoved)
        {
            EndDrain();
            return;
        }

        if (State == TcpState.SynSent)
        {
            Finish(nowUs);
            return;
        }

        if (_receive.ReadableBytes > 0 || _receive.HasOutOfOrder)
        {
            Reset(nowUs);
            return;
        }

        ShutdownSend();
        if (State == TcpState.FinWait2)
        {
            Arm(TcpTimer.FinWait2, nowUs + _layer.Options.FinWait2Us);
        }
    }

    /// <summary>RST to the peer, everything queued is dropped. <see cref="TcpEvents.Closed"/> follows. Idempotent.</summary>
    public void Abort(long nowUs)
    {
        _appClosed = true;
        if (IsRemoved)
        {
            EndDrain();
            return;
        }

        Reset(nowUs);
    }

    /// <summary>A snapshot for the inspector.</summary>
    public TcpInfo GetInfo(long nowUs) => new(
        State, SeqOf(_una).Value, SeqOf(_nxt).Value, _rcvNxt.Value, _sndWnd, Math.Max(0, _rcvAdv - _rcvNxt), _mss, _sndScale, _rcvScale, _timestamps,
        _congestion.Cwnd, _congestion.Ssthresh, _rtt.SmoothedUs, _rtt.VarianceUs, _rtt.RtoUs, Math.Min(_maxSent, _send.End), Math.Min(_una, _send.End), _streamReceived,
        _retransmits, _segmentsIn, _segmentsOut, (int)Math.Min(int.MaxValue, SendQueueBytes), ReadableBytes, _receive.OutOfOrderCount, ChargedBytes);

    /// <summary>True if the connection was not waiting in the event queue already.</summary>
    internal bool AddEvents(TcpEvents events)
    {
        bool first = _events == TcpEvents.None;
        _events |= events;
        return first;
    }

    internal TcpEvents TakeEvents()
    {
        TcpEvents events = _events;
        _events = TcpEvents.None;
        return events;
    }

    /// <summary>The device has completed so many frames, some of which read acknowledged items. True once there is nothing left to wait for.</summary>
    internal bool OnDeviceProgress(long completed)
    {
        if (_send.AdvanceDone(completed) && !_closedRaised)
        {
            _layer.Raise(this, TcpEvents.Sent);
        }

        if (_send.IsDeviceReading)
        {
            return false;
        }

        if (_closedPending)
        {
            _closedPending = false;
            RaiseClosed();
        }

        return true;
    }

    /// <summary>A page that was charged to this connection is free again.</summary>
    internal void OnUncharged(int bytes)
    {
        ChargedBytes -= bytes;
        _budget.Charge(-bytes);
        Invariant.That(ChargedBytes >= 0, "no more is taken off a connection's charge than was put on it");
        TryUpdateWindow();
    }

    /// <summary>Only the pages that somebody still holds remember it.</summary>
    internal void OnForgotten()
    {
        _budget.Connections--;
        _isForgotten = true;
    }

    /// <summary>It ends by an error: reported, nothing sent.</summary>
    internal void Fail(TcpError error, long nowUs)
    {
        Error = error;
        if (State is TcpState.SynSent or TcpState.SynReceived)
        {
            _layer.Counters.AttemptFails++;
        }
        else
        {
            _layer.Counters.EstabResets++;
        }

        _receive.Clear(Pool);
        if (IsAnnounced)
        {
            _layer.Raise(this, TcpEvents.Failed);
        }

        Finish(nowUs);
    }

    private static bool IsEstablished(TcpState state) => state is TcpState.Established or TcpState.CloseWait;

    private static int ScaleFor(long window)
    {
        int scale = 0;
        while (65535L << scale < window && scale < 14)
        {
            scale++;
        }

        return scale;
    }

    private void Reset(long nowUs)
    {
        if (State is not (TcpState.SynSent or TcpState.Closed))
        {
            _layer.SendReset(Local, Remote, SeqOf(AcceptablePosition()), _rcvNxt, withAck: true, nowUs);
        }

        Fail(TcpError.Aborted, nowUs);
    }

    /// <summary>TCP is done: out of every table; the last event follows as soon as nobody reads our memory and, unless the application has closed, everything received was taken.</summary>
    private void Finish(long nowUs)
    {
        LeaveListener();
        State = TcpState.Closed;
        ((Span<long>)_deadlines).Fill(long.MaxValue);
        _send.Abandon(_layer.Device.TxPosted);
        _layer.Remove(this);
        if (_appClosed || Error != TcpError.None)
        {
            _receive.Clear(Pool);
        }
        else if (_receive.ReadableBytes > 0)
        {
            _drainPending = true;
            return;
        }

        RaiseClosed();
    }

    private void EndDrain()
    {
        if (_drainPending)
        {
            _drainPending = false;
            _receive.Clear(Pool);
            RaiseClosed();
        }
    }

    private void RaiseClosed()
    {
        if (_closedRaised || _closedPending)
        {
            return;
        }

        _send.AdvanceDone(_layer.Device.TxCompleted);
        if (_send.IsDeviceReading)
        {
            _closedPending = true;
            _layer.AwaitDevice(this);
            return;
        }

        _closedRaised = true;
        if (IsAnnounced)
        {
            _layer.Raise(this, TcpEvents.Closed);
        }
        else
        {
            _layer.Forget(this);
        }
    }

    private void LeaveListener()
    {
        if (Listener is null)
        {
            return;
        }

        if (State == TcpState.SynReceived)
        {
            Listener.HalfOpen--;
        }

        Listener.MarkAccepted(this);
    }

    private void Arm(TcpTimer timer, long deadlineUs)
    {
        _deadlines[(int)timer] = deadlineUs;
        _layer.UpdateTimers(this);
    }

    private void Disarm(TcpTimer timer) => _deadlines[(int)timer] = long.MaxValue;

    private bool IsArmed(TcpTimer timer) => _deadlines[(int)timer] != long.MaxValue;
}
