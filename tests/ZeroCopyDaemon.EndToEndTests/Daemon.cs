using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;

namespace ZeroCopyDaemon.EndToEndTests;

/// <summary>
/// A daemon of its own name, port and run directory, started as a user would: <c>zcd up</c>. Disposing takes it down and checks that nothing is left.
/// </summary>
internal sealed class Daemon : RunningDaemon, IAsyncDisposable
{
    private readonly Process _process;
    private readonly Task<string> _output;
    private readonly Task<string> _error;
    private bool _gone;

    private Daemon(string name, string runDirectory, int port, Process process)
        : base(name, runDirectory)
    {
        Port = port;
        _process = process;
        _output = process.StandardOutput.ReadToEndAsync();
        _error = process.StandardError.ReadToEndAsync();
    }

    /// <summary>The app's port, on 127.0.0.1.</summary>
    public int Port { get; }

    public int Pid => _process.Id;

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

            if (await daemon.CountListeningAsync(port) >= workers)
            {
                return daemon;
            }
        }
    }

    /// <summary>Runs the test client; its JSON report.</summary>
    public Task<ProgramResult> ClientAsync(params string[] arguments) =>
        Programs.RunAsync(Programs.Zcd, Environment, 180, ["client", "--connect", $"127.0.0.1:{Port}", .. arguments]);

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
            ExpectNothingLeft();
        }

        _process.Dispose();
        RemoveRunDirectory();
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
}
