using System.Text.Json;

namespace ZeroCopyDaemon.EndToEndTests;

/// <summary>Verified transfers through a real daemon, and what its counters say afterwards.</summary>
public sealed class TransferTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData("handoff", 4, "1GiB", 1L << 30)]
    [InlineData("handoff", 2, "128MiB", 128L << 20)]
    [InlineData("handoff", 1, "128MiB", 128L << 20)]
    [InlineData("copy", 4, "128MiB", 128L << 20)]
    [InlineData("copy", 2, "64MiB", 64L << 20)]
    [InlineData("copy", 1, "64MiB", 64L << 20)]
    public async Task Every_byte_comes_back_and_the_counters_say_what_was_copied(string strategy, int workers, string size, long bytes)
    {
        await using Daemon daemon = await Daemon.StartAsync("--app", "echo", "--strategy", strategy, "--workers", $"{workers}");
        ProgramResult client = await daemon.ClientAsync("--bytes", size, "--connections", "8", "--verify", "--json");
        Assert.True(client.ExitCode == 0, client.All);
        JsonElement report = JsonDocument.Parse(client.Output).RootElement;
        Assert.Equal(bytes, report.GetProperty("bytes_sent").GetInt64());
        Assert.Equal(bytes, report.GetProperty("bytes_received").GetInt64());
        await daemon.WaitUntilPagesAreBackAsync();
        Dictionary<string, long> counters = await daemon.CountersAsync();
        output.WriteLine(
            $"[figure] echo, {strategy}, {workers} workers: {size} echoed at {report.GetProperty("gb_per_s").GetDouble():0.000} GB/s; delivered {counters["rx.payload_delivered_bytes"]}, " +
            $"rx copied {counters["rx.payload_copied_bytes"]}, tx copied {counters["tx.payload_copied_bytes"]}, dma {counters["rx.dma_bytes"]}, os copied {counters["rx.os_copied_bytes"]}");
        Assert.Equal(bytes, counters["rx.payload_delivered_bytes"]);
        Assert.True(counters["rx.dma_bytes"] >= bytes, "the NIC wrote every byte into a page");
        Assert.Equal(0, counters["rx.os_copied_bytes"]);
        long copied = strategy == "copy" ? bytes : 0;
        Assert.Equal(copied, counters["rx.payload_copied_bytes"]);
        Assert.Equal(copied, counters["tx.payload_copied_bytes"]);
    }

    [Theory]
    [CombinatorialPlacements]
    public async Task Every_placement_offload_and_MTU_passes_the_same_run(string placement, string offload, int mtu)
    {
        await using Daemon daemon = await Daemon.StartAsync(
            "--app", "echo", "--workers", "2", "--placement", placement, "--checksum-offload", offload, "--mtu", $"{mtu}");
        ProgramResult client = await daemon.ClientAsync("--bytes", "16MiB", "--connections", "8", "--verify", "--json");
        Assert.True(client.ExitCode == 0, client.All);
        await daemon.WaitUntilPagesAreBackAsync();
        Dictionary<string, long> counters = await daemon.CountersAsync();
        Assert.Equal(16L << 20, counters["rx.payload_delivered_bytes"]);
        Assert.Equal(0, counters["rx.payload_copied_bytes"]);
        Assert.Equal(offload == "on", counters["nic.rx_csum_unnecessary"] > 0);
        Assert.Equal(placement != "none", counters["nic.rx_header_split_packets"] > 0);
    }

    [Fact]
    public async Task Two_hundred_new_connections_reach_every_worker_and_curl_is_told_which()
    {
        await using Daemon daemon = await Daemon.StartAsync("--workers", "4");
        if (Programs.Exists("curl"))
        {
            ProgramResult curl = await Programs.RunSystemAsync("curl", 20, "-si", $"http://127.0.0.1:{daemon.Port}/");
            Assert.Contains("HTTP/1.1 200", curl.Output);
            Assert.Contains("worker", curl.Output);
        }

        using var handler = new SocketsHttpHandler { PooledConnectionLifetime = TimeSpan.Zero, MaxConnectionsPerServer = 200 };
        using var http = new HttpClient(handler);
        HttpResponseMessage[] answers = await Task.WhenAll(Enumerable.Range(0, 200).Select(_ => http.GetAsync(new Uri($"http://127.0.0.1:{daemon.Port}/"))));
        Assert.All(answers, answer => Assert.True(answer.IsSuccessStatusCode));
        var served = answers.GroupBy(answer => answer.Headers.GetValues("X-Worker").Single()).ToDictionary(group => group.Key, group => group.Count());
        output.WriteLine("[figure] 200 new connections: " + string.Join(", ", served.Select(pair => $"worker {pair.Key}: {pair.Value}")));
        Assert.Equal(4, served.Count);
        Assert.All(served.Values, count => Assert.True(count >= 20, $"a worker served only {count} of 200"));
    }

    [Fact]
    public async Task Wrk_runs_ten_seconds_without_an_error()
    {
        Assert.SkipUnless(Programs.Exists("wrk"), "wrk is not installed (Debian package wrk)");
        await using Daemon daemon = await Daemon.StartAsync("--workers", "4");
        ProgramResult wrk = await Programs.RunSystemAsync("wrk", 40, "-t1", "-c32", "-d10s", "--latency", $"http://127.0.0.1:{daemon.Port}/");
        output.WriteLine(wrk.Output);
        output.WriteLine("[figure] wrk -t1 -c32 -d10s: " + wrk.Output.Split('\n').First(line => line.Contains("Requests/sec", StringComparison.Ordinal)));
        Assert.Equal(0, wrk.ExitCode);
        Assert.Contains("Requests/sec", wrk.Output);
        Assert.DoesNotContain("Socket errors", wrk.Output);
        Assert.DoesNotContain("Non-2xx", wrk.Output);
    }

    [Fact]
    public async Task A_download_is_complete_and_right()
    {
        await using Daemon daemon = await Daemon.StartAsync("--workers", "2");
        using var http = new HttpClient();
        byte[] body = await http.GetByteArrayAsync(new Uri($"http://127.0.0.1:{daemon.Port}/bytes/5000000"));
        byte[] again = await http.GetByteArrayAsync(new Uri($"http://127.0.0.1:{daemon.Port}/bytes/5000000"));
        Assert.Equal(5_000_000, body.Length);
        Assert.Equal(body, again);
        using var upload = new ByteArrayContent(body);
        HttpResponseMessage answer = await http.PostAsync(new Uri($"http://127.0.0.1:{daemon.Port}/"), upload);
        Assert.True(answer.IsSuccessStatusCode);
        Assert.Contains("5000000", await answer.Content.ReadAsStringAsync());
        await daemon.WaitUntilPagesAreBackAsync();
    }

    private sealed class CombinatorialPlacementsAttribute : Xunit.v3.DataAttribute
    {
        public override ValueTask<IReadOnlyCollection<ITheoryDataRow>> GetData(System.Reflection.MethodInfo testMethod, Xunit.Sdk.DisposalTracker disposalTracker)
        {
            var rows =
                from placement in new[] { "none", "split", "packed", "merge" }
                from offload in new[] { "on", "off" }
                from mtu in new[] { 576, 1500, 9000 }
                select (ITheoryDataRow)new TheoryDataRow<string, string, int>(placement, offload, mtu);
            return ValueTask.FromResult<IReadOnlyCollection<ITheoryDataRow>>(rows.ToArray());
        }

        public override bool SupportsDiscoveryEnumeration() => true;
    }
}
