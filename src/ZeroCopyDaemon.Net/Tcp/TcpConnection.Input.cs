namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>Segment arrives: RFC 9293 section 3.10.7, step by step.</summary>
public sealed partial class TcpConnection
{
    /// <summary>Acknowledgments of segments that are out of the window and carry nothing: one in this time, so that two ends can't keep each other busy.</summary>
    internal const long OutOfWindowAckIntervalUs = 500_000;

    /// <summary>After 24 days the peer's timestamp clock may have wrapped, and the recent timestamp says nothing any more (RFC 7323 section 5.5).</summary>
    private const long RecentTimestampValidUs = 24L * 24 * 3600 * 1_000_000;

    private SeqNumber _irs;
    private SeqNumber _rcvNxt;
    private long _segmentsIn;
    private long _lastOutOfWindowAckUs = long.MinValue / 2;
    private bool _timestamps;
    private uint _recentTimestamp;
    private long _recentTimestampUs;
    private bool _hostUnreachable;

    internal void OnSegment(in TcpSegment segment, long nowUs)
    {
        _segmentsIn++;
        int chain = segment.Payload;
        if (State == TcpState.SynSent)
        {
            OnSynSentSegment(segment, ref chain, nowUs);
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
                // What was in flight was too long to arrive: all of it again, in shorter pieces (RFC 1191 section 6.4).
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
        else
        {
            // What to say when the retransmissions have run out.
            _hostUnreachable = true;
        }
    }

    private void OnSynchronizedSegment(in TcpSegment segment, ref int chain, long nowUs)
    {
        if (State == TcpState.SynReceived && (segment.Flags & TcpFlags.Syn) != 0 && segment.Seq == _irs)
        {
            if ((segment.Flags & (TcpFlags.Ack | TcpFlags.Rst)) == 0)
            {
                // Our SYN-ACK was lost, or is on its way.
                _sendSyn = true;
                _layer.MarkReady(this);
                return;
            }

            // Simultaneous open: the peer's SYN again, with the acknowledgment of ours. The window of a SYN isn't scaled.
            TcpSegment rest = segment with { Seq = segment.Seq + 1, Flags = segment.Flags & ~TcpFlags.Syn, Window = (ushort)(segment.Window >> _sndScale) };
            OnSegmentAfterSyn(rest, ref chain, nowUs);
            return;
        }

        OnSegmentAfterSyn(segment, ref chain, nowUs);
    }

    private void OnSegmentAfterSyn(in TcpSegment segment, ref int chain, long nowUs)
    {
        if (!IsTimestampAcceptable(segment, nowUs) || !IsAcceptable(segment, nowUs))
        {
            return;
        }

        if ((segment.Flags & TcpFlags.Rst) != 0)
        {
            OnReset(segment, nowUs);
            return;
        }

        if ((segment.Flags & TcpFlags.Syn) != 0)
        {
            OnUnexpectedSyn(nowUs);
            return;
        }

        if (_timestamps && segment.Options.HasTimestamp && segment.Seq <= _lastAckSent)
        {
            _recentTimestamp = segment.Options.TimestampValue;
            _recentTimestampUs = nowUs;
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

        if (OnAck(segment, nowUs) && !IsRemoved)
        {
            OnTextAndFin(segment, ref chain, nowUs);
        }
    }

    /// <summary>PAWS (RFC 7323 section 5.3).</summary>
    private bool IsTimestampAcceptable(in TcpSegment segment, long nowUs)
    {
        if (!_timestamps || (segment.Flags & TcpFlags.Rst) != 0)
        {
            return true;
        }

        if (segment.Options.HasTimestamp && ((int)(segment.Options.TimestampValue - _recentTimestamp) >= 0 || nowUs - _recentTimestampUs > RecentTimestampValidUs))
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

    /// <summary>The four cases of RFC 9293 section 3.4, table 6.</summary>
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
                ReportDuplicate(segment);
                AcknowledgeOutOfWindow(segment, nowUs);
            }

            return false;
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

    /// <summary>RFC 9293 section 3.10.7.4, fourth: a SYN within the window.</summary>
    private void OnUnexpectedSyn(long nowUs)
    {
        Drops.Count(DropReason.TCP_INVALID_SYN);
        if (State == TcpState.SynReceived && Listener is not null)
        {
            // Back to LISTEN: the peer began anew, and its SYN will come again.
            _layer.Counters.AttemptFails++;
            Finish(nowUs);
            return;
        }

        // RFC 5961 section 4.2.
        Challenge(nowUs);
    }

    /// <summary>An acknowledgment that asks the peer to prove itself (RFC 5961), within the stack's limit.</summary>
    private void Challenge(long nowUs)
    {
        if (_layer.MayChallenge(nowUs))
        {
            Answer(nowUs);
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

        Answer(nowUs);
    }
}
