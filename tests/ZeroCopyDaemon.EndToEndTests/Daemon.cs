using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;

namespace ZeroCopyDaemon.EndToEndTests;

/// <summary>
/// A daemon of its own name, port and run directory, started as a user would: <c>zcd up</c>. Disposing takes it down and checks that nothing is left.
/// </summary>
internal sealed class Daemon : IAsyncDisposable
{
    private readonly Process _process;
    private readonly Task<string> _output;
    private readonly Task<string> _error;
    private bool _gone;

    private Daemon(string name, string runDirectory, int port, Process process)
    {
        Name = name;
        RunDirectory = runDirectory;
        Port = port;
        _process = process;
        _output = process.StandardOutput.ReadToEndAsync();
        _error = process.StandardError.ReadToEndAsync();
    }

    public string Name { get; }

    public string RunDirectory { get; }

    /// <summary>The app's port, on 127.0.0.1.</summary>
    public int Port { get; }

    public int Pid => _process.Id;

    public IReadOnlyDictionary<string, string> Environment => new Dictionary<string, string>(StringComparer.Ordinal) { ["ZCD_RUN_DIR"] = RunDirectory, ["ZCD_NAME"] = Name };

    public static async Task<Daemon> StartAsync(params string[] arguments) => await StartAsync(null, arguments);

    public static async Task<Daemon> StartAsync(string? runDirectory, string[] arguments)
    {
        string name = "t" + Guid.NewGuid().ToString("N")[..8];
        runDirectory ??= Directory.CreateTempSubdirectory("zcd").FullName;
        int port = FreePort();
        var environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["ZCD_RUN_DIR"] = runDirectory };
        string[] all = ["up", "--name", name, "--listen", port.ToString(), .. arguments];
        var daemon = new Daemon(name, runDirectory, port, Programs.Start(Programs.Zcd, environment, all));
        int workers = ParseWorkers(arguments);
        for (var clock = Stopwatch.StartNew(); ; await Task.Delay(50))
        {
            if (daemon._process.HasExited)
            {
                throw new InvalidOperationException($"The daemon ended with {daemon._process.ExitCode}: {await daemon._output}{await daemon._error}");
            }

            if (clock.Elapsed > TimeSpan.FromSeconds(60))
            {
                await daemon.DisposeAsync();
                throw new TimeoutException($"The daemon was not ready within 60 s: {await daemon._output}{await daemon._error}");
            }

            ProgramResult status = await daemon.ZcdAsync("status", "--json");
            if (status.ExitCode == 0 && CountListening(status.Output, port) >= workers)
            {
                return daemon;
            }
        }
    }

    /// <summary>Runs a <c>zcd</c> command against this daemon.</summary>
    public Task<ProgramResult> ZcdAsync(params string[] arguments) => Programs.RunAsync(Programs.Zcd, Environment, 120, arguments);

    public async Task<JsonElement> JsonAsync(params string[] arguments)
    {
        ProgramResult result = await ZcdAsync([.. arguments, "--json"]);
        Assert.True(result.ExitCode == 0, result.All);
        return JsonDocument.Parse(result.Output).RootElement;
    }

    public async Task<Dictionary<string, long>> CountersAsync() => JsonSerializer.Deserialize<Dictionary<string, long>>((await JsonAsync("inspect", "counters")).GetRawText())!;

    public async Task<List<int>> WorkerPidsAsync() => (await JsonAsync("inspect", "workers")).EnumerateArray().Select(worker => worker.GetProperty("pid").GetInt32()).ToList();

    /// <summary>Runs the test client; its JSON report.</summary>
    public Task<ProgramResult> ClientAsync(params string[] arguments) =>
        Programs.RunAsync(Programs.Zcd, Environment, 180, ["client", "--connect", $"127.0.0.1:{Port}", .. arguments]);

    /// <summary>Waits, at most 5 s, until no page is in use; returns the last page report.</summary>
    public async Task<JsonElement> WaitUntilPagesAreBackAsync()
    {
        JsonElement totals = default;
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < TimeSpan.FromSeconds(5); await Task.Delay(100))
        {
            totals = (await JsonAsync("inspect", "pages")).GetProperty("totals");
            if (totals.GetProperty("in_use").GetInt64() == 0)
            {
                return totals;
            }
        }

        Assert.Fail($"Pages are still in use: {totals}");
        return totals;
    }

    /// <summary>Ends the kernel host as a crash would.</summary>
    public void KillKernelHost()
    {
        _process.Kill();
        _gone = true;
    }

    /// <summary>What the daemon printed, once it has ended.</summary>
    public async Task<string> OutputAsync() => await _output + await _error;

    public async ValueTask DisposeAsync()
    {
        if (!_gone)
        {
            _gone = true;
            ProgramResult down = await ZcdAsync("down");
            if (!_process.WaitForExit(15_000))
            {
                _process.Kill(entireProcessTree: true);
                Assert.Fail($"The daemon did not end after 'down': {down.All}");
            }

            Assert.True(down.ExitCode == 0, down.All);
            Assert.True(_process.ExitCode == 0, $"The daemon ended with {_process.ExitCode}: {await OutputAsync()}");
            string folder = Path.Combine(RunDirectory, Name);
            string[] left = Directory.Exists(folder) ? Directory.GetFileSystemEntries(folder, "*", SearchOption.AllDirectories).Where(entry => !entry.Contains("logs", StringComparison.Ordinal)).ToArray() : [];
            Assert.True(left.Length == 0, $"Left behind: {string.Join(", ", left)}");
        }

        _process.Dispose();
        if (Directory.Exists(Path.Combine(RunDirectory, Name)))
        {
            Directory.Delete(Path.Combine(RunDirectory, Name), recursive: true);
        }

        if (Directory.Exists(RunDirectory) && !Directory.EnumerateFileSystemEntries(RunDirectory).Any())
        {
            Directory.Delete(RunDirectory);
        }
    }

    public static int FreePort()
    {
        using var listener = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private static int ParseWorkers(string[] arguments)
    {
        int index = Array.IndexOf(arguments, "--workers");
        return index < 0 ? 4 : int.Parse(arguments[index + 1]);
    }

    private static int CountListening(string json, int port)
    {
        foreach (JsonElement address in JsonDocument.Parse(json).RootElement.GetProperty("listeners").EnumerateArray())
        {
            if (address.GetProperty("port").GetInt32() == port)
            {
                return address.GetProperty("workers").GetInt32();
            }
        }

        return 0;
    }
}
