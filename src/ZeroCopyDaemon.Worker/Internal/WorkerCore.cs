using System.Collections.Concurrent;
using System.Diagnostics;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Rings;
using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.Worker.Internal;

/// <summary>
/// Everything of a worker but the control service: rings, doorbells, connections, leases, TX memory, and the loop that serves them. Knows no gRPC and opens no mapping, so that a test can be
/// its kernel.
/// <para><b>Threads.</b> One loop thread reads completions and completes operations (<see cref="RunOnce"/>). Any thread submits. A connection's state is guarded by its own lock; under it come
/// only the locks of the submission queue, the send table, the TX area and the idle batches, each of which takes no other. No lock is held while an operation is signalled, for the
/// application's code may run in there.</para>
/// </summary>
internal sealed unsafe class WorkerCore
{
    private const int CompletionsPerRun = 256;
    private const int IdleBatchesKept = 4096;
    private const int SpinIterations = 20;
    private static readonly long s_spinTicks = Stopwatch.Frequency / 20_000;

    /// <summary>While submissions wait for room in their ring: the kernel drains it without telling.</summary>
    private const long LookForRoomUs = 500;

    private readonly WorkerAreas _areas;
    private readonly RingConsumer<Completion> _completions;
    private readonly SubmissionQueue _submissions;
    private readonly WorkerSleeper _sleeper;
    private readonly CounterArea _counters;
    private readonly MappingHold _hold;
    private readonly SendTable _sends = new();
    private readonly ConcurrentDictionary<uint, Connection> _connections = new();
    private readonly ConcurrentDictionary<uint, AcceptQueue> _listeners = new();
    private readonly TaskCompletionSource<KernelLostException> _lostTask = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _idleGate = new();
    private ReceiveBatch? _idleBatches;
    private int _idleBatchCount;
    private Loss? _lost;
    private Thread? _thread;
    private int _loopThread;
    private bool _unpublished;
    private bool _shed;

    public WorkerCore(WorkerAreas areas, WorkerScheduling scheduling)
    {
        _areas = areas;
        Inline = scheduling == WorkerScheduling.Inline;
        _hold = new MappingHold(areas.Unmap);
        _counters = new CounterArea(areas.Own);
        _completions = new RingConsumer<Completion>(
            areas.Kernel + WorkerAreaLayout.HeaderBytes, areas.CompletionEntries, areas.Own + WorkerAreaLayout.CompletionHeadOffset, areas.Kernel + WorkerAreaLayout.CompletionTailOffset);
        var submissions = new RingProducer<Submission>(
            areas.Own + WorkerAreaLayout.HeaderBytes, areas.SubmissionEntries, areas.Own + WorkerAreaLayout.SubmissionTailOffset, areas.Kernel + WorkerAreaLayout.SubmissionHeadOffset);
        _submissions = new SubmissionQueue(submissions, (uint*)(areas.Kernel + WorkerAreaLayout.KernelSleepingOffset), _counters, areas.RingKernel);
        _sleeper = new WorkerSleeper(areas.Kernel + WorkerAreaLayout.BellOffset, areas.Own + WorkerAreaLayout.WorkerSleepingOffset, areas.FutexBell);
        Tx = new TxArea(areas.Tx, areas.TxBytes, _hold, Inline);
    }

    public TxArea Tx { get; }

    public bool Inline { get; }

    public int MaxSendsPerConnection => _areas.MaxSendsPerConnection;

    public bool IsLost => Volatile.Read(ref _lost) is not null;

    /// <summary>Done when the kernel is lost and every operation that was pending has been told.</summary>
    public Task<KernelLostException> Lost => _lostTask.Task;

    public ICollection<Connection> Connections => _connections.Values;

    /// <summary>Sends that were not acknowledged yet.</summary>
    public int SendsOutstanding => _sends.Outstanding;

    /// <summary>Those who may touch the mappings, the client included.</summary>
    public int Holds => _hold.Count;

    /// <summary>Payload bytes that the kernel said it had to copy.</summary>
    public long KernelCopiedBytes { get; private set; }

    /// <summary>Times that the kernel said it had nothing to allocate for one of this worker's connections.</summary>
    public long NoMemoryEvents { get; private set; }

    public bool OnLoopThread => Environment.CurrentManagedThreadId == Volatile.Read(ref _loopThread);

    public void Start(string name)
    {
        // A client that the application forgot must not keep its process.
        _thread = new Thread(Loop) { IsBackground = true, Name = name };
        _thread.Start();
    }

    /// <summary>
    /// Ends everything with the one typed error. The first reason counts; the loop thread does the rest at once. Any thread.
    /// </summary>
    public void Fail(DetachReason reason, string? message = null, Exception? inner = null)
    {
        var loss = new Loss(reason, message ?? KernelLostException.Describe(reason), inner);
        if (Interlocked.CompareExchange(ref _lost, loss, null) is null)
        {
            _sleeper.Interrupt();
        }
    }

