using System.Globalization;
using ZeroCopyDaemon.Cli.TestClient;

namespace ZeroCopyDaemon.Cli.Bench;

/// <summary>What to measure.</summary>
internal sealed record BenchOptions(long Bytes, int Connections, int Rounds, int Workers)
{
    /// <summary>What the daemons' <c>zcd up</c> is told besides.</summary>
    public IReadOnlyList<string> UpOptions { get; init; } = [];
}

/// <summary>One subject's figures over all rounds. CPU is that of the server's processes; MB is 10^6 bytes of payload one way.</summary>
internal sealed record BenchResult(string Name, IReadOnlyList<double> GigabytesPerSecond, IReadOnlyList<double> CpuMicrosecondsPerMegabyte)
{
    public double MedianRate => Median(GigabytesPerSecond);

    public double MedianCpu => Median(CpuMicrosecondsPerMegabyte);

    public static double Median(IReadOnlyList<double> values)
    {
        double[] sorted = [.. values.Order()];
        int middle = sorted.Length / 2;
        return sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
    }
}

/// <summary>The same echo through daemons and through plain sockets, by turns, so that what else the machine does meets all of them alike.</summary>
internal static class EchoBenchmark
{
    public static async Task<IReadOnlyList<BenchResult>> RunAsync(BenchOptions options, Action<string> step, CancellationToken cancel)
    {
        string runDirectory = Path.Combine(Path.GetTempPath(), $"zcd-bench-{Environment.ProcessId}");
        List<BenchSubject> subjects = [Daemon("handoff", options, runDirectory), Daemon("copy", options, runDirectory), new PlainSubject()];
        try
        {
            foreach (BenchSubject subject in subjects)
            {
                step($"starting {subject.Name}");
                await subject.StartAsync(cancel);
            }

            List<double>[] rates = [.. subjects.Select(_ => new List<double>())];
            List<double>[] costs = [.. subjects.Select(_ => new List<double>())];
            for (int round = 0; round <= options.Rounds; round++)
            {
                for (int i = 0; i < subjects.Count; i++)
                {
                    step(round == 0 ? $"warming up {subjects[i].Name}" : $"round {round} of {options.Rounds}: {subjects[i].Name}");

                    // Round 0 compiles the code on all sides, and checks every byte; the others only count, so that the client costs less.
                    ClientOptions run = new() { Server = subjects[i].EndPoint, Connections = options.Connections, Bytes = options.Bytes, Verify = round == 0 };
                    TimeSpan before = subjects[i].ProcessorTime();
                    ClientResult result = await Client.RunAsync(run, null, cancel);
                    TimeSpan used = subjects[i].ProcessorTime() - before;
                    if (result.Errors > 0)
                    {
                        throw new CliException($"{subjects[i].Name}: {result.FirstError}");
                    }

                    if (round > 0)
                    {
                        rates[i].Add(result.GigabytesPerSecond);
                        costs[i].Add(used.TotalMicroseconds / (options.Bytes / 1e6));
                    }
                }
            }

            return [.. subjects.Select((s, i) => new BenchResult(s.Name, rates[i], costs[i]))];
        }
        finally
        {
            foreach (BenchSubject subject in subjects)
            {
                await subject.DisposeAsync();
            }

            if (Directory.Exists(runDirectory))
            {
                Directory.Delete(runDirectory, recursive: true);
            }
        }
    }

    private static DaemonSubject Daemon(string strategy, BenchOptions options, string runDirectory) => new(
        $"zcd {strategy}",
        $"bench-{strategy}",
        ["--wire", "gateway", "--bind", "127.0.0.1", "--app", "echo", "--strategy", strategy, "--workers", options.Workers.ToString(CultureInfo.InvariantCulture), .. options.UpOptions],
        runDirectory);
}
