using System.Text.Json;

namespace ZeroCopyDaemon.InteropTests;

/// <summary>Bulk by the programs that people have: compared from end to end.</summary>
public sealed class TransferTests(DefaultDaemons daemons)
{
    [Theory]
    [EveryFamily("1MiB", "64MiB", "1GiB")]
    public async Task A_download_by_curl_is_right(IpFamily family, string size)
    {
        Requirements.Need("curl");
        await daemons.CaseAsync(family, async daemon =>
        {
            double rate = await Curl.DownloadAsync(daemon, Body.Parse(size));
            Figure.Write($"curl, download of {size}: {rate:0} MB/s");
        });
    }

    [Theory]
    [EveryFamily("1MiB", "64MiB")]
    public async Task An_upload_by_curl_is_right(IpFamily family, string size)
    {
        Requirements.Need("curl");
        await daemons.CaseAsync(family, async daemon =>
        {
            double rate = await Curl.UploadAsync(daemon, Body.Parse(size));
            Figure.Write($"curl, upload of {size}: {rate:0} MB/s");
        });
    }

    [Theory]
    [EveryFamily("1MiB", "1GiB")]
    public async Task An_upload_by_curl_in_chunks_is_right(IpFamily family, string size)
    {
        Requirements.Need("curl");
        await daemons.CaseAsync(family, async daemon =>
        {
            double rate = await Curl.UploadChunkedAsync(daemon, Body.Parse(size));
            Figure.Write($"curl, upload of {size} in chunks: {rate:0} MB/s");
            if (Body.Parse(size) < 1L << 30)
            {
                return;
            }

            Dictionary<string, long> counters = await daemon.CountersAsync();
            Figure.Write($"of {counters["rx.payload_bytes"]} bytes of payload that this daemon has received so far, {counters["rx.split_fixup_bytes"]} came under a wrong guess of the header's length");
        });
    }

    [Theory]
    [EveryFamily]
    public async Task Both_directions_at_once_on_several_connections_are_right(IpFamily family)
    {
        Requirements.Need();
        const long Bytes = 256L << 20;
        await daemons.EchoCaseAsync(family, async (daemon, echo) =>
        {
            ProgramResult client = await daemon.Netns.RunAsync("dotnet", 120, Programs.Zcd, "client", "--connect", $"{echo}", "--connections", "8", "--bytes", $"{Bytes}", "--verify", "--json");
            Assert.True(client.ExitCode == 0, client.All);
            JsonElement report = JsonDocument.Parse(client.Output).RootElement;
            Assert.Equal(Bytes, report.GetProperty("bytes_received").GetInt64());
            Assert.True(report.GetProperty("verified").GetBoolean());
            Figure.Write($"echo of 256 MiB over 8 connections: {report.GetProperty("gb_per_s").GetDouble() * 1000:0} MB/s");
        });
    }
}
