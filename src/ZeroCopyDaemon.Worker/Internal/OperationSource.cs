using System.Runtime.CompilerServices;
using System.Threading.Tasks.Sources;

namespace ZeroCopyDaemon.Worker.Internal;

/// <summary>
/// What stands behind a <see cref="ValueTask"/> that is used again and again: one awaiting caller, one completion, no allocation. Who completes it, of loop, cancellation and loss of the
/// kernel, is settled by <see cref="TryClaim()"/>; only the one who got it may <see cref="Signal"/>.
/// <para>Completion is a single exchange of the continuation field, and the completer touches nothing after it but what it took out: the caller may have begun the next operation
/// meanwhile. (The framework's own reusable source sets two fields one after the other, and needs a lock around reuse.)</para>
/// </summary>
internal abstract class OperationSource(bool inline)
{
    private const long Idle = 0;
    private const long Reserved = 1;
    private const long Pending = 2;
    private const long Claimed = 3;
    private const long PhaseMask = 3;
    private const long OneUse = 4;

    private static readonly Action<object?> s_done = static _ => throw new InvalidOperationException("A mark, not a continuation.");

    private long _phase;
    private Action<object?>? _continuation;
    private object? _state;
    private object? _scheduler;
    private ExecutionContext? _context;
    private Exception? _error;
    private CancellationToken _cancellation;
    private CancellationTokenRegistration _registration;

    /// <summary>True from <see cref="TryReserve"/> until the caller has taken the result.</summary>
    public bool IsBusy => (Volatile.Read(ref _phase) & PhaseMask) != Idle;

    /// <summary>True while it waits for its completion.</summary>
    public bool IsPending => (Volatile.Read(ref _phase) & PhaseMask) == Pending;

    /// <summary>Names this use of the source. Constant from reservation until the result is taken.</summary>
    public short Token => (short)(Volatile.Read(ref _phase) >> 2);

    /// <summary>Takes the source for a new operation. False: the one before is not over.</summary>
    public bool TryReserve()
    {
        long phase = Volatile.Read(ref _phase);
        return (phase & PhaseMask) == Idle && Interlocked.CompareExchange(ref _phase, phase | Reserved, phase) == phase;
    }

    /// <summary>From here on it can be completed.</summary>
    public void Arm() => Volatile.Write(ref _phase, (_phase & ~PhaseMask) | Pending);

    /// <summary>Lets the token end the operation. After <see cref="Arm"/>, before the caller gets its <see cref="ValueTask"/>, outside of locks: a token that is cancelled already calls back at once.</summary>
    public void CancelBy(CancellationToken cancellation)
    {
        if (cancellation.CanBeCanceled)
        {
            _cancellation = cancellation;
            _registration = cancellation.UnsafeRegister(static (source, token) => ((OperationSource)source!).Cancel(token), this);
        }
    }

    /// <summary>True for exactly one caller per operation.</summary>
    public bool TryClaim()
    {
        long phase = Volatile.Read(ref _phase);
        return (phase & PhaseMask) == Pending && TryClaim(phase);
    }

    /// <summary>Completes the claimed operation. Outside of locks: with inline scheduling the caller's code runs in here.</summary>
    public void Signal(Exception? error = null)
    {
        _error = error;
        Action<object?>? continuation = Interlocked.Exchange(ref _continuation, s_done);
        if (continuation is not null)
        {
            // A caller who waits touches nothing until it is called, so these fields are still this operation's.
            Run(continuation, _state, _scheduler, _context, inline);
        }
    }

