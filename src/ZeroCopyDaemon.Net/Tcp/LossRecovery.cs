namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>Where a connection's sending stands, in stream positions (bytes from the first one after SYN).</summary>
/// <param name="Una">First byte not acknowledged.</param>
/// <param name="MaxSent">One beyond the highest byte ever sent.</param>
/// <param name="Mss">Payload bytes of a full segment.</param>
internal readonly record struct SendState(long Una, long MaxSent, int Mss)
{
    public long Flight => MaxSent - Una;
}

/// <summary>
/// Finds losses from acknowledgments and says what to send again. One per connection, exchangeable (SACK and RACK are further ones). Keeps no clock.
/// </summary>
internal abstract class LossRecovery
{
    public abstract bool InRecovery { get; }

    /// <summary>Bytes that may be sent beyond the congestion window because duplicate acknowledgments say that segments left the network (RFC 3042).</summary>
    public abstract long ExtraBytes(int mss);

    /// <summary>A duplicate acknowledgment (RFC 5681 section 2). True: send the first unacknowledged segment again.</summary>
    public abstract bool OnDuplicateAck(in SendState state, CongestionControl congestion, long nowUs);

    /// <summary>New data was acknowledged; <paramref name="state"/> is as after it. True: send the first unacknowledged segment again.</summary>
    public abstract bool OnAck(in SendState state, long ackedBytes, CongestionControl congestion, bool limited, long nowUs);

    /// <summary>The retransmission timer expired.</summary>
    public abstract void OnTimeout(in SendState state, CongestionControl congestion, bool repeated, long nowUs);
}

/// <summary>Fast retransmit and NewReno fast recovery (RFC 5681 section 3.2, RFC 6582).</summary>
internal sealed class NewRenoRecovery : LossRecovery
{
    private long _recover = -1;
    private int _duplicates;
    private long _lastJump;
    private bool _inRecovery;

    public override bool InRecovery => _inRecovery;

    public override long ExtraBytes(int mss) => _inRecovery ? 0 : Math.Min(_duplicates, 2) * (long)mss;

    public override bool OnDuplicateAck(in SendState state, CongestionControl congestion, long nowUs)
    {
        _duplicates++;
        if (_inRecovery)
        {
            congestion.Set(congestion.Cwnd + state.Mss);
            return false;
        }

        if (_duplicates != 3 || (state.Una <= _recover && !IsNewLoss(state, congestion)))
        {
            return false;
        }

        _recover = state.MaxSent;
        _inRecovery = true;
        congestion.OnLoss(state.Flight, state.Mss, nowUs);
        congestion.Set(congestion.Ssthresh + (3L * state.Mss));
        return true;
    }

    public override bool OnAck(in SendState state, long ackedBytes, CongestionControl congestion, bool limited, long nowUs)
    {
        _duplicates = 0;
        _lastJump = ackedBytes;
        if (!_inRecovery)
        {
            // While what a timeout sent again is acknowledged, one jump must not open the window at once (RFC 3465 section 2.3: L = 1).
            congestion.OnAck(state.Una <= _recover ? Math.Min(ackedBytes, state.Mss) : ackedBytes, state.Mss, limited, nowUs);
            return false;
        }

        if (state.Una >= _recover)
        {
            _inRecovery = false;
            congestion.Set(Math.Min(congestion.Ssthresh, Math.Max(state.Flight, state.Mss) + state.Mss));
            return false;
        }

        // A partial acknowledgment: the next hole (RFC 6582 section 3.2 step 3).
        congestion.Set(Math.Max(state.Mss, congestion.Cwnd - ackedBytes + (ackedBytes >= state.Mss ? state.Mss : 0)));
        return true;
    }

    /// <summary>
    /// Below what an earlier recovery or timeout had to make up for, duplicates may be answers to what was sent again needlessly (RFC 6582 section 3.2 step 2). Then a long jump of the acknowledgments
    /// went before them; if there was none, a segment is lost again (section 4.1).
    /// </summary>
    private bool IsNewLoss(in SendState state, CongestionControl congestion) => congestion.Cwnd > state.Mss && _lastJump <= 4L * state.Mss;

    public override void OnTimeout(in SendState state, CongestionControl congestion, bool repeated, long nowUs)
    {
        _recover = state.MaxSent;
        _inRecovery = false;
        _duplicates = 0;
        _lastJump = long.MaxValue;
        congestion.OnTimeout(state.Flight, state.Mss, repeated, nowUs);
    }
}
