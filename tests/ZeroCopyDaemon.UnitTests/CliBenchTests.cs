using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using ZeroCopyDaemon.Cli;
using ZeroCopyDaemon.Cli.Bench.OverWire;
using ZeroCopyDaemon.Cli.Commands;
using ZeroCopyDaemon.Cli.Output;

namespace ZeroCopyDaemon.UnitTests;

public sealed class CliBenchTests
{
    private const string Wrk = """
        Running 8s test @ http://10.44.0.2:8080/
          1 threads and 32 connections
          Thread Stats   Avg      Stdev     Max   +/- Stdev
            Latency   455.51us  614.54us  20.40ms   97.63%
            Req/Sec    81.86k     4.44k   89.86k    72.50%
          Latency Distribution
             50%  355.00us
             75%  472.00us
             90%  629.00us
             99%    2.54ms
          651602 requests in 8.00s, 155.97MB read
        Requests/sec:  81445.12
        Transfer/sec:     19.50MB
        """;

    private const string Ab = """
        Concurrency Level:      16
        Time taken for tests:   1.536 seconds
        Complete requests:      20000
        Failed requests:        0
        Total transferred:      4360000 bytes
        Requests per second:    13021.33 [#/sec] (mean)
        Time per request:       1.229 [ms] (mean)
        """;

    [Fact]
    public void What_wrk_prints_is_read()
    {
        WorkloadRun run = KeepAliveWorkload.Parse(Wrk);
        Assert.Equal((81445.12, 651602.0, (0.355, 2.54), ""), (run.Rate, run.Amount, run.LatencyMs, run.Trouble));
        Assert.Equal("Socket errors: connect 0, read 3, write 0, timeout 0", KeepAliveWorkload.Parse(Wrk + "\n  Socket errors: connect 0, read 3, write 0, timeout 0\n").Trouble);
        Assert.Equal((1200.0, 61000.0), KeepAliveWorkload.Parse(Wrk.Replace("355.00us", "1.20s", StringComparison.Ordinal).Replace("2.54ms", "61.00s", StringComparison.Ordinal)).LatencyMs);
        Assert.StartsWith("the load generator printed no", Assert.Throws<CliException>(() => KeepAliveWorkload.Parse("unable to connect")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_ab_prints_is_read()
    {
        WorkloadRun run = NewConnectionsWorkload.Parse(Ab);
        Assert.Equal((13021.33, 20000.0, null, ""), (run.Rate, run.Amount, run.LatencyMs, run.Trouble));
        Assert.Equal("7 connections failed", NewConnectionsWorkload.Parse(Ab.Replace("Failed requests:        0", "Failed requests:        7", StringComparison.Ordinal)).Trouble);
    }

    [Fact]
    public void Workloads_are_chosen_by_name()
    {
        Assert.Equal(["w3", "w1"], BenchCommand.ParseWorkloads("W3, w1,w3"));
        Assert.Equal("--workloads w1,w9: there is no workload 'w9'; choose among w1, w2 or w3, with commas between them", Assert.Throws<UsageException>(() => BenchCommand.ParseWorkloads("w1,w9")).Message);
    }

    [Fact]
    public void The_report_has_medians_and_ratios_to_the_peer()
    {
        WorkloadResult measured = new(
            new BulkWorkload(1),
            [Result("ours", [1, 3, 2], [100, 300, 200], [400, 600, 500]), Result("theirs", [4, 4, 5], [50, 50, 60], [1000, 900, 1100])],
            ["something"]);
        string[] lines = [.. WireReport.Table(measured).Lines(200, out string? leftOut)];
        Assert.Null(leftOut);
        Assert.Equal(["W1 bulk receive, one connection", "GB/s", "from", "to", "CPU us/MB", "busy us/MB", "rate to peer", "CPU to peer", "busy to peer"], Cells(lines[0]));
        Assert.Equal(["ours", "2.000", "1.000", "3.000", "200.0", "500.0", "0.50x", "4.00x", "0.50x"], Cells(lines[1]));
        Assert.Equal(["theirs", "4.000", "4.000", "5.000", "50.0", "1000.0", "1.00x", "1.00x", "1.00x"], Cells(lines[2]));
        WireBenchOptions options = new(1, 8, 20_000, 3, ["w1"]);
        using JsonDocument json = JsonDocument.Parse(ProtoJson.Document(writer => WireReport.WriteJson(writer, options, [measured]), indented: true));
        JsonElement workload = json.RootElement.GetProperty("workloads")[0];
        Assert.Equal(("w1", 2, 0.5, 4.0, "something"), (workload.GetProperty("workload").GetString(), workload.GetProperty("results").GetArrayLength(), workload.GetProperty("results")[0].GetProperty("rate_to_peer").GetDouble(), workload.GetProperty("results")[0].GetProperty("cpu_to_peer").GetDouble(), workload.GetProperty("notes")[0].GetString()));
    }

    [Fact]
    public void Without_a_peer_there_are_no_ratios()
    {
        WorkloadResult alone = new(new BulkWorkload(1), [Result("ours", [1], [100], [400])], []);
        Assert.EndsWith("-", WireReport.Table(alone).Lines(200, out _).Last(), StringComparison.Ordinal);
        using JsonDocument json = JsonDocument.Parse(ProtoJson.Document(writer => WireReport.WriteJson(writer, new(1, 8, 1, 1, []), [alone]), indented: false));
        Assert.False(json.RootElement.GetProperty("workloads")[0].GetProperty("results")[0].TryGetProperty("rate_to_peer", out _));
    }

    [Fact]
    public async Task The_bulk_sender_sends_every_byte_and_waits_for_the_server_s_end()
    {
        using Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        Task<long> server = Task.Run(async () =>
        {
            using Socket client = await listener.AcceptAsync(TestContext.Current.CancellationToken);
            byte[] buffer = new byte[100_000];
            long received = 0;
            while (await client.ReceiveAsync(buffer, TestContext.Current.CancellationToken) is > 0 and int length)
            {
                received += length;
            }

            return received;
        });
        (long sent, TimeSpan took) = await BulkSender.RunAsync((IPEndPoint)listener.LocalEndPoint!, 5_000_001, TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
        Assert.Equal((5_000_001, 5_000_001), (sent, await server));
        Assert.True(took > TimeSpan.Zero);
    }

    [Fact]
    public void A_process_s_tree_has_its_children()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "reads /proc");
        using Process child = Process.Start(new ProcessStartInfo("sleep", ["60"]))!;
        try
        {
            IReadOnlyList<int> tree = Cli.Bench.ChildProcess.Tree(Environment.ProcessId);
            Assert.Equal(Environment.ProcessId, tree[0]);
            Assert.Contains(child.Id, tree);
        }
        finally
        {
            child.Kill();
        }
    }

    private static WireBenchResult Result(string name, double[] rates, double[] cpu, double[] busy) => new(name, [.. rates.Select(rate => new WorkloadRun(rate, 1))], cpu, busy);

    private static string[] Cells(string line) => line.Split("  ", StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
}
