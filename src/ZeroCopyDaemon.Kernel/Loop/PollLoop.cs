using System.Collections.Concurrent;
using System.Diagnostics;
using ZeroCopyDaemon.Kernel.Workers;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.Kernel.Loop;

/// <summary>
/// The one thread that runs a <see cref="KernelCore"/>: turns while there is work, a short spin, then sleep in the poll set until a doorbell, a wire's descriptor, a command or a deadline.
/// Other threads reach the core by <see cref="InvokeAsync{T}"/> only.
/// </summary>
internal sealed class PollLoop : ICounterSource, IAsyncDisposable
{
    /// <summary>Tokens below are worker ids; 0 is free.</summary>
    public const int FirstWireToken = 1 << 16;

    private const long BlockedWorkerRetryUs = 1_000;
    private const int MostTurnsUnasked = 8;
    private readonly KernelCore _core;
    private readonly PollSet _poll;
    private readonly Thread _thread;
    private readonly ConcurrentQueue<Action> _commands = new();
    private readonly Dictionary<int, AttachedWorker> _byToken = [];
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly StallHistogram _stalls = new();
    private readonly long _spinUs;
    private volatile bool _stop;
    private long _sleeps;
    private long _blockedRetryUs = BlockedWorkerRetryUs;

    /// <param name="core">Is this thread's from <see cref="Start"/> on.</param>
    /// <param name="poll">Its wire's descriptors are in there already.</param>
    /// <param name="spinUs">How long to look for work before sleeping.</param>
    public PollLoop(KernelCore core, PollSet poll, long spinUs)
    {
        _core = core;
        _poll = poll;
        _spinUs = spinUs;
        core.WorkerDetached = OnWorkerDetached;
        _thread = new Thread(Run) { Name = "zcd-loop", IsBackground = true };
    }

    /// <summary>Ends when the loop has ended; faulted if it was by an exception.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Microseconds of the monotonic clock that all of the core's times are in.</summary>
    public static long NowUs => (long)(Stopwatch.GetTimestamp() * (1_000_000.0 / Stopwatch.Frequency));

    public void Start() => _thread.Start();

    /// <summary>Runs a function on the loop thread, between turns. Fails if the loop has ended.</summary>
    public async Task<T> InvokeAsync<T>(Func<KernelCore, T> function)
    {
        var result = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        _commands.Enqueue(() =>
        {
            try
            {
                result.SetResult(function(_core));
            }
            catch (KernelHostException e)
            {
                result.SetException(e);
            }
        });
        _poll.Wake();
        Task first = await Task.WhenAny(result.Task, _ended.Task).ConfigureAwait(false);
        if (first != result.Task && !result.Task.IsCompleted)
        {
            throw new KernelHostException("The kernel host's loop has ended.");
        }

        return await result.Task.ConfigureAwait(false);
    }

    /// <summary>Watches a worker's doorbell. Loop thread.</summary>
    public void Watch(AttachedWorker worker)
    {
        _byToken[worker.Id] = worker;
        _poll.Add(worker.Doorbell.Fd, worker.Id, read: true, write: false);
    }

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        _stalls.VisitCounters(visitor);
        visitor.Counter("kernel.sleeps", _sleeps);
    }

    /// <summary>Stops the thread and waits for it.</summary>
    public async ValueTask DisposeAsync()
    {
        _stop = true;
        _poll.Wake();
        if (_thread.ThreadState.HasFlag(System.Threading.ThreadState.Unstarted))
        {
            return;
        }

        await _ended.Task.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _thread.Join();
    }

    private void Run()
    {
        try
        {
            Loop();
            _ended.SetResult();
        }
        catch (Exception e)
        {
            _ended.SetException(e);
        }
    }

    private void Loop()
    {
        var events = new PollEvent[256];
        long idleSince = 0;
        int unasked = 0;
        while (!_stop)
        {
            long now = NowUs;

            // A wire that has said that more is waiting needs no asking; the others' turn comes soon enough.
            int ready = 0;
            if (!_core.Wire.NeedsPoll || ++unasked >= MostTurnsUnasked)
            {
                unasked = 0;
                ready = _poll.Wait(events, 0);
                Dispatch(events.AsSpan(0, ready), now);
            }

            RunCommands();
            int work = _core.RunOnce(now) + ready;
            long after = NowUs;
            _stalls.Add(after - now);
            if (work > 0)
            {
                idleSince = 0;
                continue;
            }

            idleSince = idleSince == 0 ? after : idleSince;
            if (after - idleSince < _spinUs || _core.HasWork(after))
            {
                Thread.SpinWait(20);
                continue;
            }

            Sleep(events, after);
        }
    }

    /// <summary>Says so, looks once more, sleeps.</summary>
    private void Sleep(PollEvent[] events, long nowUs)
    {
        _core.SetSleeping(true);
        Interlocked.MemoryBarrier();
        if (!_core.HasWork(nowUs) && _commands.IsEmpty && !_stop)
        {
            long deadline = _core.NextDeadlineUs;
            if (_core.IsTxHeldBack)
            {
                deadline = Math.Min(deadline, nowUs + BlockedWorkerRetryUs);
            }

            if (_core.HasBlockedWorker)
            {
                // A worker need not ring when it has only made room: look again by ourselves, less and less often.
                deadline = Math.Min(deadline, nowUs + _blockedRetryUs);
                _blockedRetryUs = Math.Min(_blockedRetryUs * 2, 50_000);
            }
            else
            {
                _blockedRetryUs = BlockedWorkerRetryUs;
            }

            long timeout = deadline == long.MaxValue ? -1 : Math.Max(0, deadline - nowUs);
            _sleeps++;
            int ready = _poll.Wait(events, timeout);
            _core.SetSleeping(false);
            Dispatch(events.AsSpan(0, ready), NowUs);
            return;
        }

        _core.SetSleeping(false);
    }

    private void Dispatch(ReadOnlySpan<PollEvent> events, long nowUs)
    {
        foreach (ref readonly PollEvent e in events)
        {
            if (e.Token >= FirstWireToken)
            {
                _core.Wire.OnReady(e);
            }
            else if (_byToken.TryGetValue(e.Token, out AttachedWorker? worker) && worker.Doorbell.Drain() == BellState.HungUp)
            {
                _core.Detach(worker, DetachReason.Exited, nowUs);
            }
        }
    }

    private void RunCommands()
    {
        while (_commands.TryDequeue(out Action? command))
        {
            command();
        }
    }

    private void OnWorkerDetached(AttachedWorker worker)
    {
        if (_byToken.Remove(worker.Id))
        {
            _poll.Remove(worker.Doorbell.Fd);
        }
    }
}
