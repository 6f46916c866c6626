using System.Text;
using System.Text.Json;
using Google.Protobuf;
using ZeroCopyDaemon.Cli.Inspect;
using ZeroCopyDaemon.Cli.Output;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.UnitTests;

public sealed class CliPageMapTests
{
    [Fact]
    public void A_small_pool_has_a_cell_for_each_page()
    {
        PageMap map = new(Pages("0012", "0003"), columns: 16, rows: 4);
        Assert.Equal(1, map.PagesPerCell);
        Assert.Equal(4, map.CellCount);
        Assert.Equal(1, map.RowCount);
        Assert.Equal("··░3", Glyphs(map));
    }

    [Fact]
    public void In_use_but_leased_to_nobody_is_a_block()
    {
        PageMap map = new(Pages("2", "0"), 16, 4);
        Assert.Equal("█", Glyphs(map));
    }

    [Fact]
    public void A_group_shows_its_busiest_page()
    {
        PageMap map = new(Pages("0000" + "0010" + "0120" + "1200", "0000" + "0000" + "0000" + "0500"), columns: 2, rows: 2);
        Assert.Equal(4, map.PagesPerCell);
        Assert.Equal("·░█5", Glyphs(map));
    }

    [Fact]
    public void Pages_that_do_not_fill_the_last_group_are_shown_all_the_same()
    {
        PageMap map = new(Pages("00000" + "2", "000000"), columns: 2, rows: 1);
        Assert.Equal(4, map.PagesPerCell);
        Assert.Equal("·█", Glyphs(map));
    }

    [Fact]
    public void A_pool_far_larger_than_the_terminal_is_drawn_in_its_rows()
    {
        PagesReply pages = new() { States = ByteString.CopyFrom(new byte[1_000_003]), Holders = ByteString.CopyFrom(new byte[1_000_003]) };
        PageMap map = new(pages, 64, 16);
        Assert.InRange(map.RowCount, 1, 16);
        Assert.True((long)map.CellCount * map.PagesPerCell >= 1_000_003);
    }

    [Fact]
    public void Neighbours_of_one_colour_share_their_markup()
    {
        PageMap map = new(Pages("0011", "0000"), 16, 1);
        Assert.Equal("[grey39]··[/][steelblue]░░[/]", map.RowMarkup(0));
    }

    [Theory]
    [InlineData(1, '1')]
    [InlineData(9, '9')]
    [InlineData(10, 'a')]
    [InlineData(35, 'z')]
    [InlineData(36, '+')]
    [InlineData(255, '+')]
    public void A_worker_s_pages_bear_its_number(int worker, char glyph) => Assert.Equal(glyph, PageMap.LeasedCell(worker).Glyph);

    [Fact]
    public void The_foot_has_the_totals_and_who_holds_what()
    {
        PagesReply pages = Pages("2220", "1150");
        pages.Free = 1;
        pages.InUse = 3;
        pages.FragmentsLeased = 4;
        string foot = string.Join('\n', new PageMap(pages, 16, 1).FootMarkup());
        Assert.Contains("free 1 ", foot, StringComparison.Ordinal);
        Assert.Contains("in use 3 ", foot, StringComparison.Ordinal);
        Assert.Contains("worker 1: 2 pages", foot, StringComparison.Ordinal);
        Assert.Contains("worker 5: 1 page", foot, StringComparison.Ordinal);
        Assert.Contains("leased 4,", foot, StringComparison.Ordinal);
    }

    [Fact]
    public void The_json_has_totals_and_runs_that_cover_every_page()
    {
        PagesReply pages = Pages("0011222", "0000110");
        (pages.Pages, pages.PageBytes, pages.Free, pages.Posted, pages.InUse, pages.FragmentsQueued) = (7, 4096, 2, 2, 3, 9);
        JsonElement json = JsonDocument.Parse(ProtoJson.Document(writer => PageMap.WriteJson(writer, pages), indented: false)).RootElement;
        JsonElement totals = json.GetProperty("totals");
        Assert.Equal((2, 2, 3), (totals.GetProperty("free").GetInt32(), totals.GetProperty("posted").GetInt32(), totals.GetProperty("in_use").GetInt32()));
        Assert.Equal(9, totals.GetProperty("fragments").GetProperty("queued").GetInt32());
        string[] runs = [.. json.GetProperty("runs").EnumerateArray().Select(r => $"{r.GetProperty("page")}+{r.GetProperty("count")} {r.GetProperty("state")} {r.GetProperty("worker")}")];
        Assert.Equal(["0+2 free 0", "2+2 posted 0", "4+2 in_use 1", "6+1 in_use 0"], runs);
    }

    private static PagesReply Pages(string states, string holders) => new()
    {
        States = ByteString.CopyFrom([.. states.Select(c => (byte)(c - '0'))]),
        Holders = ByteString.CopyFrom([.. holders.Select(c => (byte)(c - '0'))]),
    };

    private static string Glyphs(PageMap map)
    {
        StringBuilder glyphs = new();
        for (int i = 0; i < map.CellCount; i++)
        {
            glyphs.Append(map.Cell(i).Glyph);
        }

        return glyphs.ToString();
    }
}
