using System.Collections.Concurrent;
using ZeroCopyDaemon.Cli.Apps.Http;
using ZeroCopyDaemon.Cli.Settings;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.Cli.Apps;

/// <summary>How a worker process is set up.</summary>
internal sealed record WorkerRunOptions(RunDirectory Directory, WorkerApp App, ReceiveStrategy Strategy, int Port, int Backlog, long TxBytes);

/// <summary>
/// One worker process: attaches, listens, serves every connection with its app until told to stop, then lets open connections finish as long as the daemon waits, and detaches.
/// </summary>
internal sealed class WorkerRun
{
    // When only this worker is to stop: nobody else says how long.
    private static readonly TimeSpan OwnDrainTimeout = TimeSpan.FromSeconds(5);

    private readonly WorkerRunOptions _options;
    private readonly ConcurrentDictionary<Connection, Task> _open = new();

    public WorkerRun(WorkerRunOptions options) => _options = options;

    /// <summary>Runs until <paramref name="stop"/>, the daemon's end or its loss; the process's exit code.</summary>
    /// <param name="stop">Ctrl-C or SIGTERM to this process.</param>
    /// <param name="listening">Told where clients connect to.</param>
    public async Task<int> RunAsync(CancellationToken stop, Action<KernelClient, Listener>? listening = null)
    {
        WorkerOptions attach = new()
        {
            Name = _options.Directory.Name,
            ControlSocket = _options.Directory.ControlSocket,
            AppName = _options.App.ToString().ToLowerInvariant(),
            Strategy = _options.Strategy,
            TxBytes = _options.TxBytes,

            // No app here ever blocks: the loop's own thread is the shortest way.
            Scheduling = WorkerScheduling.Inline,
        };
        try
        {
            await using KernelClient client = await KernelClient.AttachAsync(attach, stop);
            await using Listener listener = await client.ListenAsync(_options.Port, _options.Backlog, stop);
            listening?.Invoke(client, listener);
            HttpIdentity who = new((int)client.WorkerId, Environment.ProcessId, _options.Directory.Name, _options.Strategy.ToString().ToLowerInvariant());
            ServeConnection serve = WorkerApps.Create(_options.App, _options.Strategy, who);
            using CancellationTokenSource draining = CancellationTokenSource.CreateLinkedTokenSource(stop, client.Draining);
            await AcceptAsync(listener, serve, draining.Token);
            await listener.DisposeAsync();
            await FinishAsync(client);
            return ExitCode.Ok;
        }
        catch (KernelLostException lost) when (lost.Reason is DetachReason.Shutdown or DetachReason.Requested)
        {
            // The daemon stopped before we had finished: nothing that anybody need be told.
            return ExitCode.Ok;
        }
        catch (KernelLostException lost)
        {
            throw new CliException($"worker {Environment.ProcessId}: {lost.Message}", ExitCode.KernelLost);
        }
        catch (Exception failure) when (failure is DaemonNotRunningException or KernelRefusedException or TimeoutException)
        {
            throw new CliException(failure.Message);
        }
    }

    private async Task AcceptAsync(Listener listener, ServeConnection serve, CancellationToken draining)
    {
        try
        {
            while (true)
            {
                Connection connection = await listener.AcceptAsync(draining);
                Task serving = ServeAsync(connection, serve, draining);
                if (!serving.IsCompleted)
                {
                    _open[connection] = serving;
                    _ = serving.ContinueWith((_, key) => _open.TryRemove((Connection)key!, out Task? _), connection, TaskScheduler.Default);
                }
            }
        }
        catch (OperationCanceledException) when (draining.IsCancellationRequested)
        {
            // No more connections: what is open goes on.
        }
    }

    /// <summary>One connection's trouble is its own.</summary>
    private static async Task ServeAsync(Connection connection, ServeConnection serve, CancellationToken draining)
    {
        try
        {
            await serve(connection, draining);
            await connection.CloseAsync(CancellationToken.None);
        }
        catch (Exception failure) when (failure is IOException or ObjectDisposedException)
        {
            // The peer reset it, or the kernel is gone, which the accept loop reports.
            connection.Abort();
        }
        catch (Exception failure)
        {
            await Console.Error.WriteLineAsync($"zcd: worker {Environment.ProcessId}: connection {connection.Handle} was aborted by a mistake of the app: {failure.GetType().Name}: {failure.Message}");
            connection.Abort();
        }
    }

    private async Task FinishAsync(KernelClient client)
    {
        TimeSpan patience = client.DrainTimeout > TimeSpan.Zero ? client.DrainTimeout : OwnDrainTimeout;
        await Task.WhenAny(Task.WhenAll(_open.Values), client.Lost, Task.Delay(patience));
        foreach (Connection connection in _open.Keys)
        {
            connection.Abort();
        }
    }
}