    /// <summary>As <see cref="Fail"/>, for one who noticed that the kernel doesn't answer: it may have left word why.</summary>
    public void FailGone(string noticed)
    {
        if (!IsLost && _hold.TryTake())
        {
            DetachReason reason = DetachedReason;
            _hold.Release();
            Fail(reason, reason == DetachReason.None ? $"The kernel host is gone: {noticed}." : null);
        }
    }

    /// <summary>Waits for the loop's end and lets the mappings go, once nobody holds a lease or a TX buffer any more. After <see cref="Fail"/>; not on the loop thread.</summary>
    public void Close()
    {
        if (_thread is null)
        {
            RunOnce();
        }
        else
        {
            _thread.Join();
        }

        _hold.Release();
    }

    public KernelLostException LostException()
    {
        Loss loss = _lost!;
        return new KernelLostException(loss.Reason, loss.Message, loss.Inner);
    }

    public void ThrowIfLost()
    {
        if (IsLost)
        {
            throw LostException();
        }
    }

    /// <summary>
    /// Whether the kernel is lost, by its own word too: it writes that before it gives a page away, so who looks after reading a page knows whether what he read was still his. For one who
    /// holds a lease.
    /// </summary>
    public bool FindLoss()
    {
        if (!IsLost && DetachedReason is var reason and not DetachReason.None)
        {
            Fail(reason);
        }

        return IsLost;
    }

    public void Count(WorkerCounter counter, long value) => _counters.Add(counter, value);

    public long Counter(WorkerCounter counter) => _counters[counter];

    /// <summary>Adds a submission; <see cref="Publish"/> must follow.</summary>
    public void Submit(in Submission submission)
    {
        if (_submissions.Add(submission) && !OnLoopThread)
        {
            _sleeper.Interrupt();
        }
    }

    public void SubmitRelease(ulong lease) => Submit(new Submission { Op = SubmissionOp.Release, Value = lease });

    /// <summary>Lets the kernel see what was submitted: now, or at the end of the loop's batch if this is the loop.</summary>
    public void Publish()
    {
        if (OnLoopThread)
        {
            _unpublished = true;
        }
        else
        {
            PublishNow();
        }
    }

    public void PublishNow()
    {
        if (!_submissions.Publish())
        {
            FailGone("nobody listens on its doorbell");
        }
    }

    public Task WhenAllPublished() => _submissions.WhenAllPublished();

    /// <summary>False: this worker has that listener already.</summary>
    public bool TryAddListener(AcceptQueue listener)
    {
        if (!_listeners.TryAdd(listener.Id, listener))
        {
            return false;
        }

        if (IsLost)
        {
            listener.Complete(LostException());
        }

        return true;
    }

    public void RemoveListener(AcceptQueue listener) => _listeners.TryRemove(KeyValuePair.Create(listener.Id, listener));

    /// <summary>From here on the handle is the kernel's to use again: before its close or abort is submitted.</summary>
    public void Forget(Connection connection) => _connections.TryRemove(connection.Handle, out _);

    public uint AddSend(Connection connection, int block) => _sends.Add(connection, block);

    public ReceiveBatch RentBatch()
    {
        _hold.Take();
        lock (_idleGate)
        {
            if (_idleBatches is { } batch)
            {
                _idleBatches = batch.NextIdle;
                batch.NextIdle = null;
                _idleBatchCount--;
                return batch;
            }
        }

        return new ReceiveBatch(this);
    }

    public void Recycle(ReceiveBatch batch)
    {
        lock (_idleGate)
        {
            if (_idleBatchCount < IdleBatchesKept)
            {
                batch.NextIdle = _idleBatches;
                _idleBatches = batch;
                _idleBatchCount++;
            }
        }

        _hold.Release();
    }

    /// <summary>One turn of the loop: completions in, what follows from them out. Returns completions handled.</summary>
    public int RunOnce()
    {
        Volatile.Write(ref _loopThread, Environment.CurrentManagedThreadId);
        try
        {
            if (FindLoss())
            {
                Shed();
                return 0;
            }

            int handled = 0;
            while (handled < CompletionsPerRun && _completions.TryRead(out Completion completion))
            {
                handled++;
                Dispatch(completion);
            }

            if (handled > 0)
            {
                Retire();
            }

            if (_unpublished || _submissions.Waiting > 0)
            {
                _unpublished = false;
                PublishNow();
            }

            if (_completions.Corrupt || _submissions.Corrupt)
            {
                Fail(DetachReason.None, "The kernel host wrote a ring index out of range.");
            }

            return handled;
        }
        finally
        {
            Volatile.Write(ref _loopThread, 0);
        }
    }

    private DetachReason DetachedReason => (DetachReason)Volatile.Read(ref *(uint*)(_areas.Kernel + WorkerAreaLayout.DetachedOffset));

    private bool HasWork => _completions.Available > 0 || IsLost || DetachedReason != DetachReason.None || _completions.Corrupt;

