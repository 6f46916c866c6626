namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>Smoothed round-trip time and retransmission timeout (RFC 6298). Microseconds.</summary>
internal struct RttEstimator(long initialRtoUs, long minRtoUs, long maxRtoUs)
{
    private const long GranularityUs = 1_000;
    private long _baseRtoUs = initialRtoUs;

    /// <summary>0 before the first measurement.</summary>
    public long SmoothedUs { get; private set; }

    public long VarianceUs { get; private set; }

    /// <summary>Doublings since the last measurement: an acknowledgment that can't be measured doesn't end them (RFC 6298 section 5).</summary>
    public int Backoff { get; private set; }

    /// <summary>The timeout, backed off (RFC 6298 (5.5)) and bounded.</summary>
    public readonly long RtoUs => Math.Min(_baseRtoUs << Math.Min(Backoff, 16), maxRtoUs);

    /// <summary>Takes a measurement in (RFC 6298 (2.2), (2.3)); never of a retransmitted segment unless told apart by timestamps.</summary>
    public void Measure(long rttUs)
    {
        rttUs = Math.Max(1, rttUs);
        Backoff = 0;
        if (SmoothedUs == 0)
        {
            SmoothedUs = rttUs;
            VarianceUs = rttUs / 2;
        }
        else
        {
            VarianceUs = ((3 * VarianceUs) + Math.Abs(SmoothedUs - rttUs)) / 4;
            SmoothedUs = ((7 * SmoothedUs) + rttUs) / 8;
        }

        _baseRtoUs = Math.Clamp(SmoothedUs + Math.Max(GranularityUs, 4 * VarianceUs), minRtoUs, maxRtoUs);
    }

    public void BackOff() => Backoff++;

    /// <summary>The SYN or its answer was lost: 3 s from here on until measured (RFC 6298 (5.7)).</summary>
    public void OnSynLost()
    {
        Backoff = 0;
        _baseRtoUs = Math.Clamp(3_000_000, minRtoUs, maxRtoUs);
    }
}
