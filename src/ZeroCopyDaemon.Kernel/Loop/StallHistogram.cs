using ZeroCopyDaemon.Memory.Counters;

namespace ZeroCopyDaemon.Kernel.Loop;

/// <summary>How long turns of the loop took, garbage collections and descheduling included: whatever kept frames waiting.</summary>
internal sealed class StallHistogram : ICounterSource
{
    private static readonly (long LimitUs, string Name)[] Buckets =
    [
        (10, "kernel.loop_turn_le_10us"),
        (100, "kernel.loop_turn_le_100us"),
        (1_000, "kernel.loop_turn_le_1ms"),
        (10_000, "kernel.loop_turn_le_10ms"),
        (100_000, "kernel.loop_turn_le_100ms"),
        (long.MaxValue, "kernel.loop_turn_longer"),
    ];

    private readonly long[] _counts = new long[Buckets.Length];
    private long _longestUs;

    public void Add(long elapsedUs)
    {
        int bucket = 0;
        while (elapsedUs > Buckets[bucket].LimitUs)
        {
            bucket++;
        }

        _counts[bucket]++;
        _longestUs = Math.Max(_longestUs, elapsedUs);
    }

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        for (int bucket = 0; bucket < _counts.Length; bucket++)
        {
            visitor.Counter(Buckets[bucket].Name, _counts[bucket]);
        }

        visitor.Counter("kernel.loop_turn_longest_us", _longestUs);
    }
}
