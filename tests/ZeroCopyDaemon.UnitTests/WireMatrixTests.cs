using System.Text.Json;
using ZeroCopyDaemon.Cli;
using ZeroCopyDaemon.Cli.Commands;
using ZeroCopyDaemon.Cli.Settings;
using ZeroCopyDaemon.Kernel;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.UnitTests;

public sealed class WireMatrixTests
{
    private static readonly WireMatrix Linux = new(linux: true);

    [Fact]
    public void Every_wire_placement_and_strategy_has_a_line_and_a_reason_if_it_can_t_be()
    {
        IReadOnlyList<WireCombination> all = Linux.All;
        Assert.Equal(5 * 4 * 7, all.Count);
        Assert.Equal(all.Count, all.Select(line => (line.Wire, line.Placement, line.Strategy)).Distinct().Count());
        Assert.All(all, line => Assert.NotEmpty(line.Note));
        Assert.All(all, line => Assert.Equal(line.Supported, line.Instead.Length == 0));
        Assert.Equal(["gateway", "tap"], all.Where(line => line.Supported).Select(line => line.Wire).Distinct());
    }

    [Theory]
    [InlineData("gateway", "merge", "copy", true, "in-order payload of a flow laid end to end")]
    [InlineData("tap", "none", "handoff", true, "whole frames read straight into pages")]
    [InlineData("tap", "split", "handoff", true, "by predicted header length")]
    [InlineData("tap", "packed", "handoff", true, "sequentially within a page, flows mixed")]
    [InlineData("tap", "merge", "handoff", true, "within one TSO frame only")]
    [InlineData("tap", "merge", "flip", false, "strategy not there yet")]
    [InlineData("sim", "split", "handoff", false, "for the simulation only (zcd sim)")]
    [InlineData("afxdp", "split", "handoff", false, "not there yet; headers will stay in the chunk")]
    public void A_line_says_what_is_so(string wire, string placement, string strategy, bool supported, string note)
    {
        WireCombination line = Assert.Single(Linux.All, candidate => (candidate.Wire, candidate.Placement, candidate.Strategy) == (wire, placement, strategy));
        Assert.Equal((supported, note), (line.Supported, line.Note));
    }

    [Fact]
    public void Strategies_that_are_there_are_those_that_workers_know() =>
        Assert.Equal(Enum.GetNames<ReceiveStrategy>().Select(name => name.ToLowerInvariant()), Linux.Strategies);

    [Fact]
    public void Elsewhere_than_on_Linux_there_is_no_tap()
    {
        var elsewhere = new WireMatrix(linux: false);
        Assert.Equal(["gateway"], elsewhere.Wires);
        Assert.Equal("needs Linux; choose gateway", elsewhere.WhyNotWire("tap"));
        Assert.Null(elsewhere.WhyNotWire("gateway"));
    }

    [Theory]
    [InlineData(Placement.None)]
    [InlineData(Placement.Split)]
    [InlineData(Placement.Packed)]
    public void Whatever_needs_no_super_frames_goes_without_them(Placement placement)
    {
        Assert.Null(Linux.WhyNotPlacement("tap", placement, superFrames: false));
        Assert.Null(Linux.WhyNotPlacement("gateway", Placement.Merge, superFrames: false));
        Assert.Null(Linux.WhyNotPlacement("tap", Placement.Merge, superFrames: true));
    }

