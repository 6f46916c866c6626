using System.Numerics;

namespace ZeroCopyDaemon.Wires.Sim;

/// <summary>
/// A small generator whose numbers depend on its seed alone, on every platform and every version of .NET: xoshiro256** (Blackman and Vigna), seeded by SplitMix64.
/// Not for secrets. Single-threaded.
/// </summary>
public sealed class SimRandom
{
    private ulong _s0;
    private ulong _s1;
    private ulong _s2;
    private ulong _s3;

    /// <param name="seed">Any value, 0 included.</param>
    public SimRandom(ulong seed)
    {
        _s0 = Mix(seed += 0x9E37_79B9_7F4A_7C15);
        _s1 = Mix(seed += 0x9E37_79B9_7F4A_7C15);
        _s2 = Mix(seed += 0x9E37_79B9_7F4A_7C15);
        _s3 = Mix(seed + 0x9E37_79B9_7F4A_7C15);
    }

    /// <summary>SplitMix64's finaliser: spreads a counter over 64 bits.</summary>
    public static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 30)) * 0xBF58_476D_1CE4_E5B9;
        value = (value ^ (value >> 27)) * 0x94D0_49BB_1331_11EB;
        return value ^ (value >> 31);
    }

    /// <summary>64 random bits.</summary>
    public ulong NextUInt64()
    {
        ulong result = BitOperations.RotateLeft(_s1 * 5, 7) * 9;
        ulong t = _s1 << 17;
        _s2 ^= _s0;
        _s3 ^= _s1;
        _s1 ^= _s2;
        _s0 ^= _s3;
        _s2 ^= t;
        _s3 = BitOperations.RotateLeft(_s3, 45);
        return result;
    }

    /// <summary>From 0 up to, not including, <paramref name="bound"/> (at least 1). The bias of at most bound / 2^64 is of no matter here.</summary>
    public long Below(long bound) => (long)Math.BigMul(NextUInt64(), (ulong)bound, out _);

    /// <summary>From <paramref name="low"/> to <paramref name="high"/>, both included.</summary>
    public long Between(long low, long high) => low + Below(high - low + 1);

    /// <summary>From <paramref name="low"/> to <paramref name="high"/>, both included.</summary>
    public int Between(int low, int high) => (int)Between((long)low, high);

    /// <summary>From <paramref name="low"/> (at least 1) to <paramref name="high"/>, each power of two as likely as any other: for sizes that should be tiny as often as huge.</summary>
    public long LogBetween(long low, long high)
    {
        double exponent = Math.Log2(low) + (NextDouble() * (Math.Log2(high) - Math.Log2(low)));
        return Math.Clamp((long)Math.Pow(2, exponent), low, high);
    }

    /// <summary>From 0 up to, not including, 1.</summary>
    public double NextDouble() => (NextUInt64() >> 11) * (1.0 / (1UL << 53));

    /// <summary>True with the given probability. Draws even for 0 and 1, so that a setting does not shift what follows.</summary>
    public bool Chance(double probability) => NextDouble() < probability;

    /// <summary>One of the values.</summary>
    public T Pick<T>(params ReadOnlySpan<T> values) => values[(int)Below(values.Length)];
}
