using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using Xunit.Sdk;
using ZeroCopyDaemon.Cli.Control;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.InteropTests;

/// <summary>
/// A daemon on a TAP device in a namespace of its own, or in one that is given: <c>zcd up --wire tap --netns ... --detach</c>. Disposing takes it down and checks that process, device and run
/// directory are gone.
/// </summary>
internal sealed class TapDaemon : RunningDaemon, IAsyncDisposable
{
    /// <summary>Where the app listens, on the kernel's own address.</summary>
    public const int Port = 8080;

    private const int StartSeconds = 60;
    private const int LogBytes = 8 * 1024;

    private static readonly TimeSpan PagesPatience = TimeSpan.FromSeconds(10);

    private readonly bool _ownsNetns;
    private readonly ControlConnection _control;
    private readonly List<Process> _workers = [];

    private TapDaemon(IpFamily family, Netns netns, bool ownsNetns)
        : base("t" + Guid.NewGuid().ToString("N")[..8], Directory.CreateTempSubdirectory("zcd").FullName)
    {
        Family = family;
        Netns = netns;
        _ownsNetns = ownsNetns;
        _control = ControlConnection.To(Protocol.RunDirectory.For(Name, RunDirectory));
    }

    public IpFamily Family { get; }

    /// <summary>Where Linux's end of the device is.</summary>
    public Netns Netns { get; }

    /// <summary>The app's address and port.</summary>
    public IPEndPoint Address { get; private set; } = null!;

    /// <summary>The device that came with this daemon.</summary>
    public string Device { get; private set; } = "";

    /// <summary>The kernel host's process.</summary>
    public int Pid { get; private set; }

    /// <summary>The address of a URL.</summary>
    public string Url(string path) => $"http://{Address}{path}";

    /// <summary>A daemon in a namespace of its own.</summary>
    public static Task<TapDaemon> StartAsync(IpFamily family, params string[] arguments) => StartAsync(family, new Dictionary<string, string>(StringComparer.Ordinal), arguments);

    /// <summary>A daemon in a namespace of its own, with some variables in the environment of all of its processes.</summary>
    public static async Task<TapDaemon> StartAsync(IpFamily family, Dictionary<string, string> environment, params string[] arguments)
    {
        Netns netns = Netns.Create();
        try
        {
            return await StartAsync(new TapDaemon(family, netns, ownsNetns: true), environment, arguments);
        }
        catch
        {
            netns.Dispose();
            throw;
        }
    }

    /// <summary>A daemon in a namespace that the caller owns.</summary>
    public static Task<TapDaemon> StartAsync(IpFamily family, Netns netns, params string[] arguments) =>
        StartAsync(new TapDaemon(family, netns, ownsNetns: false), new Dictionary<string, string>(StringComparer.Ordinal), arguments);

    /// <summary>Runs <c>zcd up</c> in the foreground, for a case that wants to see how it ends.</summary>
    public static Process StartForeground(Netns netns, string runDirectory, string name, params string[] arguments) =>
        Programs.Start(Programs.Zcd, new Dictionary<string, string>(StringComparer.Ordinal), ["up", .. Common(netns, runDirectory, name), .. arguments]);

    /// <summary>What <c>zcd inspect counters</c> shows, asked for without a process in between: every case looks several times.</summary>
    public override async Task<Dictionary<string, long>> CountersAsync() =>
        new((await _control.GetCountersAsync(CancellationToken.None)).Counters, StringComparer.Ordinal);

    /// <summary>A further worker process with an app of its own on another port; it ends with the daemon. Returns where it serves.</summary>
    public async Task<IPEndPoint> StartWorkerAsync(string app, int port)
    {
        _workers.Add(Programs.Start(Programs.Zcd, Environment, "worker", "--app", app, "--listen", $"{port}"));
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < TimeSpan.FromSeconds(StartSeconds); await Task.Delay(50))
        {
            if (await CountListeningAsync(port) > 0)
            {
                return Address.WithPort(port);
            }
        }