    private void Loop()
    {
        try
        {
            while (!_shed)
            {
                if (RunOnce() == 0 && !_shed && !SpinForWork())
                {
                    Sleep();
                }
            }
        }
        catch (Exception e)
        {
            Fail(DetachReason.None, $"The worker's event loop failed: {e.Message}", e);
            RunOnce();
        }
    }

    private bool SpinForWork()
    {
        if (!_areas.Spin)
        {
            return false;
        }

        long start = Stopwatch.GetTimestamp();
        do
        {
            if (HasWork)
            {
                return true;
            }

            Thread.SpinWait(SpinIterations);
        }
        while (Stopwatch.GetTimestamp() - start < s_spinTicks);
        return false;
    }

    private void Sleep()
    {
        _sleeper.Announce();
        if (!HasWork)
        {
            Count(WorkerCounter.Sleeps, 1);
            Count(WorkerCounter.Syscalls, 1);
            _sleeper.Sleep(_submissions.Waiting > 0 ? LookForRoomUs : -1);
        }

        _sleeper.Cancel();
    }

    private void Retire()
    {
        uint head = *(uint*)(_areas.Own + WorkerAreaLayout.CompletionHeadOffset);
        _completions.Retire();

        // A kernel that found the ring full has no other way to learn that there is room again.
        Interlocked.MemoryBarrier();
        uint tail = Volatile.Read(ref *(uint*)(_areas.Kernel + WorkerAreaLayout.CompletionTailOffset));
        if (tail - head >= (uint)_areas.CompletionEntries && !_submissions.WakeKernel())
        {
            FailGone("nobody listens on its doorbell");
        }
    }

    private void Dispatch(in Completion completion)
    {
        switch (completion.Kind)
        {
            case CompletionKind.Data:
                OnData(completion);
                break;
            case CompletionKind.Sent:
                OnSent(completion);
                break;
            case CompletionKind.Accepted:
                OnAccepted(completion);
                break;
            case CompletionKind.PeerClosed:
                Find(completion.Connection)?.OnPeerClosed();
                break;
            case CompletionKind.Failed:
                Find(completion.Connection)?.OnFailed(completion.Status);
                break;
            case CompletionKind.Refused:
                OnRefused(completion);
                break;
            case CompletionKind.Copied:
                KernelCopiedBytes += completion.Length;
                break;
            case CompletionKind.NoMemory:
                NoMemoryEvents++;
                break;
            default:
                Fail(DetachReason.None, $"The kernel host sent a completion of an unexpected kind ({completion.Kind}).");
                break;
        }
    }

    private void OnAccepted(in Completion completion)
    {
        var connection = new Connection(this, completion);
        if (!_connections.TryAdd(completion.Connection, connection))
        {
            Fail(DetachReason.None, "The kernel host gave out a connection handle that is in use.");
            return;
        }

        if (!_listeners.TryGetValue(completion.Tag, out AcceptQueue? listener) || !listener.TryOffer(connection))
        {
            // It came while the listener was being left.
            connection.Abort();
        }
    }

    private void OnData(in Completion completion)
    {
        if (completion.Area != WorkerAreaLayout.RxArea || completion.Value > (ulong)_areas.RxBytes || completion.Length > (ulong)_areas.RxBytes - completion.Value || completion.Length > int.MaxValue)
        {
            Fail(DetachReason.None, "The kernel host handed out data outside of the RX area.");
            return;
        }

        if (Find(completion.Connection) is { } connection && connection.OnData(completion, _areas.Rx + completion.Value))
        {
            return;
        }

        // It was on its way when the application closed the connection.
        SubmitRelease(completion.Lease);
        Publish();
    }

    private void OnSent(in Completion completion)
    {
        if (!_sends.TryRemove(completion.Tag, out Connection? connection, out int block))
        {
            Fail(DetachReason.None, "The kernel host completed a send that isn't outstanding.");
            return;
        }

        if (block >= 0)
        {
            Tx.Free(block);
        }

        connection.OnSent(completion.Status);
    }

    private void OnRefused(in Completion completion)
    {
        if (_sends.TryRemove(completion.Tag, out Connection? connection, out int block))
        {
            if (block >= 0)
            {
                Tx.Free(block);
            }

            connection.OnSent(completion.Status);
        }
        else
        {
            connection = Find(completion.Connection);
        }

        connection?.OnRefused(completion.Status);
    }

    private Connection? Find(uint handle) => _connections.GetValueOrDefault(handle);

    /// <summary>Tells everybody, once.</summary>
    private void Shed()
    {
        if (_shed)
        {
            return;
        }

        _shed = true;
        _submissions.Close();
        foreach (AcceptQueue listener in _listeners.Values)
        {
            listener.Complete(LostException());
        }

        Tx.Lose(LostException());
        foreach (Connection connection in _connections.Values)
        {
            connection.OnKernelLost();
        }

        _connections.Clear();
        _listeners.Clear();
        _lostTask.TrySetResult(LostException());
    }

    private sealed record Loss(DetachReason Reason, string Message, Exception? Inner);
}
