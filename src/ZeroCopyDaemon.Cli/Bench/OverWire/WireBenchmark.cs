using System.Globalization;

namespace ZeroCopyDaemon.Cli.Bench.OverWire;

/// <summary>What to measure over a wire.</summary>
internal sealed record WireBenchOptions(long Bytes, int Seconds, int Connections, int Rounds, IReadOnlyList<string> Workloads)
{
    /// <summary>What the daemon's <c>zcd up</c> is told besides.</summary>
    public IReadOnlyList<string> UpOptions { get; init; } = [];

    /// <summary>Every workload there is, by key.</summary>
    public static IReadOnlyList<string> AllWorkloads { get; } = ["w1", "w2", "w3"];
}

/// <summary>One subject's runs of one workload.</summary>
/// <param name="Name">The subject.</param>
/// <param name="Runs">A run a round.</param>
/// <param name="CpuUs">CPU microseconds of the server's processes per unit of work, a round each.</param>
/// <param name="BusyUs">CPU microseconds of the whole machine, the load generator's included, per unit of work.</param>
internal sealed record WireBenchResult(string Name, IReadOnlyList<WorkloadRun> Runs, IReadOnlyList<double> CpuUs, IReadOnlyList<double> BusyUs)
{
    public IReadOnlyList<double> Rates => [.. Runs.Select(run => run.Rate)];

    public double MedianRate => BenchResult.Median(Rates);

    public double MedianCpu => BenchResult.Median(CpuUs);

    public double MedianBusy => BenchResult.Median(BusyUs);

    public (double P50, double P99)? LatencyMs =>
        Runs[0].LatencyMs is null ? null : (BenchResult.Median([.. Runs.Select(run => run.LatencyMs!.Value.P50)]), BenchResult.Median([.. Runs.Select(run => run.LatencyMs!.Value.P99)]));
}

/// <summary>One workload: our figures first, then the peer's if there is one.</summary>
internal sealed record WorkloadResult(Workload Workload, IReadOnlyList<WireBenchResult> Results, IReadOnlyList<string> Notes);

/// <summary>
/// A daemon over a TAP beside a peer over a pair of virtual Ethernet devices, by turns, with the same load from this host's own TCP: so that what else the machine does meets both alike.
/// </summary>
internal static class WireBenchmark
{
    /// <summary>Throws <see cref="CliException"/> with one line if this machine can't run it.</summary>
    public static void Check()
    {
        if (!OperatingSystem.IsLinux())
        {
            throw new CliException("a tap is measured on Linux only; without --wire the gateway is measured, on any OS");
        }

        if (!Environment.IsPrivilegedProcess)
        {
            throw new CliException("bench --wire tap makes network devices, which needs root: run it with sudo, or measure the gateway without --wire");
        }

        if (Tool.Ip.Path is null)
        {
            throw new CliException(Tool.Ip.Missing);
        }
    }

    public static async Task<IReadOnlyList<WorkloadResult>> RunAsync(WireBenchOptions options, Action<string> step, CancellationToken cancel)
    {
        string folder = Path.Combine(Path.GetTempPath(), string.Create(CultureInfo.InvariantCulture, $"zcd-bench-{Environment.ProcessId}"));
        Directory.CreateDirectory(folder);
        List<WorkloadResult> results = [];
        try
        {
            await using VethNamespace place = await VethNamespace.CreateAsync(cancel);
            foreach (Workload workload in ((Workload[])[new BulkWorkload(options.Bytes), new KeepAliveWorkload(options.Seconds), new NewConnectionsWorkload(options.Connections)])
                .Where(workload => options.Workloads.Contains(workload.Key, StringComparer.Ordinal)))
            {
                results.Add(await MeasureAsync(workload, options, place, folder, step, cancel));
            }

            return results;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task<WorkloadResult> MeasureAsync(Workload workload, WireBenchOptions options, VethNamespace place, string folder, Action<string> step, CancellationToken cancel)
    {
        if (workload.Needs is { Path: null } missing)
        {
            return new WorkloadResult(workload, [], [$"{workload.Title}: left out, for {missing.Missing}"]);
        }

        List<string> notes = [];
        List<BenchSubject> subjects = [new DaemonSubject("zcd, tap", "bench-tap", ["--wire", "tap", "--workers", "1", "--app", workload.App, .. options.UpOptions], folder)];
        if (workload is BulkWorkload)
        {
            subjects.Add(new VethSinkSubject(place));
        }
        else if (Tool.Nginx.Path is not null)
        {
            subjects.Add(new NginxSubject(place, Path.Combine(folder, "nginx")));
        }
        else
        {
            notes.Add($"{workload.Title}: without its peer, for {Tool.Nginx.Missing}");
        }

        List<WorkloadRun>[] runs = [.. subjects.Select(_ => new List<WorkloadRun>())];
        List<double>[] cpu = [.. subjects.Select(_ => new List<double>())];
        List<double>[] busy = [.. subjects.Select(_ => new List<double>())];
        try
        {
            foreach (BenchSubject subject in subjects)
            {
                step($"{workload.Title}: starting {subject.Name}");
                await subject.StartAsync(cancel);
                await workload.WarmUpAsync(subject.EndPoint, cancel);
            }

            for (int round = 1; round <= options.Rounds; round++)
            {
                for (int i = 0; i < subjects.Count; i++)
                {
                    step(string.Create(CultureInfo.InvariantCulture, $"{workload.Title}: round {round} of {options.Rounds}: {subjects[i].Name}"));
                    TimeSpan cpuBefore = subjects[i].ProcessorTime();
                    TimeSpan busyBefore = MachineTime.Busy();
                    WorkloadRun run = await workload.RunAsync(subjects[i].EndPoint, cancel);
                    busy[i].Add((MachineTime.Busy() - busyBefore).TotalMicroseconds / run.Amount);
                    cpu[i].Add((subjects[i].ProcessorTime() - cpuBefore).TotalMicroseconds / run.Amount);
                    runs[i].Add(run);
                    if (run.Trouble.Length > 0)
                    {
                        notes.Add(string.Create(CultureInfo.InvariantCulture, $"{workload.Title}, {subjects[i].Name}, round {round}: {run.Trouble}"));
                    }
                }
            }
        }
        finally
        {
            foreach (BenchSubject subject in subjects)
            {
                await subject.DisposeAsync();
            }
        }

        return new WorkloadResult(workload, [.. subjects.Select((subject, i) => new WireBenchResult(subject.Name, runs[i], cpu[i], busy[i]))], notes);
    }
}
