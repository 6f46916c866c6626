namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>The window that we offer, and when to acknowledge.</summary>
public sealed partial class TcpConnection
{
    /// <summary>Largest window there can be (RFC 7323 section 2.3).</summary>
    private const int MaxBuffer = 1 << 30;

    private SeqNumber _rcvAdv;
    private SeqNumber _lastAckSent;
    private int _rcvScale;
    private int _rcvMss = DefaultMss;
    private TruesizeRatio _ratio;
    private int _maxAdvertised;
    private int _unacknowledged;
    private int _quickAcks = 16;
    private bool _ackNow;

    /// <summary>Before anything was measured: full segments, each on pages of its own.</summary>
    private void SetRatio(int mss)
    {
        int page = Pool.Geometry.PageSize;
        int pages = (mss + page - 1) / page;
        _ratio = TruesizeRatio.Expecting(mss, (long)pages * page);
    }

    /// <summary>Payload bytes that the quota and the budget's share are still good for.</summary>
    private long AvailableWindow()
    {
        long memory = Math.Min(ReceiveQuotaBytes - ChargedBytes, BudgetShare());
        if (_ratio.SharesPages)
        {
            // Where segments go on in a page that is paid for, a pause may end that and the rest of the page is lost. A sender pauses when the window that is left is smaller than a segment, of all times.
            memory -= Pool.Geometry.PageSize;
        }

        // A sixteenth stays back for what rounding up to the scale's unit adds with each acknowledgment.
        long window = memory <= 0 ? 0 : ((memory - (memory / 16)) * _ratio.Value) >> TruesizeRatio.Shift;
        if (window < _rcvMss && HasRoomForOne(memory))
        {
            window = _rcvMss;
        }

        return Math.Min(window, Math.Min(Math.Min(_layer.Options.MaxReceiveWindow, WindowLimit(_rcvScale)), Math.Max(0, ReceiveBufferBytes - _receive.ReadableBytes)));
    }

    /// <summary>
    /// What the window field can say is all that we offer, unless the application said how much it takes: then that is our window, and the field shows as much of it as it can. So the right edge doesn't
    /// seem to move by trifles while the field is what holds it back.
    /// </summary>
    private long WindowLimit(int scale) => ReceiveBufferBytes == long.MaxValue ? 65535L << scale : MaxBuffer;

    /// <summary>
    /// A full segment may always come if there is memory for it (and for what rounding has promised besides), however costly the last ones were: a small window makes small segments, which would keep it small for ever. And one may come to a connection
    /// that holds nothing.
    /// </summary>
    private bool HasRoomForOne(long memory)
    {
        long page = Pool.Geometry.PageSize;
        long truesize = (_rcvMss + page - 1) / page * page;
        return memory >= 2 * truesize || (ChargedBytes == 0 && MayOverdraw(truesize));
    }

    private long BudgetShare() => AvailableMemory() / Math.Clamp(_budget.Connections, 1, 8);

    /// <summary>Truesize bytes that may still be charged.</summary>
    private long AvailableMemory() => _budget.AvailableFor(ChargedBytes, Pool.OvercommittedBytes);

    /// <summary>
    /// A connection that holds nothing may take one segment in whatever others of its budget hold, or they might wait for each other for ever: as long as a quarter of the pool is left.
    /// </summary>
    private bool MayOverdraw(long truesize) => _layer.RootBudget.AvailableBytes - Pool.OvercommittedBytes - truesize >= _layer.RootBudget.LimitBytes / 4;

    /// <summary>
    /// The window to advertise: its right edge never moves left (RFC 9293 section 3.8.6.2.2), and moves right only by a worthwhile step (receiver's silly window avoidance). A multiple of the scale's unit.
    /// </summary>
    private int SelectWindow()
    {
        long promised = Math.Max(0, _rcvAdv - _rcvNxt);
        long window = AvailableWindow();
        if (window - promised < Step())
        {
            window = promised;
        }

        long unit = 1L << _rcvScale;
        return (int)Math.Min((window + unit - 1) & ~(unit - 1), WindowLimit(_rcvScale));
    }

    /// <summary>What moves the edge: a full segment, or half of the largest window there has been, whichever is less.</summary>
    private long Step() => _maxAdvertised == 0 ? _rcvMss : Math.Min(_rcvMss, _maxAdvertised / 2);

    /// <summary>Memory was released: tells the peer of the room, if what it knows of is less than half of it. Without a release it hears of it soon enough, with the next acknowledgment.</summary>
    internal bool TryUpdateWindow()
    {
        if (_ackNow || IsRemoved || PeerClosed || State is not (TcpState.Established or TcpState.FinWait1 or TcpState.FinWait2))
        {
            return false;
        }

        long promised = Math.Max(0, _rcvAdv - _rcvNxt);
        long window = AvailableWindow();
        if (window - promised < Math.Max(1, Step()) || promised > window / 2)
        {
            return false;
        }

        AcknowledgeNow();
        return true;
    }

    private void OnAckSent(int window)
    {
        _rcvAdv = SeqNumber.Max(_rcvAdv, _rcvNxt + window);
        _maxAdvertised = Math.Max(_maxAdvertised, window);
        _lastAckSent = _rcvNxt;
        _ackNow = false;
        _unacknowledged = 0;
        Disarm(TcpTimer.DelayedAck);
        if (window < _rcvMss && BudgetShare() < ReceiveQuotaBytes - ChargedBytes)
        {
            // Others hold the memory: what they release concerns this connection too.
            _layer.AwaitMemory(this);
        }
    }

    private void AcknowledgeNow()
    {
        _ackNow = true;
        _layer.MarkReady(this);
    }
}
