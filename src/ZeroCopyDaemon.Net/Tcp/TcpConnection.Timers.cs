namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>What happens when a timer expires.</summary>
public sealed partial class TcpConnection
{
    private const long MaxPersistUs = 60_000_000;

    private int _retransmissions;
    private int _persistBackoff;
    private int _unansweredProbes;

    internal void OnTimers(long nowUs)
    {
        if (TakeDue(TcpTimer.DelayedAck, nowUs))
        {
            _layer.Counters.DelayedAcks++;
            AcknowledgeNow();
        }

        if (TakeDue(TcpTimer.FinWait2, nowUs))
        {
            // The application left long ago and the peer never closed.
            Finish(nowUs);
            return;
        }

        if (TakeDue(TcpTimer.Persist, nowUs))
        {
            OnPersist(nowUs);
        }

        if (!IsRemoved && TakeDue(TcpTimer.Retransmit, nowUs))
        {
            OnRetransmit(nowUs);
        }
    }

    private bool TakeDue(TcpTimer timer, long nowUs)
    {
        if (_deadlines[(int)timer] > nowUs)
        {
            return false;
        }

        Disarm(timer);
        return true;
    }

    /// <summary>RFC 6298 section 5.</summary>
    private void OnRetransmit(long nowUs)
    {
        _layer.Counters.Timeouts++;
        _retransmissions++;
        if (State is TcpState.SynSent or TcpState.SynReceived)
        {
            OnSynTimeout(nowUs);
            return;
        }

        if (_retransmissions > _layer.Options.MaxRetransmissions)
        {
            GiveUp(nowUs);
            return;
        }

        if (_maxSent > _una)
        {
            _recovery.OnTimeout(SendState, _congestion, repeated: _retransmissions > 1, nowUs);
        }
        else
        {
            // It stood for something that could not be sent at the time, which must not wait for company now.
            _forceNow = true;
        }

        _rtt.BackOff();
        _rttPosition = -1;
        _retransmitFirst = false;

        // Everything again from the first hole on, as the window allows; what the peer has kept its acknowledgments will skip.
        _nxt = _una;
        if (_sndWnd == 0)
        {
            _probeNow = true;
        }
        else
        {
            Arm(TcpTimer.Retransmit, nowUs + _rtt.RtoUs);
        }

        _layer.MarkReady(this);
    }

    private void OnSynTimeout(long nowUs)
    {
        if (_retransmissions > (Listener is null ? _layer.Options.MaxSynRetransmissions : _layer.Options.MaxSynAckRetransmissions))
        {
            if (Listener is not null)
            {
                _layer.Counters.AttemptFails++;
                Finish(nowUs);
            }
            else
            {
                GiveUp(nowUs);
            }

            return;
        }

        _synLost |= _synTransmissions > 0;
        _rtt.BackOff();
        _sendSyn = true;
        Arm(TcpTimer.Retransmit, nowUs + _rtt.RtoUs);
        _layer.MarkReady(this);
    }

    private void GiveUp(long nowUs)
    {
        _layer.Counters.AbortOnTimeout++;
        Fail(_hostUnreachable ? TcpError.HostUnreachable : TcpError.TimedOut, nowUs);
    }

    /// <summary>The peer's window has been closed (or too small to use sensibly) for a while.</summary>
    private void OnPersist(long nowUs)
    {
        if (++_unansweredProbes > _layer.Options.MaxRetransmissions)
        {
            GiveUp(nowUs);
            return;
        }

        _persistBackoff++;
        if (_sndWnd == 0)
        {
            _layer.Counters.WindowProbes++;
            _probeNow = true;
        }
        else
        {
            _forceNow = true;
        }

        _layer.MarkReady(this);
    }

    /// <summary>Nothing in flight whose acknowledgment would bring us back, and something to send that may not go: a timer has to.</summary>
    private void ArmPersistIfStuck(long nowUs)
    {
        bool waiting = _send.End > _nxt || (_finQueued && _nxt == _send.End);
        if (waiting && _nxt == _una && !IsArmed(TcpTimer.Persist) && !IsArmed(TcpTimer.Retransmit))
        {
            ArmPersist(nowUs);
        }
    }

    private void ArmPersist(long nowUs) => Arm(TcpTimer.Persist, nowUs + Math.Min(MaxPersistUs, _rtt.RtoUs << Math.Min(_persistBackoff, 12)));
}
