using System.Globalization;

namespace ZeroCopyDaemon.Cli.Output;

/// <summary>
/// Sizes as people type and read them. <c>KiB MiB GiB TiB</c> are powers of 1024; <c>k kB M MB G GB T TB</c> are powers of 1000; a bare number is bytes. A fraction is fine as long as
/// the result is a whole number of bytes.
/// </summary>
internal static class ByteSize
{
    private const string Help = "a size such as 64MiB, 1GiB, 500k or 4096";

    private static readonly (string Suffix, long Factor)[] Units =
    [
        ("KiB", 1L << 10), ("MiB", 1L << 20), ("GiB", 1L << 30), ("TiB", 1L << 40),
        ("Ki", 1L << 10), ("Mi", 1L << 20), ("Gi", 1L << 30), ("Ti", 1L << 40),
        ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000),
        ("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000), ("T", 1_000_000_000_000),
        ("B", 1),
    ];

    /// <summary>Bytes of <paramref name="text"/>, or false with <paramref name="problem"/> completing the sentence "the size ...".</summary>
    public static bool TryParse(string? text, out long bytes, out string problem)
    {
        bytes = 0;
        string trimmed = (text ?? string.Empty).Trim();
        string number = trimmed;
        long factor = 1;
        foreach ((string suffix, long unit) in Units)
        {
            if (trimmed.EndsWith(suffix, StringComparison.OrdinalIgnoreCase))
            {
                number = trimmed[..^suffix.Length].TrimEnd();
                factor = unit;
                break;
            }
        }

        if (!decimal.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal value))
        {
            problem = $"must be {Help}, not '{trimmed}'";
            return false;
        }

        if (value > long.MaxValue / factor)
        {
            problem = $"must be below 8 EiB, not '{trimmed}'";
            return false;
        }

        decimal product = value * factor;
        if (product != decimal.Truncate(product))
        {
            problem = $"must be a whole number of bytes, not '{trimmed}'";
            return false;
        }

        bytes = (long)product;
        problem = string.Empty;
        return true;
    }

    /// <summary>Short and exact enough to read: <c>64 MiB</c>, <c>1.5 GiB</c>, <c>4096 B</c>.</summary>
    public static string Format(long bytes)
    {
        foreach ((long factor, string unit) in new[] { (1L << 40, "TiB"), (1L << 30, "GiB"), (1L << 20, "MiB"), (1L << 10, "KiB") })
        {
            if (Math.Abs(bytes) >= factor)
            {
                double value = (double)bytes / factor;
                return string.Create(CultureInfo.InvariantCulture, $"{value:0.##} {unit}");
            }
        }

        return string.Create(CultureInfo.InvariantCulture, $"{bytes} B");
    }
}
