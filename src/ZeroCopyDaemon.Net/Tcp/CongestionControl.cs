namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>
/// How fast to send: owns the congestion window. One per connection, exchangeable; <see cref="LossRecovery"/> tells it of losses. Keeps no clock. Bytes throughout.
/// </summary>
internal abstract class CongestionControl
{
    public long Cwnd { get; protected set; }

    public long Ssthresh { get; protected set; } = long.MaxValue / 2;

    /// <summary>The connection is established (again, after an idle time): the initial window (RFC 6928, RFC 5681 section 4.1).</summary>
    public abstract void Start(int mss, int initialSegments);

    /// <summary>New data was acknowledged outside recovery. <paramref name="limited"/>: the window was what held the sender back.</summary>
    public abstract void OnAck(long ackedBytes, int mss, bool limited, long nowUs);

    /// <summary>Loss was found by duplicate acknowledgments with so much in flight.</summary>
    public abstract void OnLoss(long flightBytes, int mss, long nowUs);

    /// <summary>The retransmission timer expired; <paramref name="repeated"/>: for the same data again.</summary>
    public abstract void OnTimeout(long flightBytes, int mss, bool repeated, long nowUs);

    /// <summary>Recovery moves the window by itself (inflation and deflation).</summary>
    public void Set(long cwndBytes) => Cwnd = cwndBytes;

    /// <summary>Nothing was sent for more than an RTO: what is known of the path is out of date.</summary>
    public void OnIdle(int mss, int initialSegments) => Cwnd = Math.Min(Cwnd, (long)mss * initialSegments);
}

/// <summary>Slow start and congestion avoidance of RFC 5681, by bytes acknowledged (RFC 3465 with L = 2).</summary>
internal sealed class NewRenoCongestionControl : CongestionControl
{
    private long _ackedSinceGrowth;

    public override void Start(int mss, int initialSegments) => Cwnd = (long)mss * initialSegments;

    public override void OnAck(long ackedBytes, int mss, bool limited, long nowUs)
    {
        if (!limited)
        {
            return;
        }

        if (Cwnd < Ssthresh)
        {
            Cwnd += Math.Min(ackedBytes, Math.Max(2L * mss, ackedBytes / 2));
            return;
        }

        _ackedSinceGrowth += ackedBytes;
        if (_ackedSinceGrowth >= Cwnd)
        {
            _ackedSinceGrowth -= Cwnd;
            Cwnd += mss;
        }
    }

    public override void OnLoss(long flightBytes, int mss, long nowUs)
    {
        Ssthresh = Math.Max(flightBytes / 2, 2L * mss);
        Cwnd = Ssthresh;
        _ackedSinceGrowth = 0;
    }

    public override void OnTimeout(long flightBytes, int mss, bool repeated, long nowUs)
    {
        if (!repeated)
        {
            Ssthresh = Math.Max(flightBytes / 2, 2L * mss);
        }

        Cwnd = mss;
        _ackedSinceGrowth = 0;
    }
}
