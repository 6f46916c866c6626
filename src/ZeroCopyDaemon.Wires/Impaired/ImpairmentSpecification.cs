using System.Globalization;

namespace ZeroCopyDaemon.Wires.Impaired;

/// <summary>The text form of <see cref="ImpairmentOptions"/>: <c>key=value</c> pairs with commas between them, in any order, each at most once.</summary>
internal static class ImpairmentSpecification
{
    private const int MostFrames = 1_000_000;
    private const long MostDelayUs = 60_000_000;
    private const double LeastBitsPerSecond = 1_000;
    private const double MostBitsPerSecond = 1e12;

    // Longer suffixes first: "ms" ends in "s", too.
    private static readonly (string Suffix, double Factor)[] Times = [("us", 1), ("ms", 1e3), ("s", 1e6)];

    private static readonly (string Suffix, double Factor)[] Rates = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)];

    private static readonly (string Key, Func<ImpairmentOptions, string, ImpairmentOptions> Apply)[] Keys =
    [
        ("loss", (o, v) => o with { Loss = ParseShare("loss", v) }),
        ("duplicate", (o, v) => o with { Duplication = ParseShare("duplicate", v) }),
        ("reorder", (o, v) => o with { Reordering = ParseShare("reorder", v) }),
        ("corrupt", (o, v) => o with { Corruption = ParseShare("corrupt", v) }),
        ("delay", (o, v) => o with { LatencyUs = ParseTime("delay", v) }),
        ("jitter", (o, v) => o with { JitterUs = ParseTime("jitter", v) }),
        ("reorder-delay", (o, v) => o with { ReorderUs = ParseTime("reorder-delay", v) }),
        ("rate", (o, v) => o with { BitsPerSecond = ParseRate(v) }),
        ("queue", (o, v) => o with { QueueFrames = ParseQueue(v) }),
        ("seed", (o, v) => o with { Seed = ParseSeed(v) }),
    ];

    public static ImpairmentOptions Parse(string specification)
    {
        ArgumentNullException.ThrowIfNull(specification);
        ImpairmentOptions options = new();
        HashSet<string> seen = new(StringComparer.OrdinalIgnoreCase);
        foreach (string part in specification.Split(','))
        {
            string[] pair = part.Split('=', 2, StringSplitOptions.TrimEntries);
            if (pair[0].Length == 0)
            {
                throw new FormatException("say what happens to frames, as in loss=1%,delay=20ms");
            }

            int index = Array.FindIndex(Keys, known => string.Equals(known.Key, pair[0], StringComparison.OrdinalIgnoreCase));
            if (index < 0)
            {
                throw new FormatException($"there is no impairment '{pair[0]}'; choose {string.Join(", ", Keys[..^1].Select(known => known.Key))} or {Keys[^1].Key}");
            }

            if (pair.Length < 2 || pair[1].Length == 0)
            {
                throw new FormatException($"{pair[0]} has no value; write for instance loss=1%,delay=20ms");
            }

            if (!seen.Add(pair[0]))
            {
                throw new FormatException($"{pair[0]} is there twice; say it once");
            }

            options = Keys[index].Apply(options, pair[1]);
        }

        return options;
    }

    private static double ParseShare(string key, string value)
    {
        bool good = value.EndsWith('%') && TryNumber(value[..^1], out double percent) && percent <= 100;
        return good ? double.Parse(value[..^1], CultureInfo.InvariantCulture) / 100 : throw new FormatException($"{key} must be from 0% to 100% of the frames, such as 1% or 0.01%, not '{value}'");
    }

    private static long ParseTime(string key, string value)
    {
        bool good = TryScaled(value, Times, out double us) && us <= MostDelayUs;
        return good ? (long)Math.Round(us) : throw new FormatException($"{key} must be a time from 0us to 60s, such as 500us, 20ms or 1s, not '{value}'");
    }

    private static long ParseRate(string value)
    {
        bool good = TryScaled(value, Rates, out double bits) && bits is >= LeastBitsPerSecond and <= MostBitsPerSecond;
        return good ? (long)bits : throw new FormatException($"rate must be bits per second from 1kbit to 1000gbit, such as 500kbit, 100mbit or 1gbit, not '{value}'");
    }

    private static int ParseQueue(string value)
    {
        bool good = int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int frames) && frames is >= 1 and <= MostFrames;
        return good ? frames : throw new FormatException($"queue must be from 1 to {MostFrames} frames, not '{value}'");
    }

    private static ulong ParseSeed(string value) =>
        ulong.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out ulong seed) ? seed : throw new FormatException($"seed must be a whole number from 0 to {ulong.MaxValue}, not '{value}'");

    private static bool TryScaled(string value, (string Suffix, double Factor)[] units, out double scaled)
    {
        foreach ((string suffix, double factor) in units)
        {
            if (value.EndsWith(suffix, StringComparison.OrdinalIgnoreCase) && TryNumber(value[..^suffix.Length].TrimEnd(), out double number))
            {
                scaled = number * factor;
                return true;
            }
        }

        scaled = 0;
        return false;
    }

    private static bool TryNumber(string text, out double number) => double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out number);
}
