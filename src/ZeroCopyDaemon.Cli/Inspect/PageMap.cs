using System.Globalization;
using System.Text;
using System.Text.Json;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.Cli.Inspect;

/// <summary>What a page is, as <see cref="PagesReply.States"/> numbers it.</summary>
internal enum PageState : byte
{
    Free = 0,
    Posted = 1,
    InUse = 2,
}

/// <summary>One cell of the map: what to draw and how to colour it.</summary>
/// <param name="Glyph">Tells the states apart without colour too.</param>
/// <param name="Colour">A Spectre colour name.</param>
internal readonly record struct PageCell(char Glyph, string Colour);

/// <summary>
/// The pool drawn to a size: one cell a page, or a group of pages where there are more pages than cells. A group shows its busiest page, for one page in use among a hundred free ones is
/// what one looks for.
/// </summary>
internal sealed class PageMap
{
    private const string FreeColour = "grey39";
    private const string PostedColour = "steelblue";
    private const string InUseColour = "orange1";

    // Workers by turns; the glyph says which exactly.
    private static readonly string[] WorkerColours = ["green3", "magenta1", "yellow1", "cyan1", "red1", "chartreuse1", "deeppink1", "turquoise2"];

    private readonly PagesReply _pages;

    public PageMap(PagesReply pages, int columns, int rows)
    {
        _pages = pages;
        Columns = Math.Max(1, columns);
        int cells = Math.Max(1, Columns * Math.Max(1, rows));
        int count = pages.States.Length;

        // A power of two, so that a row begins at a round number.
        PagesPerCell = (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(1, (count + cells - 1) / cells));
        CellCount = (count + PagesPerCell - 1) / PagesPerCell;
    }

    public int Columns { get; }

    public int PagesPerCell { get; }

    public int CellCount { get; }

    public int RowCount => (CellCount + Columns - 1) / Columns;

    /// <summary>The cell that stands for its group of pages.</summary>
    public PageCell Cell(int index)
    {
        ReadOnlySpan<byte> states = _pages.States.Span;
        ReadOnlySpan<byte> holders = _pages.Holders.Span;
        int end = Math.Min(states.Length, (index + 1) * PagesPerCell);
        PageState busiest = PageState.Free;
        byte holder = 0;
        for (int page = index * PagesPerCell; page < end; page++)
        {
            PageState state = (PageState)states[page];
            if (state > busiest)
            {
                busiest = state;
            }

            if (holder == 0 && page < holders.Length)
            {
                holder = holders[page];
            }
        }

        return holder != 0 ? LeasedCell(holder) : CellFor(busiest);
    }

    /// <summary>How a page in that state and in nobody's hands is drawn.</summary>
    public static PageCell CellFor(PageState state) => state switch
    {
        PageState.Free => new('·', FreeColour),
        PageState.Posted => new('░', PostedColour),
        _ => new('█', InUseColour),
    };

    /// <summary>How a page leased to that worker is drawn: the worker's number, or its letter from ten on.</summary>
    public static PageCell LeasedCell(int worker)
    {
        char glyph = worker switch
        {
            <= 9 => (char)('0' + worker),
            <= 35 => (char)('a' + worker - 10),
            _ => '+',
        };
        return new(glyph, WorkerColours[(worker - 1) % WorkerColours.Length]);
    }

    /// <summary>A row as Spectre markup: neighbours of one colour share a tag.</summary>
    public string RowMarkup(int row)
    {
        StringBuilder line = new();
        string? colour = null;
        int end = Math.Min(CellCount, (row + 1) * Columns);
        for (int i = row * Columns; i < end; i++)
        {
            PageCell cell = Cell(i);
            if (!string.Equals(cell.Colour, colour, StringComparison.Ordinal))
            {
                line.Append(colour is null ? string.Empty : "[/]").Append('[').Append(cell.Colour).Append(']');
                colour = cell.Colour;
            }

            line.Append(cell.Glyph);
        }

        return line.Append(colour is null ? string.Empty : "[/]").ToString();
    }

