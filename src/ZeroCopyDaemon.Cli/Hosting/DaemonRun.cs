using System.Net;
using System.Net.Sockets;
using ZeroCopyDaemon.Cli.Control;
using ZeroCopyDaemon.Cli.Settings;
using ZeroCopyDaemon.Cli.Output;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Protocol.Control;
using ZeroCopyDaemon.Wires;

namespace ZeroCopyDaemon.Cli.Hosting;

/// <summary>How far a start has come. Called from any thread.</summary>
internal interface IStartProgress
{
    /// <summary>What is being done now.</summary>
    void Step(string what);

    /// <summary>Clients can connect; <paramref name="lines"/> say where, and what to do next.</summary>
    void Ready(IReadOnlyList<string> lines);
}

/// <summary>
/// One daemon from start to end: the kernel host in this process, the workers as children. Whatever ends it (a signal, <c>zcd down</c>, a failure), no process is left afterwards.
/// </summary>
internal sealed class DaemonRun
{
    private static readonly TimeSpan DrainTimeout = TimeSpan.FromSeconds(5);

    // A worker leaves within the drain, or a moment later when it has been detached at its end.
    private static readonly TimeSpan WorkerPatience = TimeSpan.FromSeconds(2);

    private static readonly TimeSpan StartPoll = TimeSpan.FromMilliseconds(20);

    private readonly DaemonSettings _settings;
    private readonly IKernelHostLauncher _kernelLauncher;
    private readonly RunDirectory _directory;
    private readonly IStartProgress _progress;

    public DaemonRun(DaemonSettings settings, IKernelHostLauncher kernelLauncher, IStartProgress progress)
    {
        _settings = settings;
        _kernelLauncher = kernelLauncher;
        _progress = progress;
        _directory = ControlConnection.Locate(settings);
    }

    /// <summary>Runs until stopped; the process's exit code.</summary>
    public async Task<int> RunAsync(StopSignals signals)
    {
        await CheckNameAsync(_directory, signals.Token);
        CheckMemory(_settings);
        CheckPort(_settings);
        _progress.Step($"taking {ByteSize.Format(_settings.PoolBytes)} for the page pool");
        Progress poolProgress = new(bytes => _progress.Step($"taking {ByteSize.Format(_settings.PoolBytes)} for the page pool: {ByteSize.Format(bytes)}"));
        await using IRunningKernel kernel = await _kernelLauncher.StartAsync(_settings, poolProgress, signals.Token);
        await using Supervisor supervisor = new(new WorkerLauncher(WorkerArguments()), _settings.Workers, TimeProvider.System, line => Console.Error.WriteLine($"zcd: {line}"));
        signals.OnImpatience = supervisor.KillAll;
        Task stopped = Task.WhenAny(kernel.StopRequested, Task.Delay(Timeout.Infinite, signals.Token));
        using ControlConnection control = ControlConnection.To(_directory);
        int? failure = null;
        try
        {
            failure = await StartWorkersAsync(supervisor, control, Task.WhenAny(stopped, kernel.LoopEnded));
        }
        catch (Exception) when (kernel.LoopEnded.IsCompleted)
        {
            // Whatever could not be done without the loop: why that has ended is what is to be told.
        }

        if (failure is null && !stopped.IsCompleted)
        {
            await Task.WhenAny(stopped, kernel.LoopEnded);
        }

        supervisor.StopReplacing();
        if (kernel.LoopEnded.IsCompleted)
        {
            // The workers notice that the loop is gone when its control service is.
            await kernel.DisposeAsync();
            await supervisor.EndAsync(WorkerPatience);
            Exception? reason = kernel.LoopEnded.Exception?.GetBaseException();
            if (reason is WireException)
            {
                throw new CliException(reason.Message);
            }

            string why = reason?.Message ?? "it ended by itself";
            throw new CliException($"the kernel host's loop has failed: {why.ReplaceLineEndings(" ")}");
        }

        await kernel.DrainAsync(failure is null ? DrainTimeout : TimeSpan.Zero);
        await supervisor.EndAsync(WorkerPatience);
        return failure ?? ExitCode.Ok;
    }

    /// <summary>Says so if a daemon of this name answers. (Only the kernel host's lock is proof against two that start at once.)</summary>
    internal static async Task CheckNameAsync(RunDirectory directory, CancellationToken cancel)
    {
        if (!ControlConnection.IsListening(directory))
        {
            return;
        }

        using ControlConnection control = ControlConnection.To(directory);
        StatusReply status = await control.GetStatusAsync(cancel);
        throw new CliException($"a daemon '{directory.Name}' is running already (pid {status.Pid}); stop it with {ProgramName.Command} down{NameOption(directory.Name)}, or choose another --name");
    }

    /// <summary>A pool beyond all of the machine's memory needs no closer look; what is free of it the kernel host asks.</summary>
    internal static void CheckMemory(DaemonSettings settings)
    {
        long memory = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (settings.PoolBytes > memory)
        {
            throw new CliException($"a pool of {ByteSize.Format(settings.PoolBytes)} is larger than the memory there is ({ByteSize.Format(memory)}); choose a smaller --pool-size");
        }
    }

