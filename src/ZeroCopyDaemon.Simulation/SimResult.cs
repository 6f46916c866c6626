using System.Globalization;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Simulation;

/// <summary>What a simulation of one seed came to.</summary>
public sealed record SimResult
{
    public required ulong Seed { get; init; }

    /// <summary>Null if every promise held, else what did not.</summary>
    public string? Failure { get; init; }

    public bool Ok => Failure is null;

    /// <summary>Bytes that B received, all connections together.</summary>
    public long BytesToB { get; init; }

    /// <summary>Bytes that A received.</summary>
    public long BytesToA { get; init; }

    /// <summary>The hosts talked IPv6.</summary>
    public bool Ipv6 { get; init; }

    /// <summary>Frames that left a NIC.</summary>
    public long Frames { get; init; }

    /// <summary>Frames that the wire lost, at random or for want of room.</summary>
    public long WireDrops { get; init; }

    public long Duplicated { get; init; }

    public long Reordered { get; init; }

    public long Corrupted { get; init; }

    /// <summary>Segments with payload that had been sent before, as seen on the wire.</summary>
    public long Retransmits { get; init; }

    /// <summary>Directions whose sequence numbers went through 0.</summary>
    public int Wrapped { get; init; }

    /// <summary>What NICs and stacks dropped, by counter name; only what is not 0.</summary>
    public IReadOnlyDictionary<string, long> Drops { get; init; } = new Dictionary<string, long>();

    /// <summary>States seen, a bit per <see cref="TcpState"/>.</summary>
    public int States { get; init; }

    /// <summary>An end that connected was seen in SYN-RECEIVED.</summary>
    public bool SimultaneousOpen { get; init; }

    /// <summary>Connections that were aborted by plan.</summary>
    public int Aborted { get; init; }

    /// <summary>From begin to end, in microseconds of virtual time.</summary>
    public long VirtualUs { get; init; }

    /// <summary>Depends on every bit of every frame, its time and its fate.</summary>
    public ulong Hash { get; init; }

    /// <summary>The states seen, by name.</summary>
    public IEnumerable<TcpState> StatesVisited => Enum.GetValues<TcpState>().Where(state => (States & (1 << (int)state)) != 0);

    /// <inheritdoc/>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"seed {Seed}: {(Ok ? "ok" : "FAILED")}, {(Ipv6 ? "IPv6" : "IPv4")}, {BytesToB} bytes A to B, {BytesToA} bytes B to A, {Frames} frames, {WireDrops} lost, {Duplicated} duplicated, {Reordered} reordered, "
        + $"{Corrupted} corrupted, {Retransmits} retransmissions, {VirtualUs / 1e6:0.000000} s of virtual time, hash {Hash:x16}{(Ok ? "" : Environment.NewLine + Failure)}");
}

/// <summary>Many results added up, so that a run that tested nothing shows.</summary>
public sealed class SimTotals
{
    private readonly SortedDictionary<string, long> _drops = new(StringComparer.Ordinal);

    public long Seeds { get; private set; }

    /// <summary>Of these, those over IPv6.</summary>
    public long Ipv6Seeds { get; private set; }

    public List<SimResult> Failures { get; } = [];

    public long Bytes { get; private set; }

    public long Frames { get; private set; }

    public long WireDrops { get; private set; }

    public long Duplicated { get; private set; }

    public long Reordered { get; private set; }

    public long Corrupted { get; private set; }

    public long Retransmits { get; private set; }

    public long SimultaneousOpens { get; private set; }

    public long Wrapped { get; private set; }

    public long Aborted { get; private set; }

    /// <summary>Hours of virtual time.</summary>
    public double VirtualHours { get; private set; }

    /// <summary>Seeds in which each state was seen, by <see cref="TcpState"/>.</summary>
    public long[] StateCounts { get; } = new long[Enum.GetValues<TcpState>().Length];

    /// <summary>What NICs and stacks dropped, by counter name.</summary>
    public IReadOnlyDictionary<string, long> Drops => _drops;

    /// <summary>Adds one. Not thread-safe.</summary>
    public void Add(SimResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        Seeds++;
        Ipv6Seeds += result.Ipv6 ? 1 : 0;
        if (!result.Ok)
        {
            Failures.Add(result);
        }

        Bytes += result.BytesToA + result.BytesToB;
        Frames += result.Frames;
        WireDrops += result.WireDrops;
        Duplicated += result.Duplicated;
        Reordered += result.Reordered;
        Corrupted += result.Corrupted;
        Retransmits += result.Retransmits;
        SimultaneousOpens += result.SimultaneousOpen ? 1 : 0;
        Wrapped += result.Wrapped;
        Aborted += result.Aborted;
        VirtualHours += result.VirtualUs / 3.6e9;
        foreach (TcpState state in result.StatesVisited)
        {
            StateCounts[(int)state]++;
        }

        foreach ((string name, long count) in result.Drops)
        {
            _drops[name] = _drops.GetValueOrDefault(name) + count;
        }
    }

    /// <inheritdoc/>
    public override string ToString()
    {
        string states = string.Join(", ", Enum.GetValues<TcpState>().Select(state => string.Create(CultureInfo.InvariantCulture, $"{state} {StateCounts[(int)state]}")));
        string drops = string.Join(", ", _drops.Select(drop => string.Create(CultureInfo.InvariantCulture, $"{drop.Key} {drop.Value}")));
        return string.Create(
            CultureInfo.InvariantCulture,
            $"""
            {Seeds} seeds ({Ipv6Seeds} over IPv6), {Failures.Count} failed
            {Bytes} bytes in {Frames} frames over {VirtualHours:0.0} hours of virtual time
            wire: {WireDrops} lost, {Duplicated} duplicated, {Reordered} reordered, {Corrupted} corrupted
            {Retransmits} retransmissions, {SimultaneousOpens} seeds with a simultaneous open, {Wrapped} directions whose sequence numbers wrapped, {Aborted} connections aborted
            seeds that visited each state: {states}
            dropped: {drops}
            """);
    }
}
