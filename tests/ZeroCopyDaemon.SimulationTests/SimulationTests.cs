using System.Diagnostics;
using System.Globalization;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Simulation;

namespace ZeroCopyDaemon.SimulationTests;

/// <summary>
/// Two stacks over an impaired wire. <c>ZCD_SIM_SEEDS</c> and <c>ZCD_SIM_FIRST</c> choose how many seeds and from which on; a seed that fails is replayed, with a trace, by the command that the
/// failure names.
/// </summary>
public sealed class SimulationTests(ITestOutputHelper output)
{
    private static long Setting(string name, long otherwise) =>
        long.TryParse(Environment.GetEnvironmentVariable(name), CultureInfo.InvariantCulture, out long value) ? value : otherwise;

    [Fact]
    public void A_thousand_seeds_keep_every_promise_and_visit_every_state()
    {
        long started = Stopwatch.GetTimestamp();
        SimTotals totals = SimRunner.RunMany((ulong)Setting("ZCD_SIM_FIRST", 1), Setting("ZCD_SIM_SEEDS", 1000));
        foreach (string line in $"{totals}{Environment.NewLine}{Stopwatch.GetElapsedTime(started).TotalSeconds:0.0} s".Split(Environment.NewLine))
        {
            output.WriteLine($"[figure] {line}");
        }

        Assert.True(
            totals.Failures.Count == 0,
            string.Join(Environment.NewLine, totals.Failures.Take(10).Select(result => $"zcd sim --seed {result.Seed}{Environment.NewLine}{result.Failure}")));

        // A run that tested nothing must not pass.
        Assert.True(totals.Bytes >= totals.Seeds * 2 * (64 << 10) * 9 / 10, "most seeds move at least 64 KiB each way");
        Assert.True(totals is { WireDrops: > 0, Duplicated: > 0, Reordered: > 0, Corrupted: > 0, Retransmits: > 0, Wrapped: > 0, Aborted: > 0 }, "the wire was bad");
        Assert.InRange(totals.Ipv6Seeds, totals.Seeds / 5, totals.Seeds / 2);
        Assert.True(totals.SimultaneousOpens > 0, "some ends that connected were seen in SYN-RECEIVED");
        foreach (TcpState state in Enum.GetValues<TcpState>())
        {
            Assert.True(totals.StateCounts[(int)state] > 0, $"state {state} was visited");
        }
    }

    [Fact]
    public void The_same_seed_gives_the_same_run_to_the_last_bit()
    {
        for (ulong seed = 1; seed <= 20; seed++)
        {
            SimResult first = SimRunner.Run(seed);
            SimResult second = SimRunner.Run(seed);
            Assert.Equal(first.ToString(), second.ToString());
            Assert.NotEqual(0UL, first.Hash);
        }
    }

    [Fact]
    public void Different_seeds_give_different_runs()
    {
        ulong[] hashes = [.. Enumerable.Range(1, 20).Select(seed => SimRunner.Run((ulong)seed).Hash)];
        Assert.Equal(hashes.Length, hashes.Distinct().Count());
    }

    [Fact]
    public void A_trace_shows_the_handshake_the_bytes_and_the_end()
    {
        var trace = new StringWriter();
        SimResult result = SimRunner.Run(1, trace);
        string text = trace.ToString();
        Assert.True(result.Ok, text[^Math.Min(text.Length, 2000)..]);
        Assert.Contains("Flags [S], seq 0, win ", text, StringComparison.Ordinal);
        Assert.Contains(result.Ipv6 ? "ICMPv6 who-has fd00::" : "ARP who-has 10.0.0.", text, StringComparison.Ordinal);
        Assert.Contains("seq 1:", text, StringComparison.Ordinal);
        Assert.Contains("seed 1: ok", text, StringComparison.Ordinal);
        Assert.Contains("both ends of every connection are closed", text, StringComparison.Ordinal);
    }
}
