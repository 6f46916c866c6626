using System.Globalization;
using System.Text;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace ZeroCopyDaemon.Cli.Output;

/// <summary>
/// A table as wide as what is in it. Where that is wider than the terminal, columns are left out, the least important first, rather than folded into something that nobody can read; a line
/// says which.
/// </summary>
internal sealed class TextTable
{
    private const int Gap = 2;

    private readonly Column[] _columns;
    private readonly List<string[]> _rows = [];

    /// <param name="columns">A header each; a trailing <c>-</c> marks a column that may be left out before the others are, from the right. The first always stays.</param>
    public TextTable(params ReadOnlySpan<string> columns)
    {
        _columns = new Column[columns.Length];
        for (int i = 0; i < columns.Length; i++)
        {
            bool minor = columns[i].EndsWith('-');
            _columns[i] = new Column(minor ? columns[i][..^1] : columns[i], minor);
        }
    }

    public int RowCount => _rows.Count;

    public void AddRow(params ReadOnlySpan<string> cells)
    {
        if (cells.Length != _columns.Length)
        {
            throw new ArgumentException($"A row has {_columns.Length} cells, not {cells.Length}.");
        }

        _rows.Add(cells.ToArray());
    }

    public static string Number(double value) => value.ToString("#,0.##", CultureInfo.InvariantCulture);

    public static string Number(long value) => value.ToString("#,0", CultureInfo.InvariantCulture);

    public static string Number(ulong value) => value.ToString("#,0", CultureInfo.InvariantCulture);

    /// <summary>Ready to be written to a console of that width.</summary>
    public IRenderable Render(int width)
    {
        List<IRenderable> lines = [];
        List<string> text = [.. Lines(width, out string? leftOut)];
        lines.Add(new Markup($"[grey]{Markup.Escape(text[0])}[/]"));
        lines.AddRange(text.Skip(1).Select(line => new Spectre.Console.Text(line)));
        if (leftOut is not null)
        {
            lines.Add(new Markup($"[grey]{Markup.Escape(leftOut)}[/]"));
        }

        return new Rows(lines);
    }

    /// <summary>The header, then a line for each row.</summary>
    public IEnumerable<string> Lines(int width, out string? leftOut)
    {
        int[] widths = [.. _columns.Select((c, i) => Math.Max(c.Header.Length, _rows.Count == 0 ? 0 : _rows.Max(r => r[i].Length)))];
        List<int> shown = [.. Enumerable.Range(0, _columns.Length)];
        List<string> missing = [];
        while (shown.Count > 1 && shown.Sum(i => widths[i] + Gap) - Gap > width)
        {
            int minor = shown.FindLastIndex(i => i > 0 && _columns[i].IsMinor);
            int victim = minor >= 0 ? minor : shown.Count - 1;
            missing.Insert(0, _columns[shown[victim]].Header);
            shown.RemoveAt(victim);
        }

        leftOut = missing.Count == 0 ? null : $"(no room for: {string.Join(", ", missing)}; --json has all)";
        bool[] right = [.. _columns.Select((_, i) => _rows.Count > 0 && _rows.All(r => IsFigure(r[i])))];
        return [Line(_columns.Select(c => c.Header).ToArray(), shown, widths, right), .. _rows.Select(r => Line(r, shown, widths, right))];
    }

    private static bool IsFigure(string cell) => cell.Length == 0 || cell == "-" || char.IsAsciiDigit(cell[0]) || (cell[0] == '-' && char.IsAsciiDigit(cell[1]));

    private static string Line(string[] cells, List<int> shown, int[] widths, bool[] right)
    {
        StringBuilder line = new();
        foreach (int i in shown)
        {
            line.Append(right[i] ? cells[i].PadLeft(widths[i]) : cells[i].PadRight(widths[i])).Append(' ', Gap);
        }

        return line.ToString().TrimEnd();
    }

    private readonly record struct Column(string Header, bool IsMinor);
}
