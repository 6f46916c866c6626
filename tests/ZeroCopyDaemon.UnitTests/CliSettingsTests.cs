using ZeroCopyDaemon.Cli;
using ZeroCopyDaemon.Cli.Settings;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.UnitTests;

public sealed class CliSettingsTests
{
    [Fact]
    public void Nothing_given_means_the_defaults()
    {
        DaemonSettings settings = Resolve();
        Assert.Equal(4, settings.Workers);
        Assert.Equal(8080, settings.Port);
        Assert.Equal("127.0.0.1", settings.Bind);
        Assert.Equal(64L << 20, settings.PoolBytes);
        Assert.Equal(WorkerApp.Http, settings.App);
        Assert.Equal(ReceiveStrategy.Handoff, settings.Strategy);
        Assert.Equal(Placement.Split, settings.Placement);
        Assert.True(settings.ChecksumOffload);
    }

    [Fact]
    public void Every_setting_can_be_given_as_an_option()
    {
        DaemonSettings settings = Resolve(
            ("name", "a-1"), ("workers", "0"), ("listen", "1"), ("bind", "0.0.0.0"), ("wire", "GATEWAY"), ("app", "Echo"), ("strategy", "copy"), ("pool-size", "128MiB"), ("page-size", "8KiB"),
            ("placement", "none"), ("checksum-offload", "off"), ("mtu", "9000"), ("rx-queues", "2"), ("rx-ring", "512"), ("tx-size", "1MiB"), ("backlog", "7"), ("run-dir", "/tmp/x"),
            ("impair", " loss=1%,delay=2ms "));
        Assert.Equal(
            new DaemonSettings
            {
                Name = "a-1", Workers = 0, Port = 1, Bind = "0.0.0.0", Wire = "gateway", App = WorkerApp.Echo, Strategy = ReceiveStrategy.Copy, PoolBytes = 128L << 20, PageBytes = 8192,
                Placement = Placement.None, ChecksumOffload = false, Mtu = 9000, RxQueues = 2, RxRingSize = 512, TxBytes = 1 << 20, Backlog = 7, RunDirectory = Path.GetFullPath("/tmp/x"),
                Impair = "loss=1%,delay=2ms",
            },
            settings);
    }

    [Theory]
    [InlineData("workers", "257", "--workers 257: the number of workers must be from 0 to 256")]
    [InlineData("workers", "-1", "--workers -1: the number of workers must be from 0 to 256")]
    [InlineData("workers", "many", "--workers many: the number of workers must be from 0 to 256")]
    [InlineData("listen", "0", "--listen 0: the port must be from 1 to 65535")]
    [InlineData("listen", "65536", "--listen 65536: the port must be from 1 to 65535")]
    [InlineData("mtu", "575", "--mtu 575: the MTU must be from 576 to 65535")]
    [InlineData("mtu", "65536", "--mtu 65536: the MTU must be from 576 to 65535")]
    [InlineData("app", "ftp", "--app ftp: there is no such app; choose http, echo or sink")]
    [InlineData("app", "1", "--app 1: there is no such app; choose http, echo or sink")]
    [InlineData("strategy", "flip", "--strategy flip: not there yet; choose handoff or copy")]
    [InlineData("placement", "piled", "--placement piled: there is no such placement; choose none, split, packed or merge")]
    [InlineData("strategy", "zero", "--strategy zero: there is no such strategy; choose handoff or copy")]
    [InlineData("wire", "fibre", "--wire fibre: there is no such wire; choose gateway or tap")]
    [InlineData("wire", "sim", "--wire sim: for the simulation only (zcd sim); choose gateway or tap")]
    [InlineData("wire", "afxdp", "--wire afxdp: not there yet; choose gateway or tap")]
    [InlineData("impair", "loss=2", "--impair loss=2: loss must be from 0% to 100% of the frames, such as 1% or 0.01%, not '2'")]
    [InlineData("checksum-offload", "maybe", "--checksum-offload maybe: say on or off")]
    [InlineData("bind", "here", "--bind here: name an IP address of this host, such as 127.0.0.1 or 0.0.0.0")]
    [InlineData("address6", "10.0.0.1/24", "--address6 10.0.0.1/24: give an IPv6 address with the length of its network's prefix, such as fd44::2/64, or say off")]
    [InlineData("address6", "fd44::2", "--address6 fd44::2: give an IPv6 address with the length of its network's prefix, such as fd44::2/64, or say off")]
    [InlineData("address6", "fd44::2/127", "--address6 fd44::2/127: give an IPv6 address with the length of its network's prefix, such as fd44::2/64, or say off")]
    [InlineData("host-address6", "127.0.0.1", "--host-address6 127.0.0.1: name an IPv6 address, such as fd44::1")]
    [InlineData("rx-queues", "17", "--rx-queues 17: the number of RX queues must be from 1 to 16")]
    [InlineData("rx-ring", "1000", "--rx-ring 1000: the RX ring size must be a power of two from 16 to 65536")]
    [InlineData("page-size", "5000", "--page-size 5000: the page size must be a power of two from 2KiB to 2MiB")]
    [InlineData("tx-size", "5000", "--tx-size 5000: the TX area must be a multiple of 4096 bytes from 64KiB to 1GiB")]
    [InlineData("pool-size", "lots", "--pool-size lots: the pool size must be a size such as 64MiB, 1GiB, 500k or 4096, not 'lots'")]
    [InlineData("pool-size", "1MiB", "--pool-size 1MiB: the pool is too small: the RX rings alone hold 4 MiB; choose at least 8 MiB, or a smaller --rx-ring or fewer --rx-queues")]
    [InlineData("pool-size", "67108865", "--pool-size 67108865: the pool size must be a multiple of the page size (4096 bytes); the next are 67108864 and 67112960")]
    [InlineData("name", "../x", "--name ../x: a name has 1 to 40 letters, digits, '-', '_' or '.', and begins with a letter or digit")]
    [InlineData("name", "", "--name : a name has 1 to 40 letters, digits, '-', '_' or '.', and begins with a letter or digit")]
    public void A_bad_value_gets_one_line_that_says_what_to_change(string option, string value, string line)
    {
        UsageException refused = Assert.Throws<UsageException>(() => Resolve((option, value)));
        Assert.Equal([line], refused.Lines);
        Assert.Equal(2, refused.ExitCode);
    }