    [Theory]
    [InlineData("tso", "off")]
    [InlineData("checksum-offload", "off")]
    [InlineData("impair", "loss=1%")]
    public void Merge_on_tap_is_refused_where_no_super_frames_are_with_one_line_that_says_what_works(string option, string value)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "tap needs Linux");
        UsageException refused = Assert.Throws<UsageException>(() => Resolve(("wire", "tap"), ("placement", "merge"), (option, value)));
        Assert.Equal(
            "--placement merge: on wire tap it lays together what one TSO frame brings, and there is none with --tso off, --checksum-offload off or --impair; choose none, split or packed, or --wire gateway",
            Assert.Single(refused.Lines));
        Assert.Equal(Placement.Merge, Resolve(("wire", "gateway"), ("placement", "merge"), (option, value)).Placement);
    }

    [Theory]
    [InlineData("tap", "bind", "0.0.0.0", "--bind 0.0.0.0: this means nothing on wire tap; leave it out, or choose --wire gateway")]
    [InlineData("gateway", "tap", "zcd7", "--tap zcd7: this means nothing on wire gateway; leave it out, or choose --wire tap")]
    [InlineData("gateway", "address", "10.44.0.2/24", "--address 10.44.0.2/24: this means nothing on wire gateway; leave it out, or choose --wire tap")]
    [InlineData("gateway", "host-address", "10.44.0.1", "--host-address 10.44.0.1: this means nothing on wire gateway; leave it out, or choose --wire tap")]
    [InlineData("gateway", "netns", "x", "--netns x: this means nothing on wire gateway; leave it out, or choose --wire tap")]
    public void A_setting_of_another_wire_is_refused_rather_than_ignored(string wire, string option, string value, string line)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "tap needs Linux");
        Assert.Equal(line, Assert.Single(Assert.Throws<UsageException>(() => Resolve(("wire", wire), (option, value))).Lines));
    }

    [Fact]
    public void The_kernel_host_refuses_the_same()
    {
        Assert.Equal("Wire sim, placement split, strategy : for the simulation only (zcd sim); choose gateway or tap.", Refusal(new KernelHostOptions { Wire = "sim" }));
        Assert.Equal("Wire gateway, placement split, strategy flip: not there yet; choose handoff or copy.", Refusal(new KernelHostOptions { Strategy = "flip" }));
        Assert.StartsWith("Wire tap, placement merge, strategy : on wire tap it lays together", Refusal(new KernelHostOptions { Wire = "tap", Placement = Placement.Merge, Tso = false }), StringComparison.Ordinal);
        Assert.Equal("The wire can't be impaired by 'loss': loss has no value; write for instance loss=1%,delay=20ms.", Refusal(new KernelHostOptions { Impair = "loss" }));

        static string Refusal(KernelHostOptions options)
        {
            Assert.SkipUnless(OperatingSystem.IsLinux(), "tap needs Linux");
            return Assert.Throws<KernelHostException>(options.Validate).Message;
        }
    }

    [Fact]
    public void The_command_prints_a_row_for_each_wire_and_placement_and_all_lines_as_JSON()
    {
        string[] lines = [.. WiresCommand.Table(Linux).Lines(80, out string? leftOut)];
        Assert.Equal("(no room for: strategy; --json has all)", leftOut);
        Assert.Equal(1 + 20, lines.Length);
        Assert.Equal("tap      merge      yes        within one TSO frame only", lines[8]);
        Assert.Contains(WiresCommand.Footnotes(Linux), line => line.Contains("copy-checksum, flip, flip-packet, bypass, splice", StringComparison.Ordinal));
        using JsonDocument json = JsonDocument.Parse(WiresCommand.Json(Linux));
        Assert.Equal(140, json.RootElement.GetArrayLength());
        JsonElement first = json.RootElement[0];
        Assert.Equal(
            ("gateway", "none", "handoff", true, "whole frames in pages"),
            (first.GetProperty("wire").GetString(), first.GetProperty("placement").GetString(), first.GetProperty("strategy").GetString(), first.GetProperty("supported").GetBoolean(), first.GetProperty("note").GetString()));
        Assert.Equal("not there yet; choose wire gateway or tap", json.RootElement[139].GetProperty("note").GetString());
    }

    private static DaemonSettings Resolve(params (string Name, string Value)[] options) =>
        SettingsResolver.Resolve([SettingsResolver.FromOptions(options.ToDictionary(o => o.Name, o => o.Value))], SettingsTable.All);
}
