using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.Kernel;

/// <summary>A line of the truth table: whether a daemon can be started so.</summary>
/// <param name="Wire">As in <c>--wire</c>.</param>
/// <param name="Placement">As in <c>--placement</c>.</param>
/// <param name="Strategy">As in <c>--strategy</c>.</param>
/// <param name="Supported">It can.</param>
/// <param name="Note">What is to be known about it, or why it can't.</param>
/// <param name="Instead">What works, if it can't; else empty.</param>
public sealed record WireCombination(string Wire, string Placement, string Strategy, bool Supported, string Note, string Instead);

/// <summary>
/// The truth about wires, NIC placements and receive strategies: which go together, and why others don't. A modelled NIC knows a frame before it places it; a direct wire (the OS, or hardware, writes
/// into the posted pages) places before anybody has parsed, so not every placement exists on every wire. Immutable; any thread.
/// </summary>
public sealed class WireMatrix
{
    private const string NotThere = "not there yet";
    private const string Tap = "tap";

    private readonly WireEntry[] _wires;

    private readonly StrategyEntry[] _strategies =
    [
        new("handoff", null),
        new("copy", null),
        new("copy-checksum", NotThere),
        new("flip", NotThere),
        new("flip-packet", NotThere),
        new("bypass", NotThere),
        new("splice", NotThere),
    ];

    /// <param name="linux">The OS is Linux.</param>
    internal WireMatrix(bool linux)
    {
        _wires =
        [
            new("gateway", null, placement => placement switch
            {
                Placement.None => "whole frames in pages",
                Placement.Split => "headers apart, payload on pages of its own",
                Placement.Packed => "payloads of many frames share a page",
                _ => "in-order payload of a flow laid end to end",
            }),
            new(Tap, linux ? null : "needs Linux", placement => placement switch
            {
                Placement.None => "whole frames read straight into pages",
                Placement.Split => "by predicted header length",
                Placement.Packed => "sequentially within a page, flows mixed",
                _ => "within one TSO frame only",
            }),
            new("sim", "for the simulation only (zcd sim)", _ => string.Empty),
            new("afxdp", NotThere, placement => placement switch
            {
                Placement.None => string.Empty,
                Placement.Split => "; headers will stay in the chunk",
                _ => "; a chunk will hold one frame",
            }),
            new("pcap", NotThere, _ => string.Empty),
        ];
    }

    private sealed record WireEntry(string Word, string? WhyNot, Func<Placement, string> Note);

    private sealed record StrategyEntry(string Word, string? WhyNot);

    /// <summary>The table of this OS.</summary>
    public static WireMatrix Here { get; } = new(OperatingSystem.IsLinux());

    /// <summary>The wires that a daemon can have.</summary>
    public IReadOnlyList<string> Wires => [.. _wires.Where(wire => wire.WhyNot is null).Select(wire => wire.Word)];

    /// <summary>The strategies that workers can have.</summary>
    public IReadOnlyList<string> Strategies => [.. _strategies.Where(strategy => strategy.WhyNot is null).Select(strategy => strategy.Word)];

    /// <summary>Every line, those included that name what isn't there yet.</summary>
    public IReadOnlyList<WireCombination> All =>
    [
        .. from wire in _wires
           from placement in Enum.GetValues<Placement>()
           from strategy in _strategies
           select Line(wire, placement, strategy),
    ];

    /// <summary>A placement as in <c>--placement</c>.</summary>
    public static string Word(Placement placement) => placement.ToString().ToLowerInvariant();

    /// <summary>Null if a daemon can have this wire; else why not and what works, to be read on after "--wire WORD: ".</summary>
    public string? WhyNotWire(string wire)
    {
        WireEntry? known = Array.Find(_wires, candidate => Same(candidate.Word, wire));
        return known is { WhyNot: null } ? null : $"{known?.WhyNot ?? "there is no such wire"}; choose {Choice(Wires)}";
    }

    /// <summary>Null if workers can have this strategy; else why not and what works, to be read on after "--strategy WORD: ".</summary>
    public string? WhyNotStrategy(string strategy)
    {
        StrategyEntry? known = Array.Find(_strategies, candidate => Same(candidate.Word, strategy));
        return known is { WhyNot: null } ? null : $"{known?.WhyNot ?? "there is no such strategy"}; choose {Choice(Strategies)}";
    }

    /// <summary>Null if the placement goes with a wire that a daemon can have; else why not and what works, to be read on after "--placement WORD: ".</summary>
    /// <param name="wire">The wire.</param>
    /// <param name="placement">The placement.</param>
    /// <param name="superFrames">Super-frames cross the wire: TSO and checksum offload are on, and nothing happens to single frames on the way.</param>
    public string? WhyNotPlacement(string wire, Placement placement, bool superFrames)
    {
        if (GoWith(wire, placement, superFrames))
        {
            return null;
        }

        string here = Choice(Enum.GetValues<Placement>().Where(other => GoWith(wire, other, superFrames)).Select(Word));
        string elsewhere = Choice(Wires.Where(other => GoWith(other, placement, superFrames)));
        return $"on wire {wire} it lays together what one TSO frame brings, and there is none with --tso off, --checksum-offload off or --impair; choose {here}, or --wire {elsewhere}";
    }

    /// <summary>"a, b or c".</summary>
    public static string Choice(IEnumerable<string> words)
    {
        string[] all = [.. words];
        return all.Length <= 1 ? string.Concat(all) : $"{string.Join(", ", all[..^1])} or {all[^1]}";
    }

    private static bool GoWith(string wire, Placement placement, bool superFrames) => superFrames || placement != Placement.Merge || !Same(wire, Tap);

    private static bool Same(string a, string b) => string.Equals(a, b, StringComparison.OrdinalIgnoreCase);

    private WireCombination Line(WireEntry wire, Placement placement, StrategyEntry strategy)
    {
        if (wire.WhyNot is not null)
        {
            string note = wire.WhyNot == NotThere ? NotThere + wire.Note(placement) : wire.WhyNot;
            return new WireCombination(wire.Word, Word(placement), strategy.Word, Supported: false, note, "wire " + Choice(Wires));
        }

        return strategy.WhyNot is not null
            ? new WireCombination(wire.Word, Word(placement), strategy.Word, Supported: false, $"strategy {strategy.WhyNot}", "strategy " + Choice(Strategies))
            : new WireCombination(wire.Word, Word(placement), strategy.Word, Supported: true, wire.Note(placement), string.Empty);
    }
}
