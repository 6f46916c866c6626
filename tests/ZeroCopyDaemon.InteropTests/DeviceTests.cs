using System.Diagnostics;

namespace ZeroCopyDaemon.InteropTests;

/// <summary>What can happen to a device while it is used.</summary>
public sealed class DeviceTests
{
    private const long Bytes = 64L << 20;

    [Theory]
    [EveryFamily]
    public async Task Transfers_survive_their_link_going_down_and_up(IpFamily family)
    {
        Requirements.Need();
        await using TapDaemon daemon = await TapDaemon.StartAsync(family);
        await daemon.CaseAsync(async () =>
        {
            await TransferBesideAsync(daemon, async () =>
            {
                daemon.Netns.Ip($"link set {daemon.Device} down");
                await Task.Delay(500);
                daemon.Netns.Ip($"link set {daemon.Device} up");
            });
            Assert.Contains($"the link of {daemon.Device} is down", daemon.Log(), StringComparison.Ordinal);
            Assert.Contains($"the link of {daemon.Device} is up again", daemon.Log(), StringComparison.Ordinal);
        });
    }

    [Theory]
    [EveryFamily]
    public async Task Transfers_survive_changes_of_the_device_s_MTU(IpFamily family)
    {
        Requirements.Need();
        await using TapDaemon daemon = await TapDaemon.StartAsync(family);
        await daemon.CaseAsync(async () =>
        {
            Queue<int> mtus = new([1280, 1500, 1400]);
            await TransferBesideAsync(daemon, () =>
            {
                daemon.Netns.Ip($"link set {daemon.Device} mtu {mtus.Dequeue()}");
                return Task.CompletedTask;
            });
            Assert.Contains($"the MTU of {daemon.Device} is 1280 now", daemon.Log(), StringComparison.Ordinal);
            Assert.Equal(1400, (await daemon.JsonAsync("status")).GetProperty("mtu").GetInt32());
        });
    }

