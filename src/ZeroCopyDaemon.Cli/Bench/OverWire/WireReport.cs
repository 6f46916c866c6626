using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using ZeroCopyDaemon.Cli.Output;

namespace ZeroCopyDaemon.Cli.Bench.OverWire;

/// <summary>The figures of a <see cref="WireBenchmark"/> for people, and as JSON.</summary>
internal static class WireReport
{
    public static void Print(IAnsiConsole console, WireBenchOptions options, IReadOnlyList<WorkloadResult> workloads)
    {
        foreach (WorkloadResult measured in workloads)
        {
            if (measured.Results.Count > 0)
            {
                console.Write(Table(measured).Render(console.Profile.Width));
            }

            foreach (string note in measured.Notes)
            {
                console.WriteLine("note: " + note);
            }

            console.WriteLine();
        }

        console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"Medians of {options.Rounds} rounds by turns on {Environment.ProcessorCount} cores. CPU is the serving processes' (ours: kernel host and worker); busy is the whole machine's, with the load generator and whatever else runs: compare that with a peer whose TCP is Linux's own, since much of its work is done in nobody's time."));
    }

    internal static TextTable Table(WorkloadResult measured)
    {
        Workload workload = measured.Workload;
        bool latency = measured.Results[0].LatencyMs is not null;
        string[] columns =
        [
            workload.Title, workload.RateUnit, "from-", "to-", .. latency ? (string[])["p50 ms", "p99 ms"] : [], $"CPU us/{workload.PerUnit}", $"busy us/{workload.PerUnit}", "rate to peer", "CPU to peer", "busy to peer-",
        ];
        TextTable table = new(columns);
        foreach (WireBenchResult result in measured.Results)
        {
            (string rate, string cpu, string busy) = Ratios(measured, result) is { } ratios ? (Times(ratios.Rate), Times(ratios.Cpu), Times(ratios.Busy)) : ("-", "-", "-");
            (double p50, double p99) = result.LatencyMs ?? default;
            string[] cells =
            [
                result.Name, Figure(result.MedianRate, workload.RateFormat), Figure(result.Rates.Min(), workload.RateFormat), Figure(result.Rates.Max(), workload.RateFormat),
                .. latency ? (string[])[Figure(p50, "0.00"), Figure(p99, "0.00")] : [], Figure(result.MedianCpu, "0.0"), Figure(result.MedianBusy, "0.0"), rate, cpu, busy,
            ];
            table.AddRow(cells);
        }

        return table;
    }

    public static void WriteJson(Utf8JsonWriter json, WireBenchOptions options, IReadOnlyList<WorkloadResult> workloads)
    {
        json.WriteStartObject();
        json.WriteString("wire", "tap");
        json.WriteNumber("rounds", options.Rounds);
        json.WriteNumber("cores", Environment.ProcessorCount);
        json.WriteStartArray("workloads");
        foreach (WorkloadResult measured in workloads)
        {
            json.WriteStartObject();
            json.WriteString("workload", measured.Workload.Key);
            json.WriteString("title", measured.Workload.Title);
            json.WriteString("rate_unit", measured.Workload.RateUnit);
            json.WriteString("cost_per", measured.Workload.PerUnit);
            json.WriteStartArray("results");
            foreach (WireBenchResult result in measured.Results)
            {
                WriteResult(json, measured, result);
            }

            json.WriteEndArray();
            json.WriteStartArray("notes");
            foreach (string note in measured.Notes)
            {
                json.WriteStringValue(note);
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteResult(Utf8JsonWriter json, WorkloadResult measured, WireBenchResult result)
    {
        json.WriteStartObject();
        json.WriteString("name", result.Name);
        json.WriteNumber("rate", Math.Round(result.MedianRate, 4));
        json.WriteNumber("rate_from", Math.Round(result.Rates.Min(), 4));
        json.WriteNumber("rate_to", Math.Round(result.Rates.Max(), 4));
        if (result.LatencyMs is { } latency)
        {
            json.WriteNumber("p50_ms", Math.Round(latency.P50, 4));
            json.WriteNumber("p99_ms", Math.Round(latency.P99, 4));
        }

        json.WriteNumber("cpu_us", Math.Round(result.MedianCpu, 3));
        json.WriteNumber("busy_us", Math.Round(result.MedianBusy, 3));
        if (Ratios(measured, result) is { } ratios)
        {
            json.WriteNumber("rate_to_peer", Math.Round(ratios.Rate, 4));
            json.WriteNumber("cpu_to_peer", Math.Round(ratios.Cpu, 4));
            json.WriteNumber("busy_to_peer", Math.Round(ratios.Busy, 4));
        }

        json.WriteEndObject();
    }

    /// <summary>Null without a peer.</summary>
    private static (double Rate, double Cpu, double Busy)? Ratios(WorkloadResult measured, WireBenchResult result)
    {
        WireBenchResult peer = measured.Results[^1];
        return measured.Results.Count < 2 ? null : (result.MedianRate / peer.MedianRate, result.MedianCpu / peer.MedianCpu, result.MedianBusy / peer.MedianBusy);
    }

    private static string Times(double ratio) => Figure(ratio, "0.00") + "x";

    private static string Figure(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
