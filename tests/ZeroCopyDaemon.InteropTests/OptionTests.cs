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
        await BothWaysAsync(family, $"MTU {mtu}", daemon => Assert.Contains($" mtu {mtu} ", daemon.Netns.Ip($"link show {daemon.Device}"), StringComparison.Ordinal), "--mtu", $"{mtu}");
    }

    [Theory]
    [EveryFamily("none", "split", "packed", "merge")]
    public async Task Transfers_are_right_with_every_placement(IpFamily family, string placement)
    {
        Requirements.Need("curl");
        await BothWaysAsync(
            family, $"placement {placement}", (_, counters) => Assert.Equal(placement != "none", counters["nic.rx_header_split_packets"] > 0), "--placement", placement);
    }

    [Theory]
    [EveryFamily]
    public async Task Transfers_are_right_without_TSO(IpFamily family)
    {
        Requirements.Need("curl");
        await BothWaysAsync(family, "TSO off", (_, counters) => Assert.Equal((0, 0), (counters["tap.rx_gso_packets"], counters["tap.tx_gso_packets"])), "--tso", "off");
    }

    [Theory]
    [EveryFamily]
    public async Task Transfers_are_right_without_checksum_offload(IpFamily family)
    {
        Requirements.Need("curl");
        await BothWaysAsync(
            family,
            "checksum offload off",
            (_, counters) =>
            {
                Assert.Equal(0, counters["tap.rx_csum_partial"]);
                Assert.InRange(counters["rx.csum_software_bytes"], Bytes, long.MaxValue);
                Assert.InRange(counters["tx.csum_software_bytes"], Bytes, long.MaxValue);
            },
            "--checksum-offload",
            "off");
    }

    [Theory]
    [EveryFamily]
    public async Task Transfers_are_right_over_two_queues(IpFamily family)
    {
        Requirements.Need("curl");
        await using TapDaemon daemon = await TapDaemon.StartAsync(family, "--rx-queues", "2");
        await daemon.CaseAsync(async () =>
        {
            await TransferAsync(daemon, "two RX queues");

            // So many connections that both queues have some.
            for (int i = 0; i < 32; i++)
            {
                using HttpPeer peer = await HttpPeer.ConnectAsync(daemon);
                await peer.RequestAsync("/");
                Assert.Contains("Hello from worker", await peer.ReadTextAsync(), StringComparison.Ordinal);
            }

            Dictionary<string, long> counters = await daemon.CountersAsync();
            Assert.InRange(counters["nic.rx_queue_0_packets"], 1, long.MaxValue);
            Assert.InRange(counters["nic.rx_queue_1_packets"], 1, long.MaxValue);
        });
    }

    [Theory]
    [EveryFamily]
    public async Task Super_frames_with_partial_checksums_cross_the_device_both_ways(IpFamily family)
    {
        Requirements.Need("curl");
        await daemons.CaseAsync(family, async daemon =>
        {
            Dictionary<string, long> before = await daemon.CountersAsync();
            await TransferAsync(daemon, "TSO and checksum offload on");
            Dictionary<string, long> after = await daemon.CountersAsync();
            foreach (string counter in new[] { "tap.rx_gso_packets", "tap.rx_csum_partial", "tap.tx_gso_packets", "nic.tx_csum_partial" })
            {
                Assert.True(after[counter] > before[counter], $"{counter} did not grow");
            }
        });
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

    private static Task BothWaysAsync(IpFamily family, string what, Action<TapDaemon> check, params string[] arguments) => BothWaysAsync(family, what, (daemon, _) => check(daemon), arguments);

    /// <summary>Transfers under the settings, and then a check that they were in effect.</summary>
    private static async Task BothWaysAsync(IpFamily family, string what, Action<TapDaemon, Dictionary<string, long>> check, params string[] arguments)
    {
        await using TapDaemon daemon = await TapDaemon.StartAsync(family, ["--workers", "1", .. arguments]);
        await daemon.CaseAsync(async () =>
        {
            await TransferAsync(daemon, what);
            check(daemon, await daemon.CountersAsync());
        });
    }

    private static async Task TransferAsync(TapDaemon daemon, string what)
    {
        double down = await Curl.DownloadAsync(daemon, Bytes);
        double up = await Curl.UploadAsync(daemon, Bytes);
        Figure.Write($"{what}: download {down:0} MB/s, upload {up:0} MB/s");
    }
}
