namespace ZeroCopyDaemon.InteropTests;

/// <summary>Links that lose, delay, repeat and reorder.</summary>
public sealed class LossTests
{
    private const long Bytes = 4L << 20;

    [Theory]
    [EveryFamily]
    public async Task Transfers_over_an_impaired_wire_are_right(IpFamily family)
    {
        Requirements.Need("curl");
        await using TapDaemon daemon = await TapDaemon.StartAsync(family, "--impair", "loss=1%,delay=5ms,reorder=1%,duplicate=0.5%");
        await daemon.CaseAsync(() => TransferAsync(daemon, "loss 1%, delay 5 ms, reorder 1%, duplicate 0.5%"));
    }

    [Theory]
    [EveryFamily]
    public async Task Transfers_over_a_link_that_Linux_impairs_are_right(IpFamily family)
    {
        Requirements.Need("curl", "tc");
        await using TapDaemon daemon = await TapDaemon.StartAsync(family);
        ProgramResult tc = await daemon.Netns.RunAsync("tc", 10, "qdisc", "add", "dev", daemon.Device, "root", "netem", "loss", "1%", "delay", "5ms", "reorder", "1%");
        Assert.SkipWhen(tc.All.Contains("qdisc kind is unknown", StringComparison.Ordinal), "this Linux has no netem");
        Assert.True(tc.ExitCode == 0, tc.All);
        await daemon.CaseAsync(() => TransferAsync(daemon, "netem with loss 1%, delay 5 ms, reorder 1% on what Linux sends"));
    }

    private static async Task TransferAsync(TapDaemon daemon, string what)
    {
        double down = await Curl.DownloadAsync(daemon, Bytes);
        double up = await Curl.UploadAsync(daemon, Bytes);
        Dictionary<string, long> counters = await daemon.CountersAsync();
        Figure.Write($"{what}: download {down:0.0} MB/s, upload {up:0.0} MB/s, {counters["tcp.RetransSegs"]} segments retransmitted by us");
    }
}
