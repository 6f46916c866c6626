using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>Segment arrives: RFC 9293 section 3.10.7, step by step.</summary>
public sealed partial class TcpConnection
{
    /// <summary>Acknowledgments of segments that are out of the window and carry nothing: one in this time, so that two ends can't keep each other busy.</summary>
    private const long OutOfWindowAckIntervalUs = 500_000;

    private SeqNumber _irs;
    private SeqNumber _rcvNxt;
    private bool _finSeen;
    private SeqNumber _finSeq;
    private long _streamReceived;
    private long _segmentsIn;
    private long _lastOutOfWindowAckUs = long.MinValue / 2;
    private bool _timestamps;
    private uint _recentTimestamp;

    internal void OpenPassively(in TcpSegment syn, long nowUs)
    {
        State = TcpState.SynReceived;
        _segmentsIn++;
        TakeSyn(syn);
        _sendSyn = true;
        _layer.MarkReady(this);
    }

    internal void OnSegment(in TcpSegment segment, long nowUs)
    {
        _segmentsIn++;
        int chain = segment.Payload;
        if (State == TcpState.SynSent)
        {
            OnSynSentSegment(segment, nowUs);
        }
        else
        {
            OnSynchronizedSegment(segment, ref chain, nowUs);
        }

        Pool.ReleaseChain(chain);
        if (!IsRemoved)
        {
            _layer.UpdateTimers(this);
        }
    }

    /// <summary>ICMP about one of our segments: hard errors end a connection only while it is being opened (RFC 5927 section 5.2), else they are hints.</summary>
    internal void OnIcmpError(SeqNumber quotedSeq, byte type, byte code, int nextHopMtu, long nowUs)
    {
        bool inFlight = State is TcpState.SynSent or TcpState.SynReceived
            ? quotedSeq == _iss
            : quotedSeq >= SeqOf(_una) && quotedSeq < SeqOf(_maxSent);
        if (!inFlight)
        {
            return;
        }

        const byte Unreachable = 3, ProtocolUnreachable = 2, PortUnreachable = 3, FragmentationNeeded = 4;
        if (type != Unreachable)
        {
            return;
        }

        if (code == FragmentationNeeded)
        {
            int payload = Math.Max(nextHopMtu, MinPathMtu) - HeaderBytes;
            if (nextHopMtu > 0 && payload < _pathPayload)
            {
                _pathPayload = payload;
                UpdateMss();
                _nxt = _una;
                _layer.MarkReady(this);
            }
        }
        else if (State == TcpState.SynSent && code is ProtocolUnreachable or PortUnreachable)
        {
            Fail(TcpError.ConnectionRefused, nowUs);
        }
        else if (State == TcpState.SynSent)
        {
            Error = TcpError.HostUnreachable;
        }
    }

    /// <summary>What a SYN says of its sender: first sequence number and options.</summary>
    private void TakeSyn(in TcpSegment syn)
    {
        _irs = syn.Seq;
        _rcvNxt = syn.Seq + 1;
        _lastAckSent = _rcvNxt;
        _rcvAdv = _rcvNxt + _synWindow;
        TcpSegmentOptions options = syn.Options;
        _peerMss = options.Mss == 0 ? DefaultMss : Math.Max((int)options.Mss, MinMss);
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
        _recentTimestamp = options.TimestampValue;
        _sndWnd = syn.Window;
        _maxSndWnd = _sndWnd;
        _wl1 = syn.Seq;
        _wl2 = syn.Ack;
        UpdateMss();
    }

    /// <summary>RFC 9293 section 3.10.7.3.</summary>
    private void OnSynSentSegment(in TcpSegment segment, long nowUs)
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

        TakeSyn(segment);
        if (!ack)
        {
            // Simultaneous open.
            State = TcpState.SynReceived;
            _sendSyn = true;
            _layer.MarkReady(this);
            return;
        }