        throw new TimeoutException($"No worker listens on port {port}.");
    }

    /// <summary>Attaches this process as a worker, so that a case can do what no app does.</summary>
    public Task<KernelClient> AttachAsync() => KernelClient.AttachAsync(new WorkerOptions { Name = Name, ControlSocket = _control.Directory.ControlSocket, AppName = "test" });

    /// <summary>
    /// Runs a case: its own expectations, then those that hold at the end of all of them. What fails is told with the daemon's counters and the end of its log.
    /// </summary>
    public async Task CaseAsync(Func<Task> body)
    {
        try
        {
            await body();
            await ExpectCleanAsync();
        }
        catch (Exception failure)
        {
            throw new XunitException($"{failure.Message}{System.Environment.NewLine}{await DescribeAsync()}", failure);
        }
    }

    /// <summary>After every case: all pages are back, nothing was copied after DMA, no checksum was wrong, and nearly every header was as long as predicted.</summary>
    public async Task ExpectCleanAsync()
    {
        Dictionary<string, long> counters;
        var clock = Stopwatch.StartNew();
        while ((counters = await CountersAsync())["pool.in_use"] != 0)
        {
            Assert.True(clock.Elapsed < PagesPatience, $"{counters["pool.in_use"]} pages are still in use: {(await JsonAsync("inspect", "pages")).GetProperty("totals")}");
            await Task.Delay(100);
        }

        Assert.Equal(counters["pool.pages"], counters["pool.free"] + counters["pool.posted"]);
        Assert.Equal(0, counters["rx.payload_copied_bytes"]);
        Assert.Equal(0, counters["tx.payload_copied_bytes"]);
        Assert.Equal(0, counters["nic.rx_csum_bad"]);
        Assert.Equal(0, counters["kernel.protocol_violations"]);
        long received = counters["rx.payload_bytes"], mended = counters.GetValueOrDefault("rx.split_fixup_bytes");
        if (received >= 16L << 20)
        {
            Assert.True(mended * 1000 < received, $"{mended} of {received} bytes were mended");
        }
    }

    /// <summary>Memory that a process has for itself: what it shares (the page pool, TX areas) is not counted.</summary>
    public static long PrivateBytes(int pid) => Status(pid, "RssAnon") + Status(pid, "RssFile");

    /// <summary>The end of the daemon's log.</summary>
    public string Log()
    {
        string path = Path.Combine(RunDirectory, Name, "logs", "daemon.log");
        if (!File.Exists(path))
        {
            return "";
        }

        byte[] all = File.ReadAllBytes(path);
        return Encoding.UTF8.GetString(all.AsSpan(Math.Max(0, all.Length - LogBytes)));
    }

    /// <summary>Stops the daemon by <c>zcd down</c>; what it must leave behind is nothing.</summary>
    public async ValueTask DisposeAsync()
    {
        try
        {
            string log = Log();
            ProgramResult down = await ZcdAsync("down");
            Assert.True(down.ExitCode == 0, $"{down.All}{log}");
            foreach (Process worker in _workers)
            {
                ProgramResult ended = await Programs.WaitAsync(worker, 10, "zcd worker");
                Assert.True(ended.ExitCode == 0, $"a worker ended with {ended.ExitCode}: {ended.All}");
            }

            Assert.DoesNotContain(Device, Netns.Devices());
            ExpectNothingLeft();
            RemoveRunDirectory();
        }
        finally
        {
            _control.Dispose();
            if (_ownsNetns)
            {
                Netns.Dispose();
            }
        }
    }

    private static string[] Common(Netns netns, string runDirectory, string name) =>
        ["--name", name, "--run-dir", runDirectory, "--wire", "tap", "--netns", netns.Name, "--listen", Port.ToString(CultureInfo.InvariantCulture)];

    private static async Task<TapDaemon> StartAsync(TapDaemon daemon, Dictionary<string, string> environment, string[] arguments)
    {
        string[] before = daemon.Netns.Devices();
        string[] workers = arguments.Contains("--workers") ? [] : ["--workers", "2"];
        ProgramResult up = await Programs.RunAsync(
            Programs.Zcd, environment, StartSeconds, ["up", .. Common(daemon.Netns, daemon.RunDirectory, daemon.Name), "--detach", .. workers, .. arguments]);
        Assert.True(up.ExitCode == 0, $"zcd up {string.Join(' ', arguments)} ended with {up.ExitCode}: {up.All}{daemon.Log()}");
        JsonElement status = await daemon.JsonAsync("status");
        daemon.Pid = status.GetProperty("pid").GetInt32();
        daemon.Address = status.GetProperty("listeners").EnumerateArray()
            .Select(listener => IPEndPoint.Parse(listener.GetProperty("address").GetString()!))
            .First(address => address.AddressFamily == daemon.Family.Sockets());
        daemon.Device = Assert.Single(daemon.Netns.Devices().Except(before));
        return daemon;
    }

    private static long Status(int pid, string field)
    {
        string line = File.ReadLines($"/proc/{pid}/status").First(line => line.StartsWith(field + ":", StringComparison.Ordinal));
        return long.Parse(line.AsSpan(field.Length + 1, line.Length - field.Length - 1 - "kB".Length).Trim(), CultureInfo.InvariantCulture) * 1024;
    }

    private async Task<string> DescribeAsync()
    {
        StringBuilder text = new();
        try
        {
            Dictionary<string, long> counters = await CountersAsync();
            text.AppendLine("counters: " + string.Join(", ", counters.Where(c => c.Value != 0).Select(c => $"{c.Key} {c.Value}")));
            text.AppendLine("connections: " + (await JsonAsync("inspect", "connections")).GetRawText());
        }
        catch (Exception failure)
        {
            text.AppendLine($"the daemon's counters can't be had: {failure.Message}");
        }

        return text.Append("log: ").Append(Log()).ToString();
    }
}
