using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using ZeroCopyDaemon.Cli.Bench;
using ZeroCopyDaemon.Cli.Hosting;
using ZeroCopyDaemon.Cli.Output;

namespace ZeroCopyDaemon.Cli.Commands;

/// <summary><c>zcd bench</c>: end-to-end throughput and CPU cost beside a plain socket server.</summary>
internal static class BenchCommand
{
    /// <summary>Hidden command that runs the plain server.</summary>
    public const string ServerName = "bench-server";

    public static Command Create()
    {
        Command command = new("bench", "Measure an echo through a daemon beside the same through plain sockets.");
        Option<long> bytes = CommonOptions.Size("--bytes", "Bytes per round, in all", 512L << 20);
        Option<int> connections = CommonOptions.Number("--connections", "Connections at once", "N", 4, 1, 1000);
        Option<int> rounds = CommonOptions.Number("--rounds", "Rounds of which the median is shown", "N", 5, 1, 1000);
        Option<int> workers = CommonOptions.Number("--workers", "Workers of each daemon", "N", 1, 1, 256);
        Option<bool> micro = new("--micro") { Description = "Say how to run the micro-benchmarks of the parts" };
        Option<bool> json = CommonOptions.Json();
        foreach (Option option in (Option[])[bytes, connections, rounds, workers, micro, json])
        {
            command.Add(option);
        }

        command.SetAction(async parsed =>
        {
            if (parsed.GetValue(micro))
            {
                Console.Out.WriteLine("dotnet run -c Release --project tests/ZeroCopyDaemon.Benchmarks -- --filter '*'");
                return ExitCode.Ok;
            }

            using StopSignals signals = new();
            BenchOptions options = new(Math.Max(1_000_000, parsed.GetValue(bytes)), parsed.GetValue(connections), parsed.GetValue(rounds), parsed.GetValue(workers));
            TerminalProgress progress = new();
            IReadOnlyList<BenchResult> results;
            try
            {
                results = await EchoBenchmark.RunAsync(options, progress.Step, signals.Token);
            }
            finally
            {
                progress.Clear();
            }

            if (parsed.GetValue(json))
            {
                Console.Out.WriteLine(ProtoJson.Document(writer => WriteJson(writer, options, results), indented: true));
            }
            else
            {
                Print(options, results);
            }

            return ExitCode.Ok;
        });
        return command;
    }

    public static Command CreateServer()
    {
        Command command = new(ServerName, "Plain echo server for the benchmark.") { Hidden = true };
        command.SetAction(_ => PlainEchoServer.RunAsync());
        return command;
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
