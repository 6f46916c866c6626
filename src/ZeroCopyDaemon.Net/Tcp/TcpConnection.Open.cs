namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>Opening: the handshake from either side (RFC 9293 section 3.5).</summary>
public sealed partial class TcpConnection
{
    private bool _sendSyn;
    private bool _synLost;
    private int _synTransmissions;
    private long _synSentUs;
    private int _synWindow;

    internal void OpenPassively(in TcpSegment syn, long nowUs)
    {
        State = TcpState.SynReceived;
        _segmentsIn++;
        TakeSyn(syn, nowUs);
        _sendSyn = true;
        _layer.MarkReady(this);
    }

    /// <summary>What a SYN says of its sender: first sequence number and options.</summary>
    private void TakeSyn(in TcpSegment syn, long nowUs)
    {
        _irs = syn.Seq;
        _rcvNxt = syn.Seq + 1;
        _lastAckSent = _rcvNxt;
        _rcvAdv = _rcvNxt + _synWindow;
        TcpSegmentOptions options = syn.Options;
        _peerMss = options.Mss != 0 ? Math.Max((int)options.Mss, MinMss) : Flow.Remote.IsV4 ? DefaultMss : DefaultMss6;
        if (_layer.Options.WindowScaling && options.WindowScale >= 0)
        {
            _sndScale = options.WindowScale;
            _scaling = true;
        }
        else
        {
            _sndScale = 0;
            _rcvScale = 0;
            _scaling = false;
        }

        _timestamps = _layer.Options.Timestamps && options.HasTimestamp;
        _sack = _layer.Options.Sack && options.SackPermitted;
        _recentTimestamp = options.TimestampValue;
        _recentTimestampUs = nowUs;
        _sndWnd = syn.Window;
        _maxSndWnd = _sndWnd;
        _wl1 = syn.Seq;
        _wl2 = syn.Ack;
        UpdateMss();
    }

    /// <summary>RFC 9293 section 3.10.7.3.</summary>
    private void OnSynSentSegment(in TcpSegment segment, ref int chain, long nowUs)
    {
        bool ack = (segment.Flags & TcpFlags.Ack) != 0;
        bool rst = (segment.Flags & TcpFlags.Rst) != 0;
        bool acceptable = ack && segment.Ack == _iss + 1;
        if (ack && !acceptable)
        {
            Drops.Count(DropReason.TCP_INVALID_ACK_SEQUENCE);
            if (!rst)
            {
                _layer.SendReset(Local, Remote, segment.Ack, default, withAck: false, nowUs);
            }

            return;
        }

        if (rst)
        {
            Drops.Count(DropReason.TCP_RESET);
            if (acceptable)
            {
                Fail(TcpError.ConnectionRefused, nowUs);
            }

            return;
        }

        if ((segment.Flags & TcpFlags.Syn) == 0)
        {
            Drops.Count(DropReason.TCP_FLAGS);
            return;
        }

        TakeSyn(segment, nowUs);
        if (!ack)
        {
            // Simultaneous open. Text that came with the SYN will come again.
            State = TcpState.SynReceived;
            _sendSyn = true;
            _layer.MarkReady(this);
            return;
        }

        Establish(segment, nowUs);
        _layer.Raise(this, TcpEvents.Connected);
        AcknowledgeNow();
        if (segment.SegmentLength > 1)
        {
            TcpSegment rest = segment with { Seq = segment.Seq + 1, Flags = segment.Flags & ~TcpFlags.Syn };
            OnTextAndFin(rest, ref chain, nowUs);
        }
    }

    private bool OnSynReceivedAck(in TcpSegment segment, long nowUs)
    {
        if (segment.Ack != _iss + 1)
        {
            Drops.Count(DropReason.TCP_INVALID_ACK_SEQUENCE);
            _layer.SendReset(Local, Remote, segment.Ack, default, withAck: false, nowUs);
            return false;
        }

        if (Listener is { } listener)
        {
            if (listener.AcceptQueueLength >= listener.Backlog)
            {
                // No room to accept it: the peer believes itself connected and will be answered when it sends, or our SYN-ACK's timer fires.
                Drops.Count(DropReason.LISTENOVERFLOWS);
                _layer.Counters.ListenOverflows++;
                return false;
            }

            listener.HalfOpen--;
            listener.AcceptQueueLength++;
            CountsInAcceptQueue = true;
            _layer.Counters.PassiveOpens++;
        }

        // The window in a SYN is never scaled; from here on it is.
        _sndWnd = (long)segment.Window << _sndScale;
        _maxSndWnd = Math.Max(_maxSndWnd, _sndWnd);
        _wl1 = segment.Seq;
        _wl2 = segment.Ack;
        Establish(segment, nowUs);
        IsAnnounced = true;
        _layer.Raise(this, Listener is null ? TcpEvents.Connected : TcpEvents.Accepted);
        return true;
    }

    private void Establish(in TcpSegment segment, long nowUs)
    {
        State = TcpState.Established;
        Disarm(TcpTimer.Retransmit);
        _sendSyn = false;
        _retransmissions = 0;
        _hostUnreachable = false;
        if (_synLost)
        {
            _rtt.OnSynLost();
        }
        else if (_synTransmissions == 1)
        {
            _rtt.Measure(nowUs - _synSentUs);
        }
        else
        {
            MeasureByTimestamp(segment, nowUs);
        }

        _congestion.Start(_mss, _synLost ? 1 : _layer.Options.InitialWindowSegments);
        _lastSendUs = nowUs;
        _layer.MarkReady(this);
    }
}
