using System.Globalization;
using System.Net;
using System.Text.RegularExpressions;

namespace ZeroCopyDaemon.Cli.Bench.OverWire;

/// <summary>One run of a workload: how much was done, at what rate.</summary>
/// <param name="Rate">Units of <see cref="Workload.RateUnit"/>.</param>
/// <param name="Amount">What costs are divided by: megabytes, requests or connections.</param>
internal sealed record WorkloadRun(double Rate, double Amount)
{
    /// <summary>Median and 99th percentile of the latency in milliseconds, if it was measured.</summary>
    public (double P50, double P99)? LatencyMs { get; init; }

    /// <summary>What went wrong on the way though the run counts; empty if nothing.</summary>
    public string Trouble { get; init; } = string.Empty;
}

/// <summary>What is done to a server to measure it. The load comes from this host's own TCP, over whatever leads to the server.</summary>
internal abstract partial class Workload
{
    /// <summary>As in <c>--workloads</c>.</summary>
    public abstract string Key { get; }

    /// <summary>For the table's head.</summary>
    public abstract string Title { get; }

    public abstract string RateUnit { get; }

    /// <summary>What costs are told per.</summary>
    public abstract string PerUnit { get; }

    /// <summary>How rates are printed.</summary>
    public virtual string RateFormat => "#,0";

    /// <summary>The app of a daemon's workers.</summary>
    public abstract string App { get; }

    /// <summary>A program that it needs, or null.</summary>
    public virtual Tool? Needs => null;

    public abstract Task<WorkloadRun> RunAsync(IPEndPoint server, CancellationToken cancel);

    /// <summary>Shorter, to compile the code on all sides.</summary>
    public abstract Task WarmUpAsync(IPEndPoint server, CancellationToken cancel);

    /// <summary>The pattern's <c>figure</c>. Throws <see cref="CliException"/> if the tool didn't print it.</summary>
    protected static double Figure(string output, Regex pattern) => pattern.Match(output) is { Success: true } match
        ? double.Parse(match.Groups["figure"].Value, CultureInfo.InvariantCulture)
        : throw new CliException($"the load generator printed no '{pattern}': {output.Trim().ReplaceLineEndings(" ")}");
}

/// <summary>W1: one connection takes bytes in as fast as it can.</summary>
internal sealed class BulkWorkload(long bytes) : Workload
{
    private const long WarmUpBytes = 256L << 20;

    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(10);

    public override string Key => "w1";

    public override string Title => "W1 bulk receive, one connection";

    public override string RateUnit => "GB/s";

    public override string PerUnit => "MB";

    public override string RateFormat => "0.000";

    public override string App => "sink";

    public override async Task<WorkloadRun> RunAsync(IPEndPoint server, CancellationToken cancel)
    {
        (long sent, TimeSpan took) = await BulkSender.RunAsync(server, bytes, Longest, cancel);
        return new WorkloadRun(sent / 1e9 / took.TotalSeconds, sent / 1e6);
    }

    public override Task WarmUpAsync(IPEndPoint server, CancellationToken cancel) => BulkSender.RunAsync(server, Math.Min(bytes, WarmUpBytes), Longest, cancel);
}

/// <summary>W2: HTTP requests over connections that stay open.</summary>
internal sealed partial class KeepAliveWorkload(int seconds) : Workload
{
    public override string Key => "w2";

    public override string Title => "W2 HTTP keep-alive, 32 connections";

    public override string RateUnit => "requests/s";

    public override string PerUnit => "request";

    public override string App => "http";

    public override Tool Needs => Tool.Wrk;

    public override async Task<WorkloadRun> RunAsync(IPEndPoint server, CancellationToken cancel)
    {
        string output = await WrkAsync(server, seconds, cancel);
        return Parse(output);
    }

    public override Task WarmUpAsync(IPEndPoint server, CancellationToken cancel) => WrkAsync(server, Math.Min(2, seconds), cancel);

    internal static WorkloadRun Parse(string output) => new(Figure(output, RateLine()), Figure(output, CountLine()))
    {
        LatencyMs = (Milliseconds(output, MedianLine()), Milliseconds(output, TailLine())),
        Trouble = TroubleLine().Match(output) is { Success: true } trouble ? trouble.Value.Trim() : string.Empty,
    };

    private static Task<string> WrkAsync(IPEndPoint server, int seconds, CancellationToken cancel) =>
        Tool.Wrk.RunAsync(["-t1", "-c32", string.Create(CultureInfo.InvariantCulture, $"-d{seconds}s"), "--latency", $"http://{server}/"], cancel);

    private static double Milliseconds(string output, Regex pattern)
    {
        double value = Figure(output, pattern);
        return pattern.Match(output).Groups["unit"].Value switch
        {
            "us" => value / 1e3,
            "ms" => value,
            "m" => value * 60e3,
            _ => value * 1e3,
        };
    }

    [GeneratedRegex(@"Requests/sec:\s+(?<figure>[\d.]+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex RateLine();

    [GeneratedRegex(@"(?<figure>\d+) requests in", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex CountLine();

    [GeneratedRegex(@"\s50%\s+(?<figure>[\d.]+)(?<unit>us|ms|s|m)\b", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex MedianLine();

    [GeneratedRegex(@"\s99%\s+(?<figure>[\d.]+)(?<unit>us|ms|s|m)\b", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex TailLine();

    [GeneratedRegex("Socket errors:.*|Non-2xx.*", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex TroubleLine();
}

/// <summary>W3: a connection for each request, which the server closes.</summary>
internal sealed partial class NewConnectionsWorkload(int connections) : Workload
{
    private const int WarmUpConnections = 2_000;

    public override string Key => "w3";

    public override string Title => "W3 new connections, 16 at once";

    public override string RateUnit => "connections/s";

    public override string PerUnit => "connection";

    public override string App => "http";

    public override Tool Needs => Tool.Ab;

    public override async Task<WorkloadRun> RunAsync(IPEndPoint server, CancellationToken cancel)
    {
        string output = await AbAsync(server, connections, cancel);
        return Parse(output);
    }

    public override Task WarmUpAsync(IPEndPoint server, CancellationToken cancel) => AbAsync(server, Math.Min(connections, WarmUpConnections), cancel);

    internal static WorkloadRun Parse(string output)
    {
        double failed = Figure(output, FailedLine());
        return new(Figure(output, RateLine()), Figure(output, CountLine())) { Trouble = failed > 0 ? string.Create(CultureInfo.InvariantCulture, $"{failed} connections failed") : string.Empty };
    }

    // -l: our answers count requests, so their lengths differ, which is no failure.
    private static Task<string> AbAsync(IPEndPoint server, int connections, CancellationToken cancel) =>
        Tool.Ab.RunAsync(["-q", "-l", "-s", "10", "-n", connections.ToString(CultureInfo.InvariantCulture), "-c", "16", $"http://{server}/"], cancel);

    [GeneratedRegex(@"Requests per second:\s+(?<figure>[\d.]+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex RateLine();

    [GeneratedRegex(@"Complete requests:\s+(?<figure>\d+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex CountLine();

    [GeneratedRegex(@"Failed requests:\s+(?<figure>\d+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex FailedLine();
}