    [Fact]
    public void Each_bad_value_gets_its_line()
    {
        UsageException refused = Assert.Throws<UsageException>(() => Resolve(("workers", "x"), ("mtu", "1")));
        Assert.Equal(2, refused.Lines.Count);
    }

    [Fact]
    public void A_pool_that_is_too_small_for_its_queues_is_the_pool_size_s_fault_even_if_that_was_not_given()
    {
        UsageException refused = Assert.Throws<UsageException>(() => Resolve(("rx-queues", "16")));
        Assert.StartsWith("--pool-size: the pool is too small", Assert.Single(refused.Lines), StringComparison.Ordinal);
    }

    [Fact]
    public void Options_win_over_variables_and_variables_over_files()
    {
        SettingsLayer file = new([("Workers:Count", "1"), ("Nic:Mtu", "600"), ("App", "echo")], (k, v) => $"file {k}={v}");
        SettingsLayer variables = new([("MTU", "700"), ("APP", "sink")], (k, v) => $"variable {k}={v}");
        SettingsLayer options = SettingsResolver.FromOptions(new Dictionary<string, string> { ["app"] = "http" });
        DaemonSettings settings = SettingsResolver.Resolve([file, variables, options], SettingsTable.All);
        Assert.Equal(1, settings.Workers);
        Assert.Equal(700, settings.Mtu);
        Assert.Equal(WorkerApp.Http, settings.App);
    }

    [Fact]
    public void A_bad_value_is_named_where_it_stands_even_if_the_same_setting_is_fine_elsewhere()
    {
        SettingsLayer file = new([("Nic:Mtu", "1500")], (k, v) => $"file {k}={v}");
        SettingsLayer variables = new([("NIC:MTU", "1")], (k, v) => $"ZCD_{k.Replace(":", "__", StringComparison.Ordinal)}={v}");
        UsageException refused = Assert.Throws<UsageException>(() => SettingsResolver.Resolve([file, variables], SettingsTable.All));
        Assert.Equal("ZCD_NIC__MTU=1: the MTU must be from 576 to 65535", Assert.Single(refused.Lines));
    }

    [Theory]
    [InlineData("Pool:Size")]
    [InlineData("POOL_SIZE")]
    [InlineData("pool-size")]
    [InlineData("PoolSize")]
    public void A_key_may_be_spelt_in_any_of_the_usual_ways(string key)
    {
        SettingsLayer layer = new([(key, "32MiB")], (k, v) => $"{k}={v}");
        Assert.Equal(32L << 20, SettingsResolver.Resolve([layer], SettingsTable.All).PoolBytes);
    }

    [Fact]
    public void A_file_is_read_and_a_setting_in_it_that_does_not_exist_is_named()
    {
        string path = Path.Combine(Path.GetTempPath(), $"zcd-settings-{Guid.NewGuid():n}.json");
        try
        {
            File.WriteAllText(path, """{ "Logging": { "x": 1 }, "Zcd": { "Workers": { "Count": 2, "App": "echo" }, "Nic": { "Mtu": 9000 } } }""");
            DaemonSettings settings = SettingsResolver.Resolve([SettingsResolver.FromFile(path)], SettingsTable.All);
            Assert.Equal((2, WorkerApp.Echo, 9000), (settings.Workers, settings.App, settings.Mtu));

            File.WriteAllText(path, """{ "Zcd": { "Wrokers": 2 } }""");
            UsageException unknown = Assert.Throws<UsageException>(() => SettingsResolver.FromFile(path));
            Assert.StartsWith($"{path}, Zcd:Wrokers \"2\": there is no such setting; known are ", unknown.Message, StringComparison.Ordinal);

            File.WriteAllText(path, "{ not json");
            UsageException broken = Assert.Throws<UsageException>(() => SettingsResolver.FromFile(path));
            Assert.StartsWith($"{path} can't be read: ", broken.Message, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', broken.Message);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void Only_which_daemon_is_looked_at_where_only_that_matters()
    {
        SettingsLayer layer = new([("NAME", "x"), ("MTU", "nonsense")], (k, v) => $"{k}={v}");
        Assert.Equal("x", SettingsResolver.Resolve([layer], [SettingsTable.Name, SettingsTable.RunDirectory]).Name);
    }

    private static DaemonSettings Resolve(params (string Name, string Value)[] options) =>
        SettingsResolver.Resolve([SettingsResolver.FromOptions(options.ToDictionary(o => o.Name, o => o.Value))], SettingsTable.All);
}
