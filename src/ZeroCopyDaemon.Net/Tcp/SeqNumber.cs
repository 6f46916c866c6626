using System.Globalization;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>A TCP sequence number: 32 bits that wrap. Comparison is modulo 2^32 (RFC 9293 section 3.4), right for distances below 2^31.</summary>
public readonly record struct SeqNumber(uint Value)
{
    public static SeqNumber operator +(SeqNumber left, int right) => new(left.Value + (uint)right);

    public static SeqNumber operator -(SeqNumber left, int right) => new(left.Value - (uint)right);

    /// <summary>Signed distance from <paramref name="right"/> to <paramref name="left"/>.</summary>
    public static int operator -(SeqNumber left, SeqNumber right) => (int)(left.Value - right.Value);

    public static bool operator <(SeqNumber left, SeqNumber right) => left - right < 0;

    public static bool operator >(SeqNumber left, SeqNumber right) => left - right > 0;

    public static bool operator <=(SeqNumber left, SeqNumber right) => left - right <= 0;

    public static bool operator >=(SeqNumber left, SeqNumber right) => left - right >= 0;

    /// <summary>The later of two.</summary>
    public static SeqNumber Max(SeqNumber left, SeqNumber right) => left >= right ? left : right;

    /// <summary>The earlier of two.</summary>
    public static SeqNumber Min(SeqNumber left, SeqNumber right) => left <= right ? left : right;

    /// <inheritdoc/>
    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);
}
