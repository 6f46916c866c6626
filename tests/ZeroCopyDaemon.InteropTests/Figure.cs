using System.Globalization;

namespace ZeroCopyDaemon.InteropTests;

/// <summary>Lines that a run shows to people.</summary>
internal static class Figure
{
    public static void Write(FormattableString text) => TestContext.Current.TestOutputHelper?.WriteLine("[figure] " + text.ToString(CultureInfo.InvariantCulture));
}