    public ValueTaskSourceStatus GetStatus(short token)
    {
        Check(token);
        return !IsDone ? ValueTaskSourceStatus.Pending
            : _error is null ? ValueTaskSourceStatus.Succeeded
            : _error is OperationCanceledException ? ValueTaskSourceStatus.Canceled
            : ValueTaskSourceStatus.Faulted;
    }

    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags)
    {
        Check(token);
        _state = state;
        if ((flags & ValueTaskSourceOnCompletedFlags.FlowExecutionContext) != 0)
        {
            _context = ExecutionContext.Capture();
        }

        if ((flags & ValueTaskSourceOnCompletedFlags.UseSchedulingContext) != 0)
        {
            if (SynchronizationContext.Current is { } current && current.GetType() != typeof(SynchronizationContext))
            {
                _scheduler = current;
            }
            else if (TaskScheduler.Current != TaskScheduler.Default)
            {
                _scheduler = TaskScheduler.Current;
            }
        }

        object? scheduler = _scheduler;
        ExecutionContext? context = _context;
        Action<object?>? before = Interlocked.CompareExchange(ref _continuation, continuation, null);
        if (ReferenceEquals(before, s_done))
        {
            // Done in the meantime. Never on this stack: the caller is in the middle of its await.
            Run(continuation, state, scheduler, context, inline: false);
        }
        else if (before is not null)
        {
            throw new InvalidOperationException("This operation is awaited already.");
        }
    }

    /// <summary>What cancellation has to undo beyond this operation. Outside of locks, before the caller hears of it.</summary>
    protected virtual void OnCancelled()
    {
    }

    /// <summary>Called by a result getter first: throws unless the operation is done.</summary>
    protected void CheckDone(short token)
    {
        Check(token);
        if (!IsDone)
        {
            throw new InvalidOperationException("The operation is not done: await it, or use AsTask() to block on it.");
        }
    }

    /// <summary>Called by a result getter last: the source is free for the next operation; throws the operation's error.</summary>
    protected void Finish()
    {
        Exception? error = _error;
        CancellationTokenRegistration registration = _registration;
        _error = null;
        _state = null;
        _scheduler = null;
        _context = null;
        _registration = default;
        _cancellation = default;
        _continuation = null;
        Volatile.Write(ref _phase, (_phase & ~PhaseMask) + OneUse);
        registration.Unregister();
        if (error is not null)
        {
            throw error;
        }
    }

    private bool IsDone => ReferenceEquals(Volatile.Read(ref _continuation), s_done);

    private bool TryClaim(long phase) => Interlocked.CompareExchange(ref _phase, (phase & ~PhaseMask) | Claimed, phase) == phase;

    private void Cancel(CancellationToken token)
    {
        // A callback may be late and find the next operation here. It is that one's token if it is the same; else the exact phase, which counts uses, keeps it from claiming.
        long phase = Volatile.Read(ref _phase);
        if ((phase & PhaseMask) == Pending && _cancellation == token && TryClaim(phase))
        {
            OnCancelled();
            Signal(new OperationCanceledException(token));
        }
    }

    private void Check(short token)
    {
        if (token != Token)
        {
            throw new InvalidOperationException("This ValueTask was awaited before: its operation is over.");
        }
    }

    private static void Run(Action<object?> continuation, object? state, object? scheduler, ExecutionContext? context, bool inline)
    {
        if (context is null)
        {
            Schedule(continuation, state, scheduler, inline);
        }
        else
        {
            ExecutionContext.Run(
                context,
                static box =>
                {
                    var (continuation, state, scheduler, inline) = ((Action<object?>, object?, object?, bool))box!;
                    Schedule(continuation, state, scheduler, inline, flow: true);
                },
                (continuation, state, scheduler, inline));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Schedule(Action<object?> continuation, object? state, object? scheduler, bool inline, bool flow = false)
    {
        if (scheduler is SynchronizationContext synchronization)
        {
            synchronization.Post(static box =>
            {
                var (continuation, state) = ((Action<object?>, object?))box!;
                continuation(state);
            }, (continuation, state));
        }
        else if (scheduler is TaskScheduler tasks)
        {
            _ = Task.Factory.StartNew(continuation, state, CancellationToken.None, TaskCreationOptions.DenyChildAttach, tasks);
        }
        else if (inline)
        {
            continuation(state);
        }
        else if (flow)
        {
            ThreadPool.QueueUserWorkItem(continuation, state, preferLocal: false);
        }
        else
        {
            ThreadPool.UnsafeQueueUserWorkItem(continuation, state, preferLocal: false);
        }
    }
}

/// <summary>An operation without a result.</summary>
internal sealed class SignalOperation(bool inline) : OperationSource(inline), IValueTaskSource
{
    public void GetResult(short token)
    {
        CheckDone(token);
        Finish();
    }

    public ValueTask Task => new(this, Token);
}
