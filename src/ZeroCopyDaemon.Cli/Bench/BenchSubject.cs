using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using ZeroCopyDaemon.Cli.Control;
using ZeroCopyDaemon.Cli.Hosting;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.Cli.Bench;

/// <summary>A server under measurement, in processes of its own.</summary>
internal abstract class BenchSubject : IAsyncDisposable
{
    protected BenchSubject(string name) => Name = name;

    public string Name { get; }

    public IPEndPoint EndPoint { get; protected set; } = new(IPAddress.Loopback, 0);

    /// <summary>All of its processes.</summary>
    protected IReadOnlyList<int> Pids { get; set; } = [];

    /// <summary>CPU time of all its processes so far.</summary>
    public TimeSpan ProcessorTime()
    {
        TimeSpan sum = TimeSpan.Zero;
        foreach (int pid in Pids)
        {
            using Process process = Process.GetProcessById(pid);
            sum += process.TotalProcessorTime;
        }

        return sum;
    }

    public abstract Task StartAsync(CancellationToken cancel);

    public abstract ValueTask DisposeAsync();
}

/// <summary>The plain socket server.</summary>
internal sealed class PlainSubject() : BenchSubject("plain sockets")
{
    private Process? _process;

    public override async Task StartAsync(CancellationToken cancel)
    {
        ProcessStartInfo start = SelfProcess.StartInfo([Commands.BenchCommand.ServerName]);
        start.RedirectStandardInput = true;
        start.RedirectStandardOutput = true;
        _process = Process.Start(start) ?? throw new CliException("the plain echo server could not be started");
        string? line = await _process.StandardOutput.ReadLineAsync(cancel);
        if (!int.TryParse(line, CultureInfo.InvariantCulture, out int port))
        {
            throw new CliException("the plain echo server did not start");
        }

        EndPoint = new IPEndPoint(IPAddress.Loopback, port);
        Pids = [_process.Id];
    }

    public override async ValueTask DisposeAsync()
    {
        if (_process is not null)
        {
            _process.StandardInput.Close();
            await _process.WaitForExitAsync();
            _process.Dispose();
        }
    }
}

/// <summary>A daemon of its own, of a name and on a port that nobody else has.</summary>
internal sealed class DaemonSubject(string strategy, int workers, string runDirectory) : BenchSubject($"zcd {strategy}")
{
    private readonly string _name = $"bench-{strategy}";
    private bool _running;

    public override async Task StartAsync(CancellationToken cancel)
    {
        int port = FreePort();
        await RunAsync(
            [
                "up", "--detach", "--name", _name, "--run-dir", runDirectory, "--app", "echo", "--strategy", strategy, "--bind", "127.0.0.1",
                "--listen", port.ToString(CultureInfo.InvariantCulture), "--workers", workers.ToString(CultureInfo.InvariantCulture),
            ],
            cancel);
        _running = true;
        EndPoint = new IPEndPoint(IPAddress.Loopback, port);
        using ControlConnection control = ControlConnection.To(RunDirectory.For(_name, runDirectory));
        StatusReply status = await control.GetStatusAsync(cancel);
        Pids = [status.Pid, .. status.Workers.Select(w => w.Pid)];
    }

    public override async ValueTask DisposeAsync()
    {
        if (_running)
        {
            await RunAsync(["down", "--name", _name, "--run-dir", runDirectory], CancellationToken.None);
        }
    }

    private static int FreePort()
    {
        using Socket probe = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        probe.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)probe.LocalEndPoint!).Port;
    }

    private static async Task RunAsync(IEnumerable<string> arguments, CancellationToken cancel)
    {
        ProcessStartInfo start = SelfProcess.StartInfo(arguments);
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        using Process process = Process.Start(start) ?? throw new CliException("a daemon for the benchmark could not be started");
        Task<string> output = process.StandardOutput.ReadToEndAsync(cancel);
        string error = await process.StandardError.ReadToEndAsync(cancel);
        await output;
        await process.WaitForExitAsync(cancel);
        if (process.ExitCode != ExitCode.Ok)
        {
            throw new CliException($"the benchmark's daemon failed: {error.Trim()}");
        }
    }
}
