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
            try
            {
                using Process process = Process.GetProcessById(pid);
                sum += process.TotalProcessorTime;
            }
            catch (ArgumentException)
            {
                throw new CliException($"{Name}: its process {pid} has ended during the measurement");
            }
        }

        return sum;
    }

    public abstract Task StartAsync(CancellationToken cancel);

    public abstract ValueTask DisposeAsync();
}

/// <summary>The process of a plain socket server (<see cref="PlainServer"/>).</summary>
internal sealed class PlainServerProcess : IAsyncDisposable
{
    private readonly Process _process;

    private PlainServerProcess(Process process, int port)
    {
        _process = process;
        Port = port;
    }

    public int Pid => _process.Id;

    public int Port { get; }

    /// <summary>Returns once it listens.</summary>
    public static async Task<PlainServerProcess> StartAsync(ProcessStartInfo start, CancellationToken cancel)
    {
        start.RedirectStandardInput = true;
        start.RedirectStandardOutput = true;
        Process process = Process.Start(start) ?? throw new CliException("the plain server could not be started");
        string? line = await process.StandardOutput.ReadLineAsync(cancel);
        return int.TryParse(line, CultureInfo.InvariantCulture, out int port) ? new PlainServerProcess(process, port) : throw new CliException("the plain server did not start");
    }

    public async ValueTask DisposeAsync()
    {
        _process.StandardInput.Close();
        await _process.WaitForExitAsync();
        _process.Dispose();
    }
}

/// <summary>The plain socket server.</summary>
internal sealed class PlainSubject() : BenchSubject("plain sockets")
{
    private PlainServerProcess? _server;

    public override async Task StartAsync(CancellationToken cancel)
    {
        _server = await PlainServerProcess.StartAsync(SelfProcess.StartInfo([Commands.BenchCommand.ServerName]), cancel);
        EndPoint = new IPEndPoint(IPAddress.Loopback, _server.Port);
        Pids = [_server.Pid];
    }

    public override async ValueTask DisposeAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }
    }
}

/// <summary>A daemon of its own, of a name and in a run directory that nobody else has.</summary>
/// <param name="label">What tables call it.</param>
/// <param name="name">The daemon's name.</param>
/// <param name="options">What <c>zcd up</c> is told besides.</param>
/// <param name="runDirectory">Folder of its run directory.</param>
internal sealed class DaemonSubject(string label, string name, IReadOnlyList<string> options, string runDirectory) : BenchSubject(label)
{
    private bool _running;

    public override async Task StartAsync(CancellationToken cancel)
    {
        // The port matters on a wire that shares addresses with others only, but is as good as any elsewhere.
        string port = FreePort().ToString(CultureInfo.InvariantCulture);
        await RunAsync(["up", "--detach", "--name", name, "--run-dir", runDirectory, "--listen", port, .. options], cancel);
        _running = true;
        using ControlConnection control = ControlConnection.To(RunDirectory.For(name, runDirectory));
        StatusReply status = await control.GetStatusAsync(cancel);
        EndPoint = IPEndPoint.Parse(status.Listeners.Single().Address);
        Pids = [status.Pid, .. status.Workers.Select(w => w.Pid)];
    }

    public override async ValueTask DisposeAsync()
    {
        if (_running)
        {
            await RunAsync(["down", "--name", name, "--run-dir", runDirectory], CancellationToken.None);
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
        (int code, _, string error) = await ChildProcess.RunAsync(SelfProcess.StartInfo(arguments), cancel);
        if (code != ExitCode.Ok)
        {
            string why = error.Trim();
            throw new CliException(why.StartsWith("zcd: ", StringComparison.Ordinal) ? why["zcd: ".Length..] : $"the benchmark's daemon failed: {why}");
        }
    }
}
