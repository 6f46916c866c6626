using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using ZeroCopyDaemon.Cli.Bench;
using ZeroCopyDaemon.Cli.Bench.OverWire;
using ZeroCopyDaemon.Cli.Hosting;
using ZeroCopyDaemon.Cli.Output;
using ZeroCopyDaemon.Cli.Settings;
using ZeroCopyDaemon.Kernel;

namespace ZeroCopyDaemon.Cli.Commands;

/// <summary><c>zcd bench</c>: end-to-end throughput and CPU cost beside a plain socket server.</summary>
internal static class BenchCommand
{
    /// <summary>Hidden command that runs the plain server.</summary>
    public const string ServerName = "bench-server";

    /// <summary>Option of it: only take in.</summary>
    public const string ServerSink = "--sink";

    private const string Gateway = "gateway";
    private const long EchoBytes = 512L << 20;
    private const long BulkBytes = 4L << 30;
    private const int NewConnections = 20_000;

    // What may be asked of the daemons under measurement.
    private static readonly string[] Passed = ["strategy", "placement", "page-size", "pool-size", "rx-ring", "rx-queues", "checksum-offload", "tso", "mtu", "impair"];

    public static Command Create()
    {
        Command command = new("bench", "Measure a daemon beside plain servers: an echo over the gateway, or three workloads over a TAP.");
        Option<string> wire = new("--wire") { Description = "Which wire: gateway, or tap (root; three workloads beside peers over veth)", HelpName = "WIRE", DefaultValueFactory = _ => Gateway };
        Option<string> workloads = new("--workloads") { Description = "Over a tap: which of w1 (bulk receive), w2 (HTTP keep-alive) and w3 (new connections)", HelpName = "LIST", DefaultValueFactory = _ => string.Join(',', WireBenchOptions.AllWorkloads) };
        Option<long> bytes = CommonOptions.Size("--bytes", "Bytes per round, in all (over a tap: of w1, 4GiB unless given)", EchoBytes);
        Option<int> seconds = CommonOptions.Number("--seconds", "Over a tap: seconds of a round of w2", "N", 8, 1, 3600);
        Option<int> connections = CommonOptions.Number("--connections", "Connections at once (over a tap: fixed)", "N", 4, 1, 1000);
        Option<int> rounds = CommonOptions.Number("--rounds", "Rounds of which the median is shown", "N", 5, 1, 1000);
        Option<int> workers = CommonOptions.Number("--workers", "Workers of each daemon (over a tap: one)", "N", 1, 1, 256);
        Option<bool> micro = new("--micro") { Description = "Say how to run the micro-benchmarks of the parts" };
        Option<bool> json = CommonOptions.Json();
        foreach (Option option in (Option[])[wire, workloads, bytes, seconds, connections, rounds, workers, micro, json])
        {
            command.Add(option);
        }

        SettingOptions settings = new(command, SettingsTable.All.Where(setting => Passed.Contains(setting.Name, StringComparer.Ordinal)));
        command.SetAction(async parsed =>
        {
            if (parsed.GetValue(micro))
            {
                Console.Out.WriteLine("dotnet run -c Release --project tests/ZeroCopyDaemon.Benchmarks -- --filter '*'");
                return ExitCode.Ok;
            }

            Dictionary<string, string> given = settings.Given(parsed);
            string chosen = parsed.GetValue(wire)!.Trim().ToLowerInvariant();
            if (WireMatrix.Here.WhyNotWire(chosen) is { } why)
            {
                throw new UsageException($"--wire {chosen}: {why}");
            }

            // Whatever doesn't go together is found before anything is started.
            _ = SettingsResolver.Resolve(new Dictionary<string, string>(given) { ["wire"] = chosen });
            IReadOnlyList<string> passedOn = [.. given.SelectMany(option => (string[])["--" + option.Key, option.Value])];
            using StopSignals signals = new();
            if (chosen != Gateway)
            {
                long size = parsed.GetResult(bytes) is { Implicit: false } ? parsed.GetValue(bytes) : BulkBytes;
                WireBenchOptions wireOptions = new(Math.Max(1_000_000, size), parsed.GetValue(seconds), NewConnections, parsed.GetValue(rounds), ParseWorkloads(parsed.GetValue(workloads)!)) { UpOptions = passedOn };
                await OverWireAsync(wireOptions, parsed.GetValue(json), signals.Token);
                return ExitCode.Ok;
            }

            if (given.ContainsKey("strategy"))
            {
                throw new UsageException("--strategy: the echo over the gateway measures both; leave it out, or choose --wire tap");
            }

            BenchOptions options = new(Math.Max(1_000_000, parsed.GetValue(bytes)), parsed.GetValue(connections), parsed.GetValue(rounds), parsed.GetValue(workers)) { UpOptions = passedOn };
            await EchoAsync(options, parsed.GetValue(json), signals.Token);
            return ExitCode.Ok;
        });
        return command;
    }

