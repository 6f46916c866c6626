namespace ZeroCopyDaemon.InteropTests;

/// <summary>Transfers both ways under every setting of either side that changes what is on the wire.</summary>
public sealed class OptionTests(DefaultDaemons daemons)
{
    private const long Bytes = 16L << 20;

    /// <summary>The last one is the largest that a TAP takes: an IP packet of 65,535 bytes less the Ethernet header.</summary>
    [Theory]
    [EveryFamily(576, 1280, 1500, 4136, 9000, 65521)]
    public async Task Transfers_are_right_at_every_MTU(IpFamily family, int mtu)
    {
        Requirements.Need("curl");
        Assert.SkipWhen(mtu < family.MinimumMtu(), $"the smallest MTU there is {family.MinimumMtu()}");
        await BothWaysAsync(family, $"MTU {mtu}", "--mtu", $"{mtu}");
    }

    [Theory]
    [EveryFamily("none", "split")]
    public async Task Transfers_are_right_with_every_placement(IpFamily family, string placement)
    {
        Requirements.Need("curl");
        await BothWaysAsync(family, $"placement {placement}", "--placement", placement);
    }

    [Theory]
    [EveryFamily]
    public async Task Transfers_are_right_without_TSO(IpFamily family)
    {
        Requirements.Need("curl");
        await BothWaysAsync(family, "TSO off", "--tso", "off");
    }

    [Theory]
    [EveryFamily]
    public async Task Transfers_are_right_without_checksum_offload(IpFamily family)
    {
        Requirements.Need("curl");
        await BothWaysAsync(family, "checksum offload off", "--checksum-offload", "off");
    }

    [Theory]
    [EveryFamily]
    public async Task Transfers_are_right_over_two_queues(IpFamily family)
    {
        Requirements.Need("curl");
        await BothWaysAsync(family, "two RX queues", "--rx-queues", "2");
    }

    /// <summary>TCP's settings are under net.ipv4 for both IP versions.</summary>
    [Theory]
    [EveryFamily("net.ipv4.tcp_timestamps", "net.ipv4.tcp_sack", "net.ipv4.tcp_window_scaling")]
    public async Task Transfers_are_right_with_a_TCP_option_switched_off_on_Linux_s_side(IpFamily family, string setting)
    {
        Requirements.Need("curl");
        await daemons.CaseAsync(family, async daemon =>
        {
            Assert.NotEqual("0", daemon.Netns.ReadSysctl(setting));
            using (daemon.Netns.ChangeSysctl(setting, "0"))
            {
                await TransferAsync(daemon, $"{setting} 0");
            }
        });
    }

    private static async Task BothWaysAsync(IpFamily family, string what, params string[] arguments)
    {
        await using TapDaemon daemon = await TapDaemon.StartAsync(family, arguments);
        await daemon.CaseAsync(() => TransferAsync(daemon, what));
    }

    private static async Task TransferAsync(TapDaemon daemon, string what)
    {
        double down = await Curl.DownloadAsync(daemon, Bytes);
        double up = await Curl.UploadAsync(daemon, Bytes);
        Figure.Write($"{what}: download {down:0} MB/s, upload {up:0} MB/s");
    }
}