    [Theory]
    [InlineData("starts")]
    [InlineData("serves")]
    public async Task A_daemon_whose_device_is_removed_ends_with_one_clear_line(string when)
    {
        Requirements.Need();
        using Netns netns = Netns.Create();
        string runDirectory = Directory.CreateTempSubdirectory("zcd").FullName;
        using Process process = TapDaemon.StartForeground(netns, runDirectory, "removed", "--workers", "2");
        try
        {
            Task<string> error = process.StandardError.ReadToEndAsync();
            Task<string> output = process.StandardOutput.ReadToEndAsync();
            string device = await WaitForDeviceAsync(netns, process);
            var daemon = new Dictionary<string, string>(StringComparer.Ordinal) { ["ZCD_RUN_DIR"] = runDirectory, ["ZCD_NAME"] = "removed" };
            for (int i = 0; when == "serves" && i < 100; i++)
            {
                ProgramResult status = await Programs.RunAsync(Programs.Zcd, daemon, 60, "status");
                if (status.Output.Contains("(2 workers", StringComparison.Ordinal))
                {
                    break;
                }

                await Task.Delay(100);
            }

            netns.Ip($"link del {device}");
            using CancellationTokenSource patience = new(TimeSpan.FromSeconds(20));
            await process.WaitForExitAsync(patience.Token);
            Assert.NotEqual(0, process.ExitCode);
            string said = await error;
            string? last = said.Split('\n', StringSplitOptions.RemoveEmptyEntries).LastOrDefault();
            Assert.True(last?.Contains($"The device {device} was removed", StringComparison.Ordinal) ?? false, $"it said '{said}'; output: {await output}");
            Assert.DoesNotContain("   at ", said, StringComparison.Ordinal);
            Assert.Empty(netns.Devices());
            string[] left = Directory.GetFileSystemEntries(Path.Combine(runDirectory, "removed"), "*", SearchOption.AllDirectories).Where(entry => !entry.Contains("logs", StringComparison.Ordinal)).ToArray();
            Assert.True(left.Length == 0, $"Left behind: {string.Join(", ", left)}");
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill(entireProcessTree: true);
            }

            Directory.Delete(runDirectory, recursive: true);
        }
    }

    [Theory]
    [EveryFamily]
    public async Task An_address_that_another_device_has_is_refused_in_one_line(IpFamily family)
    {
        Requirements.Need();
        Assert.SkipUnless(family == IpFamily.V4, "addresses of IPv4");
        using Netns netns = Netns.Create();
        netns.Ip("addr add 10.44.77.1/24 dev lo");
        string runDirectory = Directory.CreateTempSubdirectory("zcd").FullName;
        try
        {
            using Process process = TapDaemon.StartForeground(netns, runDirectory, "conflict", "--address", "10.44.77.2/24", "--host-address", "10.44.77.1");
            ProgramResult result = await Programs.WaitAsync(process, 60, "zcd up");
            Assert.NotEqual(0, result.ExitCode);
            string line = Assert.Single(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
            Assert.Contains("10.44.77", line, StringComparison.Ordinal);
            Assert.Empty(netns.Devices());
        }
        finally
        {
            Directory.Delete(runDirectory, recursive: true);
        }
    }

    [Theory]
    [EveryFamily]
    public async Task A_claim_to_the_kernel_s_address_is_told_and_clients_are_served_after_it(IpFamily family)
    {
        Requirements.Need("curl");
        Assert.SkipUnless(family == IpFamily.V4, "ARP is of IPv4");
        await using TapDaemon daemon = await TapDaemon.StartAsync(family);
        await daemon.CaseAsync(async () =>
        {
            // Linux takes the kernel's own address, and says so to all when its link comes up.
            daemon.Netns.WriteSysctl($"net.ipv4.conf.{daemon.Device}.arp_notify", "1");
            daemon.Netns.Ip($"addr add {daemon.Address.Address}/32 dev {daemon.Device}");
            daemon.Netns.Ip($"link set {daemon.Device} down");
            daemon.Netns.Ip($"link set {daemon.Device} up");
            string told = $"says that it has the address {daemon.Address.Address}";
            for (int i = 0; i < 100 && !daemon.Log().Contains(told, StringComparison.Ordinal); i++)
            {
                await Task.Delay(100);
            }

            Assert.Contains(told, daemon.Log(), StringComparison.Ordinal);
            daemon.Netns.Ip($"addr del {daemon.Address.Address}/32 dev {daemon.Device}");
            await Curl.DownloadAsync(daemon, 1 << 20);
        });
    }

    [Theory]
    [EveryFamily]
    public async Task Two_daemons_on_two_devices_of_one_namespace_serve_at_once(IpFamily family)
    {
        Requirements.Need("curl");
        using Netns netns = Netns.Create();
        await using TapDaemon one = await TapDaemon.StartAsync(family, netns);
        await using TapDaemon two = await TapDaemon.StartAsync(family, netns, "--tap", "second");
        Assert.Equal("second", two.Device);
        Assert.NotEqual(one.Address.Address, two.Address.Address);
        await one.CaseAsync(() => two.CaseAsync(() => Task.WhenAll(
            Curl.DownloadAsync(one, Bytes), Curl.UploadAsync(one, Bytes), Curl.DownloadAsync(two, Bytes), Curl.UploadAsync(two, Bytes))));
    }

    [Theory]
    [EveryFamily]
    public async Task A_daemon_that_was_stopped_has_removed_its_device(IpFamily family)
    {
        Requirements.Need();
        using Netns netns = Netns.Create();
        await using (TapDaemon daemon = await TapDaemon.StartAsync(family, netns, "--tap", "gone0"))
        {
            Assert.Equal(["gone0"], netns.Devices());
            Assert.Contains("LOWER_UP", netns.Ip("link show gone0"), StringComparison.Ordinal);
        }

        ProgramResult show = await netns.RunAsync("ip", 10, "link", "show", "gone0");
        Assert.NotEqual(0, show.ExitCode);
        Assert.Contains("does not exist", show.Error, StringComparison.Ordinal);
    }

    /// <summary>A download and an upload, each in four parts, with something happening to the device while the first three of them are under way; every byte is compared.</summary>
    private static async Task TransferBesideAsync(TapDaemon daemon, Func<Task> happening)
    {
        const int Parts = 4;
        const long Step = Bytes / Parts;
        using HttpPeer download = await HttpPeer.ConnectAsync(daemon);
        using HttpPeer upload = await HttpPeer.ConnectAsync(daemon);
        await download.RequestAsync($"/bytes/{Bytes}");
        await upload.SendAsync($"PUT /sha256 HTTP/1.1\r\nHost: test\r\nContent-Length: {Bytes}\r\n\r\n");
        Assert.Equal(Bytes, await download.ReadHeadAsync());
        for (int part = 0; part < Parts; part++)
        {
            // The worker's next megabytes are on their way while we don't read, so the wire is never idle here.
            long from = part * Step;
            await Task.WhenAll(download.ExpectPatternAsync(from, Step / 2), upload.SendPatternAsync(from, Step / 2));
            Task rest = Task.WhenAll(download.ExpectPatternAsync(from + (Step / 2), Step / 2), upload.SendPatternAsync(from + (Step / 2), Step / 2));
            if (part < Parts - 1)
            {
                await happening();
            }

            await rest;
        }

        Assert.Equal(Body.Digest(Bytes), (await upload.ReadTextAsync()).TrimEnd());
    }

    private static async Task<string> WaitForDeviceAsync(Netns netns, Process process)
    {
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < TimeSpan.FromSeconds(60); await Task.Delay(100))
        {
            Assert.False(process.HasExited, "the daemon has ended");
            if (netns.Devices() is [string device])
            {
                return device;
            }
        }

        throw new TimeoutException("no device was made");
    }
}