    /// <summary>The most common mistake, told before anything is started.</summary>
    internal static void CheckPort(DaemonSettings settings)
    {
        if (settings.Workers == 0 || settings.Wire != "gateway")
        {
            return;
        }

        IPEndPoint endPoint = new(IPAddress.Parse(settings.Bind), settings.Port);
        using Socket probe = new(endPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            probe.Bind(endPoint);
            probe.Listen();
        }
        catch (SocketException failure)
        {
            throw new CliException(failure.SocketErrorCode switch
            {
                SocketError.AddressAlreadyInUse => $"port {settings.Port} of {settings.Bind} is in use; choose another one with --listen",
                SocketError.AccessDenied => $"port {settings.Port} may not be opened by this user; choose one from 1024 on with --listen",
                SocketError.AddressNotAvailable => $"{settings.Bind} is not an address of this host; choose one with --bind",
                _ => $"{endPoint} can't be listened on: {failure.Message}",
            });
        }
    }

    /// <summary>Null when all workers listen, or a stop came meanwhile; else the exit code of the worker that could not.</summary>
    private async Task<int?> StartWorkersAsync(Supervisor supervisor, ControlConnection control, Task stopped)
    {
        for (int wanted = Math.Min(1, _settings.Workers); wanted > 0;)
        {
            _progress.Step(wanted == 1 ? "starting the first worker" : $"starting {_settings.Workers} workers");
            if (wanted == 1)
            {
                supervisor.StartFirst();
            }
            else
            {
                supervisor.StartOthers();
            }

            while (true)
            {
                if (await Task.WhenAny(supervisor.StartFailed, stopped, Task.Delay(StartPoll)) is Task<int> failed && failed == supervisor.StartFailed)
                {
                    int code = await failed;
                    return code == ExitCode.Ok ? ExitCode.Failed : code;
                }

                if (stopped.IsCompleted)
                {
                    return null;
                }

                StatusReply status = await control.GetStatusAsync(CancellationToken.None);
                uint listening = status.Listeners.Where(l => l.Port == (uint)_settings.Port).Select(l => l.Workers).FirstOrDefault();
                if (listening >= wanted)
                {
                    break;
                }

                if (wanted > 1)
                {
                    _progress.Step($"starting {_settings.Workers} workers: {listening}");
                }
            }

            wanted = wanted < _settings.Workers ? _settings.Workers : 0;
        }

        supervisor.Settle();
        StatusReply ready = await control.GetStatusAsync(CancellationToken.None);
        _progress.Ready(ReadyLines(_settings, ready));
        return null;
    }

    /// <summary>What a newcomer wants to know next.</summary>
    internal static IReadOnlyList<string> ReadyLines(DaemonSettings settings, StatusReply status)
    {
        string app = settings.App.ToString().ToLowerInvariant();
        string named = NameOption(settings.Name);
        string command = ProgramName.Command;
        if (settings.Workers == 0)
        {
            return
            [
                $"zcd '{settings.Name}' is up (pid {status.Pid}) without workers",
                $"  a worker   {command} worker --app {app} --listen {settings.Port}{named}",
                $"  stop it    Ctrl-C, or: {command} down{named}",
            ];
        }

        string address = status.Listeners.FirstOrDefault(l => l.Port == (uint)settings.Port)?.Address ?? $"{settings.Bind}:{settings.Port}";
        string reachable = address.Replace("0.0.0.0", "127.0.0.1", StringComparison.Ordinal).Replace("[::]", "[::1]", StringComparison.Ordinal);
        string inside = settings.NetworkNamespace.Length == 0 ? string.Empty : $"ip netns exec {settings.NetworkNamespace} ";
        string attempt = inside + (settings.App == WorkerApp.Http ? $"curl http://{reachable}/" : $"{command} client --connect {reachable}{(settings.App == WorkerApp.Sink ? " --mode sink" : " --verify")}");
        string workers = settings.Workers == 1 ? "1 worker" : $"{settings.Workers} workers";
        return
        [
            $"zcd '{settings.Name}' is up (pid {status.Pid}): {workers}, app {app}, strategy {settings.Strategy.ToString().ToLowerInvariant()}, listening on {address}",
            $"  try it     {attempt}",
            $"  look in    {command} inspect pages{named}",
            $"  stop it    {command} down{named}",
        ];
    }

    private static string NameOption(string name) => name == RunDirectory.DefaultName ? string.Empty : " --name " + name;

    private List<string> WorkerArguments()
    {
        List<string> arguments =
        [
            "worker", "--supervised",
            "--name", _settings.Name,
            "--app", _settings.App.ToString().ToLowerInvariant(),
            "--strategy", _settings.Strategy.ToString().ToLowerInvariant(),
            "--listen", _settings.Port.ToString(System.Globalization.CultureInfo.InvariantCulture),
            "--backlog", _settings.Backlog.ToString(System.Globalization.CultureInfo.InvariantCulture),
            "--tx-size", _settings.TxBytes.ToString(System.Globalization.CultureInfo.InvariantCulture),
        ];
        if (_settings.RunDirectory.Length > 0)
        {
            arguments.AddRange(["--run-dir", _settings.RunDirectory]);
        }

        return arguments;
    }

    // IProgress without a synchronization context in between: the order of the reports stays.
    private sealed class Progress(Action<long> report) : IProgress<long>
    {
        public void Report(long value) => report(value);
    }
}
