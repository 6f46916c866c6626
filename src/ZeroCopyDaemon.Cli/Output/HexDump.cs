using System.Text;

namespace ZeroCopyDaemon.Cli.Output;

/// <summary>Bytes as a hex editor shows them: offset, sixteen bytes, the same as ASCII. A run of equal lines is one <c>*</c>.</summary>
internal static class HexDump
{
    private const int Width = 16;

    public static IEnumerable<string> Lines(ReadOnlyMemory<byte> bytes, int firstOffset = 0)
    {
        bool skipping = false;
        for (int at = 0; at < bytes.Length; at += Width)
        {
            int length = Math.Min(Width, bytes.Length - at);
            bool last = at + length == bytes.Length;
            if (!last && at > 0 && bytes.Span.Slice(at, length).SequenceEqual(bytes.Span.Slice(at - Width, Width)))
            {
                if (!skipping)
                {
                    skipping = true;
                    yield return "*";
                }

                continue;
            }

            skipping = false;
            yield return Line(firstOffset + at, bytes.Span.Slice(at, length));
        }
    }

    private static string Line(int offset, ReadOnlySpan<byte> bytes)
    {
        StringBuilder line = new();
        line.Append(offset.ToString("x6", null)).Append("  ");
        for (int i = 0; i < Width; i++)
        {
            line.Append(i < bytes.Length ? bytes[i].ToString("x2", null) : "  ").Append(i == 7 ? "  " : " ");
        }

        line.Append(" |");
        foreach (byte value in bytes)
        {
            line.Append(value is >= 0x20 and < 0x7f ? (char)value : '.');
        }

        return line.Append('|').ToString();
    }
}