    /// <summary>The workers that hold leases, and in how many pages.</summary>
    public IReadOnlyList<(int Worker, int Pages)> Holders()
    {
        int[] counts = new int[256];
        foreach (byte holder in _pages.Holders.Span)
        {
            counts[holder]++;
        }

        return [.. counts.Select((pages, worker) => (worker, pages)).Where(c => c.worker != 0 && c.pages != 0)];
    }

    /// <summary>Legend and totals below the map, as markup.</summary>
    public IEnumerable<string> FootMarkup()
    {
        PageCell free = CellFor(PageState.Free);
        PageCell posted = CellFor(PageState.Posted);
        PageCell inUse = CellFor(PageState.InUse);
        string group = PagesPerCell == 1 ? "one cell is a page" : Invariant($"one cell is {PagesPerCell} pages, the busiest shown");
        yield return Invariant($"[{free.Colour}]{free.Glyph}[/] free {_pages.Free}   [{posted.Colour}]{posted.Glyph}[/] posted {_pages.Posted}   [{inUse.Colour}]{inUse.Glyph}[/] in use {_pages.InUse}   of {_pages.Pages} pages of {_pages.PageBytes} bytes ({group})");
        IReadOnlyList<(int Worker, int Pages)> holders = Holders();
        if (holders.Count > 0)
        {
            yield return "leased to " + string.Join("   ", holders.Select(h => Invariant($"[{LeasedCell(h.Worker).Colour}]{LeasedCell(h.Worker).Glyph}[/] worker {h.Worker}: {h.Pages} {(h.Pages == 1 ? "page" : "pages")}")));
        }

        yield return Invariant($"fragments: received {_pages.FragmentsReceived}, queued {_pages.FragmentsQueued}, out of order {_pages.FragmentsOutOfOrder}, leased {_pages.FragmentsLeased}, transmitting {_pages.FragmentsTransmitting}");
    }

    /// <summary>The whole reply: totals, and the states as runs from page 0 on.</summary>
    public static void WriteJson(Utf8JsonWriter json, PagesReply pages)
    {
        json.WriteStartObject();
        json.WriteNumber("pages", pages.Pages);
        json.WriteNumber("page_bytes", pages.PageBytes);
        json.WriteStartObject("totals");
        json.WriteNumber("free", pages.Free);
        json.WriteNumber("posted", pages.Posted);
        json.WriteNumber("in_use", pages.InUse);
        json.WriteStartObject("fragments");
        json.WriteNumber("received", pages.FragmentsReceived);
        json.WriteNumber("queued", pages.FragmentsQueued);
        json.WriteNumber("out_of_order", pages.FragmentsOutOfOrder);
        json.WriteNumber("leased", pages.FragmentsLeased);
        json.WriteNumber("transmitting", pages.FragmentsTransmitting);
        json.WriteEndObject();
        json.WriteEndObject();
        json.WriteStartArray("runs");
        ReadOnlySpan<byte> states = pages.States.Span;
        ReadOnlySpan<byte> holders = pages.Holders.Span;
        for (int start = 0; start < states.Length;)
        {
            byte holder = start < holders.Length ? holders[start] : (byte)0;
            int end = start + 1;
            while (end < states.Length && states[end] == states[start] && (end < holders.Length ? holders[end] : (byte)0) == holder)
            {
                end++;
            }

            json.WriteStartObject();
            json.WriteNumber("page", start);
            json.WriteNumber("count", end - start);
            json.WriteString("state", Name((PageState)states[start]));
            json.WriteNumber("worker", holder);
            json.WriteEndObject();
            start = end;
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    /// <summary>A state's public name.</summary>
    public static string Name(PageState state) => state switch
    {
        PageState.Free => "free",
        PageState.Posted => "posted",
        PageState.InUse => "in_use",
        _ => "unknown",
    };

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
