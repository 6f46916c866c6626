namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>What an acceptable acknowledgment changes on the sending side.</summary>
public sealed partial class TcpConnection
{
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

        if (position < _una - _maxSndWnd)
        {
            // RFC 5961 section 5.2.
            Drops.Count(DropReason.TCP_INVALID_ACK_SEQUENCE);
            Challenge(nowUs);
            return false;
        }

        _unansweredProbes = 0;
        bool isNew = position > _una;
        long window = (long)segment.Window << _sndScale;
        if (isNew)
        {
            OnNewAck(segment, position, nowUs);
        }
        else if (position == _una && segment.SegmentLength == 0 && window == _sndWnd && window > 0 && _maxSent > _una)
        {
            if (_recovery.OnDuplicateAck(SendState, _congestion, nowUs))
            {
                _layer.Counters.FastRetrans++;
                _retransmitFirst = true;
            }

            _layer.MarkReady(this);
        }

        UpdateSendWindow(segment, position, window, isNew);
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
        else if (_rttPosition < 0)
        {
            MeasureByTimestamp(segment, nowUs);
        }

        _una = position;
        _nxt = Math.Max(_nxt, _una);
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

    /// <summary>
    /// Something was sent more than once: the echo says whether the last transmission was answered (RFC 7323 section 4). An older echo says nothing, for the answer to the first transmission may have
    /// been lost and made up for by that to the last.
    /// </summary>
    private void MeasureByTimestamp(in TcpSegment segment, long nowUs)
    {
        if (!_timestamps || !segment.Options.HasTimestamp || (int)(segment.Options.TimestampEcho - _retransmitTimestamp) < 0)
        {
            return;
        }

        int rttMs = (int)(Timestamp(nowUs) - segment.Options.TimestampEcho);
        if (rttMs >= 0)
        {
            _rtt.Measure(rttMs * 1000L);
        }
    }

    /// <summary>
    /// Takes the window over from a segment that isn't older than the one it was last taken from (RFC 9293 section 3.10.7.4). One that acknowledges more is newer whatever its sequence number: without
    /// its window, the old one would reach beyond what was ever offered.
    /// </summary>
    private void UpdateSendWindow(in TcpSegment segment, long position, long window, bool isNew)
    {
        if (position < _una || !(isNew || _wl1 < segment.Seq || (_wl1 == segment.Seq && _wl2 <= segment.Ack)))
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

    /// <summary>Tells of items that are acknowledged and no longer read by the device; of the others once they aren't.</summary>
    private void RaiseSent()
    {
        if (_send.AdvanceDone(_layer.Device.TxCompleted))
        {
            _layer.Raise(this, TcpEvents.Sent);
        }

        if (_send.IsDeviceReading)
        {
            _layer.AwaitDevice(this);
        }
    }
}