    public static Command CreateServer()
    {
        Command command = new(ServerName, "Plain server for the benchmark.") { Hidden = true };
        Option<bool> sink = new(ServerSink);
        command.Add(sink);
        command.SetAction(parsed => PlainServer.RunAsync(parsed.GetValue(sink)));
        return command;
    }

    /// <summary>Keys with commas between them, each in place once.</summary>
    internal static IReadOnlyList<string> ParseWorkloads(string list)
    {
        string[] keys = [.. list.Split(',', StringSplitOptions.TrimEntries).Select(key => key.ToLowerInvariant()).Distinct(StringComparer.Ordinal)];
        string? unknown = keys.FirstOrDefault(key => !WireBenchOptions.AllWorkloads.Contains(key, StringComparer.Ordinal));
        return unknown is null ? keys : throw new UsageException($"--workloads {list}: there is no workload '{unknown}'; choose among {WireMatrix.Choice(WireBenchOptions.AllWorkloads)}, with commas between them");
    }

    private static async Task EchoAsync(BenchOptions options, bool json, CancellationToken cancel)
    {
        IReadOnlyList<BenchResult> results = await WithProgressAsync(step => EchoBenchmark.RunAsync(options, step, cancel));
        if (json)
        {
            Console.Out.WriteLine(ProtoJson.Document(writer => WriteJson(writer, options, results), indented: true));
        }
        else
        {
            Print(options, results);
        }
    }

    private static async Task OverWireAsync(WireBenchOptions options, bool json, CancellationToken cancel)
    {
        WireBenchmark.Check();
        IReadOnlyList<WorkloadResult> results = await WithProgressAsync(step => WireBenchmark.RunAsync(options, step, cancel));
        if (json)
        {
            Console.Out.WriteLine(ProtoJson.Document(writer => WireReport.WriteJson(writer, options, results), indented: true));
        }
        else
        {
            WireReport.Print(Terminal.Out, options, results);
        }
    }

    private static async Task<T> WithProgressAsync<T>(Func<Action<string>, Task<T>> run)
    {
        TerminalProgress progress = new();
        try
        {
            return await run(progress.Step);
        }
        finally
        {
            progress.Clear();
        }
    }

    private static void Print(BenchOptions options, IReadOnlyList<BenchResult> results)
    {
        BenchResult plain = results[^1];
        TextTable table = new("echo through", "GB/s", "from", "to", "CPU us/MB", "GB/s to plain", "CPU to plain");
        foreach (BenchResult result in results)
        {
            table.AddRow(
                result.Name,
                Figure(result.MedianRate, "0.000"),
                Figure(result.GigabytesPerSecond.Min(), "0.000"),
                Figure(result.GigabytesPerSecond.Max(), "0.000"),
                Figure(result.MedianCpu, "0"),
                Figure(result.MedianRate / plain.MedianRate, "0.00") + "x",
                Figure(result.MedianCpu / plain.MedianCpu, "0.00") + "x");
        }

        Terminal.Out.Write(table.Render(Terminal.Out.Profile.Width));
        Terminal.Out.WriteLine(
            $"{ByteSize.Format(options.Bytes)} each way a round over {options.Connections} connections, {options.Workers} worker(s); medians of {options.Rounds} rounds by turns on {Environment.ProcessorCount} cores. CPU is the server processes' (kernel host and workers).");
        Terminal.Out.WriteLine(
            "The gateway wire adds to the daemon's cost: each client's bytes go through the OS's sockets, a second TCP stack that stands for the client's host, and the modelled DMA.");
    }

    private static void WriteJson(Utf8JsonWriter json, BenchOptions options, IReadOnlyList<BenchResult> results)
    {
        json.WriteStartObject();
        json.WriteNumber("bytes", options.Bytes);
        json.WriteNumber("connections", options.Connections);
        json.WriteNumber("rounds", options.Rounds);
        json.WriteNumber("workers", options.Workers);
        json.WriteNumber("cores", Environment.ProcessorCount);
        json.WriteStartArray("results");
        foreach (BenchResult result in results)
        {
            json.WriteStartObject();
            json.WriteString("name", result.Name);
            json.WriteNumber("gb_per_s", Math.Round(result.MedianRate, 6));
            json.WriteNumber("cpu_us_per_mb", Math.Round(result.MedianCpu, 3));
            json.WriteNumber("gb_per_s_to_plain", Math.Round(result.MedianRate / results[^1].MedianRate, 4));
            json.WriteNumber("cpu_to_plain", Math.Round(result.MedianCpu / results[^1].MedianCpu, 4));
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static string Figure(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
