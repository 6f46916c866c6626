using System.Text.Json;
using ZeroCopyDaemon.Cli.Commands;
using ZeroCopyDaemon.Cli.Output;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.UnitTests;

public sealed class CliOutputTests
{
    [Fact]
    public void Messages_are_written_with_the_proto_s_names_all_fields_and_numbers_as_numbers()
    {
        WorkerInfo worker = new() { Id = 3, Pid = 77, DeliveredBytes = 1UL << 40, AttachedS = 1.5 };
        JsonElement json = JsonDocument.Parse(ProtoJson.Document(writer => ProtoJson.Write(writer, worker), indented: false)).RootElement;
        Assert.Equal(1L << 40, json.GetProperty("delivered_bytes").GetInt64());
        Assert.Equal(0, json.GetProperty("pages_held").GetInt32());
        Assert.Equal("", json.GetProperty("reason").GetString());
        Assert.Equal(1.5, json.GetProperty("attached_s").GetDouble());
        Assert.Equal(WorkerInfo.Descriptor.Fields.InDeclarationOrder().Count, json.EnumerateObject().Count());
    }

    [Fact]
    public void The_status_names_each_process_with_its_role_and_each_address()
    {
        StatusReply status = new() { Name = "x", Pid = 10, State = "running" };
        status.Workers.Add(new WorkerInfo { Id = 1, Pid = 11, State = "attached", Name = "http" });
        status.Workers.Add(new WorkerInfo { Id = 2, Pid = 12, State = "detached" });
        status.Listeners.Add(new ListenAddress { Port = 8080, Address = "127.0.0.1:8080", Workers = 1 });
        JsonElement json = JsonDocument.Parse(ProtoJson.Document(writer => StatusCommand.WriteJson(writer, status), indented: true)).RootElement;
        string[] processes = [.. json.GetProperty("processes").EnumerateArray().Select(p => $"{p.GetProperty("pid")} {p.GetProperty("role")}")];
        Assert.Equal(["10 kernel", "11 worker"], processes);
        Assert.Equal("127.0.0.1:8080", Assert.Single(json.GetProperty("addresses").EnumerateArray()).GetString());
        Assert.Equal("x", json.GetProperty("name").GetString());
        Assert.Equal(2, json.GetProperty("workers").GetArrayLength());
    }

    [Fact]
    public void The_status_names_the_IPv6_address_beside_the_other()
    {
        StatusReply status = new();
        status.Listeners.Add(new ListenAddress { Port = 8080, Address = "10.44.0.2:8080", Address6 = "[fd44::2]:8080" });
        JsonElement json = JsonDocument.Parse(ProtoJson.Document(writer => StatusCommand.WriteJson(writer, status), indented: true)).RootElement;
        Assert.Equal(["10.44.0.2:8080", "[fd44::2]:8080"], json.GetProperty("addresses").EnumerateArray().Select(address => address.GetString()));
        Assert.Equal("[fd44::2]:8080", json.GetProperty("listeners")[0].GetProperty("address6").GetString());
    }

    [Fact]
    public void A_hex_dump_shows_offset_bytes_and_text()
    {
        string[] lines = [.. HexDump.Lines("GET / HTTP/1.1\r\nHost"u8.ToArray())];
        Assert.Equal("000000  47 45 54 20 2f 20 48 54  54 50 2f 31 2e 31 0d 0a  |GET / HTTP/1.1..|", lines[0]);
        Assert.StartsWith("000010  48 6f 73 74 ", lines[1], StringComparison.Ordinal);
        Assert.EndsWith("|Host|", lines[1], StringComparison.Ordinal);
        Assert.Equal(lines[0].IndexOf('|', StringComparison.Ordinal), lines[1].IndexOf('|', StringComparison.Ordinal));
    }

    [Fact]
    public void Equal_lines_of_a_hex_dump_are_folded_but_for_the_first_and_the_last()
    {
        string[] lines = [.. HexDump.Lines(new byte[16 * 100])];
        Assert.Equal(3, lines.Length);
        Assert.Equal("*", lines[1]);
        Assert.StartsWith("000630", lines[2], StringComparison.Ordinal);
    }

    [Fact]
    public void A_table_is_as_wide_as_its_cells_with_figures_to_the_right()
    {
        TextTable table = new("name", "bytes");
        table.AddRow("a", "1,000");
        table.AddRow("longer", "7");
        Assert.Equal(["name    bytes", "a       1,000", "longer      7"], table.Lines(80, out string? leftOut));
        Assert.Null(leftOut);
    }

    [Fact]
    public void A_table_too_wide_for_the_terminal_leaves_minor_columns_out_and_says_so()
    {
        TextTable table = new("id", "first-", "second", "third-", "fourth");
        table.AddRow("1", "aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc", "dddddddddd");
        Assert.Equal("id  second      fourth", table.Lines(30, out string? leftOut).First());
        Assert.Equal("(no room for: first, third; --json has all)", leftOut);
        Assert.Equal("id  second", table.Lines(15, out _).First());
        Assert.Equal("id", table.Lines(3, out _).First());
        Assert.All(table.Lines(30, out _), line => Assert.InRange(line.Length, 0, 30));
    }
}
