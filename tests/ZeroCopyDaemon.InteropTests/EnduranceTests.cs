using System.Text.Json;

namespace ZeroCopyDaemon.InteropTests;

/// <summary>Two minutes of load of every kind at once.</summary>
public sealed class EnduranceTests
{
    /// <summary>How much a process may grow between the marks: what collector, compiler and allocator take and give back.</summary>
    private const long ToleranceBytes = 6L << 20;

    /// <summary>The youngest generation is collected every 4 MiB: else a process that allocates little seems to grow for minutes, until its first collection.</summary>
    private static readonly Dictionary<string, string> CollectOften = new(StringComparer.Ordinal) { ["DOTNET_GCgen0size"] = "0x400000" };

    private static readonly TimeSpan FirstMark = TimeSpan.FromSeconds(30);

    private static readonly TimeSpan SecondMark = TimeSpan.FromSeconds(120);

    [Theory]
    [EveryFamily]
    public async Task Two_minutes_of_wrk_beside_verified_bulk_clients_leave_memory_flat_and_lose_no_page(IpFamily family)
    {
        Requirements.Need("wrk");
        await using TapDaemon daemon = await TapDaemon.StartAsync(family, CollectOften);
        await daemon.CaseAsync(async () =>
        {
            string echo = $"{await daemon.StartWorkerAsync("echo", 7000)}";
            using CancellationTokenSource stop = new();
            Task<ProgramResult> wrk = daemon.Netns.RunAsync("wrk", 150, "-t1", "-c16", $"-d{SecondMark.TotalSeconds + 2}s", "--latency", daemon.Url("/"));
            Task<long> bulk = VerifiedBulkAsync(daemon, echo, stop.Token);
            int[] pids = [daemon.Pid, .. await daemon.WorkerPidsAsync()];

            await Task.Delay(FirstMark);
            long[] first = [.. pids.Select(TapDaemon.PrivateBytes)];
            await Task.Delay(SecondMark - FirstMark);
            long[] second = [.. pids.Select(TapDaemon.PrivateBytes)];

            await stop.CancelAsync();
            HttpTests.ExpectGoodWrk(await wrk);
            long bytes = await bulk;
            Assert.True(bytes > 0, "not one bulk transfer was completed");
            string memory = string.Join(", ", first.Zip(second, (a, b) => $"{a >> 20} and {b >> 20}"));
            Figure.Write($"two minutes of wrk -c16: {HttpTests.Line(await wrk, "Requests/sec:")} requests/s, with verified echo beside it: {bytes / SecondMark.TotalSeconds / 1e6:0} MB/s");
            Figure.Write($"MiB of private memory at 30 s and 120 s: {memory}");
            for (int i = 0; i < pids.Length; i++)
            {
                Assert.True(second[i] <= first[i] + ToleranceBytes, $"process {pids[i]} grew from {first[i]} bytes at {FirstMark.TotalSeconds} s to {second[i]} at {SecondMark.TotalSeconds} s");
            }
        });
    }

    /// <summary>Client after client until told to stop; the bytes that came back right.</summary>
    private static async Task<long> VerifiedBulkAsync(TapDaemon daemon, string echo, CancellationToken stop)
    {
        long bytes = 0;
        while (!stop.IsCancellationRequested)
        {
            ProgramResult client = await daemon.Netns.RunAsync("dotnet", 120, Programs.Zcd, "client", "--connect", echo, "--connections", "4", "--bytes", "512MiB", "--verify", "--json");
            Assert.True(client.ExitCode == 0, client.All);
            bytes += JsonDocument.Parse(client.Output).RootElement.GetProperty("bytes_received").GetInt64();
        }

        return bytes;
    }
}