        Establish(nowUs);
        _layer.Raise(this, TcpEvents.Connected);
        AcknowledgeNow();
    }

    private void OnSynchronizedSegment(TcpSegment segment, ref int chain, long nowUs)
    {
        if (State == TcpState.SynReceived && (segment.Flags & TcpFlags.Syn) != 0 && segment.Seq == _irs)
        {
            if ((segment.Flags & TcpFlags.Ack) == 0)
            {
                // Our SYN-ACK was lost, or is on its way.
                _sendSyn = true;
                _layer.MarkReady(this);
                return;
            }

            segment = segment with { Seq = segment.Seq + 1, Flags = segment.Flags & ~TcpFlags.Syn };
        }

        if (!IsTimestampAcceptable(segment, nowUs) || !IsAcceptable(segment, nowUs))
        {
            return;
        }

        if (segment.Options.HasTimestamp && _timestamps && segment.Seq <= _lastAckSent)
        {
            _recentTimestamp = segment.Options.TimestampValue;
        }

        if ((segment.Flags & TcpFlags.Rst) != 0)
        {
            OnReset(segment, nowUs);
            return;
        }

        if ((segment.Flags & TcpFlags.Syn) != 0)
        {
            // RFC 5961 section 4.2.
            Drops.Count(DropReason.TCP_INVALID_SYN);
            Challenge(nowUs);
            return;
        }

        if ((segment.Flags & TcpFlags.Ack) == 0)
        {
            Drops.Count(DropReason.TCP_FLAGS);
            return;
        }

        if (State == TcpState.SynReceived && !OnSynReceivedAck(segment, nowUs))
        {
            return;
        }

        if (!OnAck(segment, nowUs) || IsRemoved)
        {
            return;
        }

        if (State is TcpState.Established or TcpState.FinWait1 or TcpState.FinWait2)
        {
            OnText(segment, ref chain, nowUs);
        }

        if (!IsRemoved && _finSeen && !PeerClosed && (_rcvNxt == _finSeq || Faults.IsOn(Fault.FinBeforeData)))
        {
            OnFin(nowUs);
        }
    }

    /// <summary>PAWS (RFC 7323 section 5.3).</summary>
    private bool IsTimestampAcceptable(in TcpSegment segment, long nowUs)
    {
        if (!_timestamps || (segment.Flags & TcpFlags.Rst) != 0)
        {
            return true;
        }

        if (segment.Options.HasTimestamp && (int)(segment.Options.TimestampValue - _recentTimestamp) >= 0)
        {
            return true;
        }

        Drops.Count(DropReason.TCP_RFC7323_PAWS);
        _layer.Counters.PawsEstab++;
        if (segment.Options.HasTimestamp)
        {
            AcknowledgeOutOfWindow(segment, nowUs);
        }

        return false;
    }

    /// <summary>The four cases of RFC 9293 section 3.4, table 6. Also takes note of an acceptable FIN.</summary>
    private bool IsAcceptable(in TcpSegment segment, long nowUs)
    {
        int window = Math.Max(0, _rcvAdv - _rcvNxt);
        int length = segment.SegmentLength;
        SeqNumber edge = _rcvNxt + window;
        SeqNumber end = segment.Seq + length;
        bool acceptable;
        if (length == 0)
        {
            // At the edge too: that is where a sender stands that has filled the window.
            acceptable = segment.Seq >= _rcvNxt && segment.Seq <= edge;
        }
        else if (window == 0)
        {
            // Nothing fits, but valid acknowledgments and resets count.
            acceptable = segment.Seq == _rcvNxt;
        }
        else
        {
            acceptable = segment.Seq < edge && end > _rcvNxt;
        }

        if (!acceptable)
        {
            Drops.Count(segment.Seq >= edge ? DropReason.TCP_OVERWINDOW : length > 0 ? DropReason.TCP_OLD_DATA : DropReason.TCP_INVALID_SEQUENCE);
            if ((segment.Flags & TcpFlags.Rst) == 0)
            {
                AcknowledgeOutOfWindow(segment, nowUs);
            }

            return false;
        }

        if ((segment.Flags & (TcpFlags.Fin | TcpFlags.Rst | TcpFlags.Syn)) == TcpFlags.Fin && !PeerClosed)
        {
            SeqNumber fin = segment.Seq + segment.PayloadLength;
            if (!_finSeen && fin >= _rcvNxt && fin <= edge)
            {
                _finSeen = true;
                _finSeq = fin;
            }
        }

        return true;
    }

    /// <summary>RFC 9293 section 3.10.7.4, second, as tightened by RFC 5961 section 3.2.</summary>
    private void OnReset(in TcpSegment segment, long nowUs)
    {
        Drops.Count(DropReason.TCP_RESET);
        if (segment.Seq != _rcvNxt)
        {
            Challenge(nowUs);
            return;
        }

        switch (State)
        {
            case TcpState.SynReceived when Listener is not null:
                _layer.Counters.AttemptFails++;
                Finish(nowUs);
                break;
            case TcpState.SynReceived:
                Fail(TcpError.ConnectionRefused, nowUs);
                break;
            case TcpState.Closing or TcpState.LastAck when _una >= _send.End:
                Finish(nowUs);
                break;
            default:
                Fail(TcpError.ConnectionReset, nowUs);
                break;
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
        }

        // The window in a SYN is never scaled; from here on it is.
        _sndWnd = (long)segment.Window << _sndScale;
        _maxSndWnd = Math.Max(_maxSndWnd, _sndWnd);
        _wl1 = segment.Seq;
        _wl2 = segment.Ack;
        _layer.Counters.PassiveOpens += Listener is null ? 0 : 1;
        Establish(nowUs);
        _layer.Raise(this, Listener is null ? TcpEvents.Connected : TcpEvents.Accepted);
        return true;
    }

    private void Establish(long nowUs)
    {
        State = TcpState.Established;
        Disarm(TcpTimer.Retransmit);
        _sendSyn = false;
        _retransmissions = 0;
        if (_synRetransmitted)
        {
            _rtt.OnSynLost();
        }
        else
        {
            _rtt.Measure(nowUs - _synSentUs);
        }

        _congestion.Start(_mss, _synRetransmitted ? 1 : _layer.Options.InitialWindowSegments);
        _lastSendUs = nowUs;
        _layer.MarkReady(this);
    }

    /// <summary>RFC 9293 section 3.10.7.4, fifth. False if the segment must not be looked at any further.</summary>
    private bool OnAck(in TcpSegment segment, long nowUs)
    {
        long position = _una + (segment.Ack - SeqOf(_una));
        if (position > _maxSent)
        {
            Drops.Count(DropReason.TCP_INVALID_ACK_SEQUENCE);
            Challenge(nowUs);
            return false;
        }

        if (position < _una - Math.Max(_maxSndWnd, 65535))
        {
            // RFC 5961 section 5.2.
            Drops.Count(DropReason.TCP_INVALID_ACK_SEQUENCE);
            Challenge(nowUs);
            return false;
        }

        _unansweredProbes = 0;
        long window = (long)segment.Window << _sndScale;
        if (position > _una)
        {
            OnNewAck(segment, position, nowUs);
        }
        else if (position == _una && segment.SegmentLength == 0 && window == _sndWnd && window > 0 && _nxt > _una)
        {
            if (_recovery.OnDuplicateAck(SendState, _congestion, nowUs))
            {
                _layer.Counters.FastRetrans++;
                _retransmitFirst = true;
            }

            _layer.MarkReady(this);
        }

        UpdateSendWindow(segment, position, window);
        return AfterAck(nowUs);
    }

    private void OnNewAck(in TcpSegment segment, long position, long nowUs)
    {
        long acked = position - _una;
        bool limited = _nxt - _una + _mss >= _congestion.Cwnd;
        if (_rttPosition >= 0 && position > _rttPosition)
        {
            _rtt.Measure(nowUs - _rttStartUs);
            _rttPosition = -1;
        }
        else if (_rttPosition < 0 && _timestamps && segment.Options.HasTimestamp && segment.Options.TimestampEcho != 0)
        {
            // Sent again, but the echo says which transmission was answered (RFC 7323 section 4).
            long rttMs = (int)(Timestamp(nowUs) - segment.Options.TimestampEcho);
            if (rttMs >= 0)
            {
                _rtt.Measure(rttMs * 1000);
            }
        }

        _una = position;
        _nxt = Math.Max(_nxt, _una);
        _rtt.ResetBackoff();
        _retransmissions = 0;
        _persistBackoff = 0;
        _retransmitFirst = _recovery.OnAck(SendState, acked, _congestion, limited, nowUs);
        if (_una == _maxSent)
        {
            Disarm(TcpTimer.Retransmit);
        }
        else
        {
            Arm(TcpTimer.Retransmit, nowUs + _rtt.RtoUs);
        }

        if (_send.Acknowledge(_una, _layer.Device.TxPosted))
        {
            RaiseSent();
        }

        _layer.MarkReady(this);
    }

    private void UpdateSendWindow(in TcpSegment segment, long position, long window)
    {
        if (position < _una || !(_wl1 < segment.Seq || (_wl1 == segment.Seq && _wl2 <= segment.Ack)))
        {
            return;
        }

        bool opened = window > _sndWnd;
        _sndWnd = window;
        _maxSndWnd = Math.Max(_maxSndWnd, window);
        _wl1 = segment.Seq;
        _wl2 = segment.Ack;
        if (window > 0)
        {
            if (opened)
            {
                Disarm(TcpTimer.Persist);
                _persistBackoff = 0;
                _layer.MarkReady(this);
            }
        }
        else
        {
            // Closed, but alive: this is no reason to give up (RFC 9293 section 3.8.6.1).
            _retransmissions = 0;
            _layer.MarkReady(this);
        }
    }

    /// <summary>What our FIN's acknowledgment changes.</summary>
    private bool AfterAck(long nowUs)
    {
        if (!_finQueued || _una <= _send.End)
        {
            return true;
        }

        switch (State)
        {
            case TcpState.FinWait1:
                State = TcpState.FinWait2;
                if (_appClosed)
                {
                    Arm(TcpTimer.FinWait2, nowUs + _layer.Options.FinWait2Us);
                }

                return true;
            case TcpState.Closing:
                EnterTimeWait(nowUs);
                return false;
            case TcpState.LastAck:
                Finish(nowUs);
                return false;
            default:
                return true;
        }
    }

    /// <summary>RFC 9293 section 3.10.7.4, seventh: payload, trimmed to what is new and fits.</summary>
    private void OnText(in TcpSegment segment, ref int chain, long nowUs)
    {
        int length = segment.PayloadLength;
        if (length == 0)
        {
            if ((segment.Flags & TcpFlags.Fin) != 0 && segment.Seq != _rcvNxt)
            {
                SendAck(nowUs);
            }

            return;
        }

        SeqNumber seq = segment.Seq;
        int old = _rcvNxt - seq;
        if (old >= length)
        {
            Drops.Count(DropReason.TCP_OLD_DATA);
            if (!Faults.IsOn(Fault.OverlapNotTrimmed))
            {
                ReleaseOld(ref chain);
                SendAck(nowUs);
                return;
            }
        }

        if (_appClosed)
        {
            // Nobody will ever read it, and the peer must know (RFC 9293 section 3.6.1, MUST-14... a reset rather than silence).
            Drops.Count(DropReason.TCP_ABORT_ON_DATA);
            _layer.Counters.AbortOnData++;
            Reset(nowUs);
            return;
        }

        if (old > 0 && !Faults.IsOn(Fault.OverlapNotTrimmed))
        {
            FragmentChain.TrimFront(Pool, ref chain, old);
            seq += old;
            length -= old;
        }

        int room = (_finSeen ? SeqNumber.Min(_finSeq, _rcvAdv) : _rcvAdv) - seq;
        if (room < length)
        {
            if (room <= 0)
            {
                Drops.Count(DropReason.TCP_OVERWINDOW);
                SendAck(nowUs);
                return;
            }

            FragmentChain.TrimBack(Pool, ref chain, room);
            length = room;
        }

        bool inOrder = seq <= _rcvNxt || Faults.IsOn(Fault.OutOfOrderDeliveredEarly);
        if (!Admit(chain, inOrder))
        {
            SendAck(nowUs);
            return;
        }

        if (inOrder)
        {
            TakeInOrder(ref chain, length, nowUs);
        }
        else
        {
            _layer.Counters.OfoQueue++;
            _receive.AddOutOfOrder(Pool, chain, Id, seq, _streamReceived + (seq - _rcvNxt), Drops);
            chain = PagePool.NoFragment;

            // One acknowledgment for each, at once: the sender counts them (RFC 5681 section 4.2).
            SendAck(nowUs);
        }
    }

    private void TakeInOrder(ref int chain, int length, long nowUs)
    {
        bool hadGap = _receive.HasOutOfOrder;
        SeqNumber before = _rcvNxt;
        _receive.AppendInOrder(Pool, chain, Id, ref _rcvNxt, ref _streamReceived, Drops);
        chain = PagePool.NoFragment;
        _layer.Raise(this, TcpEvents.Readable);
        _rcvMss = Math.Max(_rcvMss, Math.Min(length, _layer.Device.Mtu - HeaderBytes));
        _unacknowledged += _rcvNxt - before;
        if (hadGap || _quickAcks > 0 || _unacknowledged >= 2 * _rcvMss)
        {
            _quickAcks -= _quickAcks > 0 ? 1 : 0;
            AcknowledgeNow();
        }
        else if (!IsArmed(TcpTimer.DelayedAck))
        {
            Arm(TcpTimer.DelayedAck, nowUs + _layer.Options.DelayedAckUs);
        }
    }

    /// <summary>RFC 9293 section 3.10.7.4, eighth.</summary>
    private void OnFin(long nowUs)
    {
        _rcvNxt += 1;
        PeerClosed = true;

        // What was held aside lies beyond the end of the stream: no gap before it will ever be filled.
        _receive.Prune(Pool, Drops);
        AcknowledgeNow();
        _layer.Raise(this, TcpEvents.PeerClosed);
        switch (State)
        {
            case TcpState.Established:
                State = TcpState.CloseWait;
                break;
            case TcpState.FinWait1:
                State = TcpState.Closing;
                break;
            case TcpState.FinWait2:
                SendAck(nowUs);
                EnterTimeWait(nowUs);
                break;
            default:
                break;
        }
    }

    private void EnterTimeWait(long nowUs)
    {
        _layer.EnterTimeWait(
            this,
            new TimeWaitEntry { SndNxt = SeqOf(_maxSent), RcvNxt = _rcvNxt, RecentTimestamp = _recentTimestamp, TimestampOffset = _timestampOffset, Timestamps = _timestamps },
            nowUs);
        Finish(nowUs);
    }

    /// <summary>
    /// Charges a chain's pages, if they fit in the connection's quota and its budget; what is held out of order makes room for what is in order. False: dropped by reason, before it is acknowledged.
    /// </summary>
    private bool Admit(int chain, bool inOrder)
    {
        int fragments = FragmentChain.Count(Pool, chain);
        long truesize = (long)fragments * Pool.Geometry.PageSize;
        if (!inOrder && _receive.OutOfOrderCount + fragments > _layer.Options.MaxOutOfOrderFragments)
        {
            Drops.Count(DropReason.TCP_OFO_QUEUE_PRUNE);
            return false;
        }

        if (!Fits(truesize) && inOrder && _receive.HasOutOfOrder)
        {
            _receive.Prune(Pool, Drops);
        }

        // With nothing charged one segment may always come: a connection must be able to go on whatever the others hold.
        if (!Fits(truesize) && !(inOrder && ChargedBytes == 0 && _layer.RootBudget.AvailableBytes >= truesize))
        {
            Drops.Count(ChargedBytes + truesize > ReceiveQuotaBytes ? DropReason.SOCKET_RCVBUFF : DropReason.PROTO_MEM);
            return false;
        }

        int payload = 0;
        int charged = 0;
        for (int slot = chain; slot != PagePool.NoFragment; slot = Pool[slot].Next)
        {
            payload += Pool[slot].Length;
            charged += Pool.Charge(Pool[slot].Page, Id);
        }

        ChargedBytes += charged;
        _budget.Charge(charged);
        MeasureRatio(payload, charged);
        return true;
    }

    private bool Fits(long truesize) => ChargedBytes + truesize <= ReceiveQuotaBytes && _budget.AvailableBytes >= truesize;

    private void ReleaseOld(ref int chain)
    {
        if (Faults.IsOn(Fault.FragmentLeaked))
        {
            chain = PagePool.NoFragment;
        }
    }

    private void RaiseSent()
    {
        if (_layer.Device.TxCompleted >= _layer.Device.TxPosted)
        {
            _layer.Raise(this, TcpEvents.Sent);
            return;
        }

        _awaitedPosted = _layer.Device.TxPosted;
        _layer.AwaitDevice(this);
    }

    /// <summary>An acknowledgment that asks the peer to prove itself (RFC 5961), within the stack's limit.</summary>
    private void Challenge(long nowUs)
    {
        if (_layer.MayChallenge(nowUs))
        {
            SendAck(nowUs);
        }
    }

    private void AcknowledgeOutOfWindow(in TcpSegment segment, long nowUs)
    {
        if (segment.SegmentLength == 0)
        {
            if (nowUs - _lastOutOfWindowAckUs < OutOfWindowAckIntervalUs)
            {
                return;
            }

            _lastOutOfWindowAckUs = nowUs;
        }

        SendAck(nowUs);
    }
}
