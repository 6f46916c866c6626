namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>
/// How much of the memory that a connection is charged for is payload, in 256ths: what decides how large a window a quota is good for. Where segments share pages, the first in a page costs all of it and the
/// next ones nothing, so that only sums over several say anything: one over the last sixteen or so, which soon tells when segments become small, and one over some hundred, several pages' worth even of small ones,
/// which isn't taken in by where in a page one happens to be. The less favourable counts.
/// </summary>
internal struct TruesizeRatio
{
    /// <summary>A ratio of one is this many bits up.</summary>
    public const int Shift = 8;

    private const int ShortShift = 4;
    private const int LongShift = 7;

    private DecayingRatio _short;
    private DecayingRatio _long;

    /// <summary>From 1 to 256. Never more than one: that a page is about to be full is no reason to count on the next one costing nothing.</summary>
    public int Value { get; private set; }

    /// <summary>True once payload has gone on in a page that was paid for before.</summary>
    public bool SharesPages { get; private set; }

    /// <summary>What to expect before anything was measured.</summary>
    public static TruesizeRatio Expecting(long payload, long truesize)
    {
        var ratio = new TruesizeRatio { _short = new DecayingRatio(payload, truesize, ShortShift), _long = new DecayingRatio(payload, truesize, LongShift) };
        ratio.Update();
        return ratio;
    }

    /// <summary>A segment came.</summary>
    public void Add(int payload, int truesize)
    {
        _short.Add(payload, truesize, ShortShift);
        _long.Add(payload, truesize, LongShift);
        SharesPages |= truesize < payload;
        Update();
    }

    private void Update() => Value = Math.Clamp(Math.Min(_short.Value, _long.Value), 1, 1 << Shift);

    /// <summary>Two sums, of which a part goes whenever something is added. In 256ths of a byte, so that the part that goes is not rounded away.</summary>
    private struct DecayingRatio(long payload, long truesize, int shift)
    {
        private long _payload = payload << (Shift + shift);
        private long _truesize = truesize << (Shift + shift);

        public readonly int Value => (int)Math.Min((_payload << Shift) / Math.Max(1, _truesize), int.MaxValue);

        public void Add(long payload, long truesize, int shift)
        {
            _payload += (payload << Shift) - (_payload >> shift);
            _truesize += (truesize << Shift) - (_truesize >> shift);
        }
    }
}
