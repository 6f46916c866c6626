using System.Collections.Concurrent;

namespace ZeroCopyDaemon.Cli.Hosting;

/// <summary>
/// Keeps a number of worker processes running: starts them, replaces the dead after a wait (<see cref="RestartBackoff"/>), and sees to it that none is left at the end. The first worker
/// starts alone: what it can't do (open the port, say) none of them can, and one line about that is enough. Members may be called from any thread.
/// </summary>
internal sealed class Supervisor : IAsyncDisposable
{
    private readonly IWorkerLauncher _launcher;
    private readonly int _count;
    private readonly TimeProvider _time;
    private readonly Action<string> _report;
    private readonly CancellationTokenSource _stop = new();
    private readonly ConcurrentDictionary<int, IWorkerProcess> _running = new();
    private readonly List<Task> _slots = [];
    private readonly TaskCompletionSource<int> _startFailed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _settled;

    /// <param name="launcher">Starts the processes.</param>
    /// <param name="count">How many are to run.</param>
    /// <param name="time">Measures lives and waits.</param>
    /// <param name="report">Told a line for each worker that died and is replaced.</param>
    public Supervisor(IWorkerLauncher launcher, int count, TimeProvider time, Action<string> report)
    {
        _launcher = launcher;
        _count = count;
        _time = time;
        _report = report;
    }

    /// <summary>Ends, with its exit code, when a worker has died of itself before <see cref="Settle"/>: it has said why on standard error.</summary>
    public Task<int> StartFailed => _startFailed.Task;

    /// <summary>Processes that run now.</summary>
    public IReadOnlyCollection<int> Pids => [.. _running.Values.Select(p => p.Pid)];

    /// <summary>Starts the first worker.</summary>
    public void StartFirst()
    {
        if (_count > 0)
        {
            _slots.Add(RunSlotAsync(0));
        }
    }

    /// <summary>Starts the others.</summary>
    public void StartOthers()
    {
        for (int slot = 1; slot < _count; slot++)
        {
            _slots.Add(RunSlotAsync(slot));
        }
    }

    /// <summary>The start is over: from now on the dead are replaced.</summary>
    public void Settle() => _settled = true;

    /// <summary>Replaces nobody any more. The workers themselves are told by the kernel host.</summary>
    public void StopReplacing() => _stop.Cancel();

    /// <summary>Waits until all have ended; kills who still runs after <paramref name="patience"/>.</summary>
    public async Task EndAsync(TimeSpan patience)
    {
        StopReplacing();
        Task all = Task.WhenAll(_slots);
        if (await Task.WhenAny(all, Task.Delay(patience, _time)) != all)
        {
            KillAll();
            await all;
        }
    }

    /// <summary>Ends all at once.</summary>
    public void KillAll()
    {
        StopReplacing();
        foreach (IWorkerProcess process in _running.Values)
        {
            process.Kill();
        }
    }

    public async ValueTask DisposeAsync()
    {
        KillAll();
        await Task.WhenAll(_slots);
        _stop.Dispose();
    }

    private static string Describe(int exitCode) => exitCode switch
    {
        137 => "was killed",
        > 128 and < 192 => $"died of signal {exitCode - 128}",
        _ => $"exited with {exitCode}",
    };

    private async Task RunSlotAsync(int slot)
    {
        RestartBackoff backoff = new();
        while (!_stop.IsCancellationRequested)
        {
            long born = _time.GetTimestamp();
            IWorkerProcess process = _launcher.Start(slot);
            _running[slot] = process;
            if (_stop.IsCancellationRequested)
            {
                // A stop that came while it started may have missed it.
                process.Kill();
            }

            int code = await process.Exited;
            _running.TryRemove(slot, out _);
            int pid = process.Pid;
            process.Dispose();
            if (_stop.IsCancellationRequested)
            {
                return;
            }

            if (!_settled)
            {
                _startFailed.TrySetResult(code);
                return;
            }

            TimeSpan wait = backoff.After(_time.GetElapsedTime(born));
            _report($"worker process {pid} {Describe(code)}; another one starts in {wait.TotalSeconds:0.0##} s");
            try
            {
                await Task.Delay(wait, _time, _stop.Token);
            }
            catch (OperationCanceledException)
            {
                return;
            }
        }
    }
}
