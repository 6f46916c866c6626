using System.Globalization;
using Spectre.Console;
using Spectre.Console.Rendering;
using ZeroCopyDaemon.Cli.Control;
using ZeroCopyDaemon.Cli.Output;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.Cli.Inspect;

/// <summary>The map of the pool.</summary>
internal sealed class PagesView : InspectView
{
    // Prompt, legend, holders, fragments and a spare line.
    private const int LinesBelow = 6;

    public override async Task<InspectSnapshot> TakeAsync(ControlConnection control, CancellationToken cancel)
    {
        PagesReply pages = await control.GetPagesAsync(cancel);
        return new((width, rows) => Render(pages, width, rows), json => PageMap.WriteJson(json, pages));
    }

    private static Rows Render(PagesReply pages, int width, int rows)
    {
        // A power of two makes a row's first page a round number.
        int columns = (int)Math.Max(16, System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(16, width - 8)) / 2);
        PageMap map = new(pages, columns, Math.Max(4, rows - LinesBelow));
        List<IRenderable> lines = [];
        for (int row = 0; row < map.RowCount; row++)
        {
            string page = ((long)row * map.Columns * map.PagesPerCell).ToString(CultureInfo.InvariantCulture).PadLeft(7);
            lines.Add(new Markup($"[grey]{page}[/] {map.RowMarkup(row)}"));
        }

        lines.AddRange(map.FootMarkup().Select(line => new Markup(line)));
        return new Rows(lines);
    }
}

/// <summary>One page: who holds what in it, and its bytes.</summary>
internal sealed class PageView(uint page) : InspectView
{
    private const uint MaxBytes = 2 << 20;

    public override async Task<InspectSnapshot> TakeAsync(ControlConnection control, CancellationToken cancel)
    {
        PageReply reply = await control.GetPageAsync(page, MaxBytes, cancel);
        return new((width, _) => Render(reply, width), json =>
        {
            json.WriteStartObject();
            ProtoJson.WriteFields(json, reply, "data");
            json.WriteString("data_hex", Convert.ToHexStringLower(reply.Data.Span));
            json.WriteEndObject();
        });
    }

    private static Rows Render(PageReply page, int width)
    {
        List<IRenderable> parts =
        [
            new Markup($"page [bold]{page.Page}[/]: {Markup.Escape(page.State)}, {page.References} {(page.References == 1 ? "reference" : "references")}{(page.NicHold ? ", held by the NIC" : string.Empty)}, generation {page.Uses} (how often it was posted)"),
        ];
        if (page.Fragments.Count > 0)
        {
            TextTable table = new("slot", "generation", "offset", "length", "state", "connection", "worker", "stream range");
            foreach (FragmentInfo fragment in page.Fragments)
            {
                table.AddRow(
                    TextTable.Number(fragment.Slot),
                    TextTable.Number(fragment.Generation),
                    TextTable.Number(fragment.Offset),
                    TextTable.Number(fragment.Length),
                    fragment.State,
                    fragment.Connection < 0 ? "-" : fragment.Connection.ToString(CultureInfo.InvariantCulture),
                    fragment.Worker == 0 ? "-" : TextTable.Number(fragment.Worker),
                    fragment.StreamOffset < 0 ? "-" : $"{fragment.StreamOffset} to {fragment.StreamOffset + fragment.Length}");
            }

            parts.Add(table.Render(width));
        }

        parts.AddRange(HexDump.Lines(page.Data.Memory).Select(line => new Text(line)));
        return new Rows(parts);
    }
}
