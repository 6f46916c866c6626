using ZeroCopyDaemon.Memory.Rings;
using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.Worker.Internal;

/// <summary>
/// The way into the submission ring, from any thread. What finds the ring full waits here, in order, and is moved on by the loop as the kernel makes room; nothing blocks, nothing is lost.
/// What can wait is bounded by what the kernel lets a worker have outstanding.
/// </summary>
internal sealed unsafe class SubmissionQueue(RingProducer<Submission> ring, uint* kernelSleeping, CounterArea counters, Func<bool>? ringKernel)
{
    private readonly Lock _gate = new();
    private readonly Queue<Submission> _overflow = new();
    private TaskCompletionSource? _allPublished;
    private bool _closed;
    private int _waiting;

    /// <summary>Submissions that found the ring full.</summary>
    public int Waiting => Volatile.Read(ref _waiting);

    /// <summary>The kernel's index was out of range.</summary>
    public bool Corrupt => ring.Corrupt;

    /// <summary>Adds one; the kernel sees it after <see cref="Publish"/>. True if it has to wait for room, so that the loop must look after it.</summary>
    public bool Add(in Submission submission)
    {
        lock (_gate)
        {
            if (_closed)
            {
                return false;
            }

            if (_overflow.Count == 0 && ring.TryWrite(submission))
            {
                return false;
            }

            _overflow.Enqueue(submission);
            Volatile.Write(ref _waiting, _overflow.Count);
            return true;
        }
    }

    /// <summary>Lets the kernel see what was added, moves what waited, and rings if the kernel sleeps. False: the kernel is gone.</summary>
    public bool Publish()
    {
        TaskCompletionSource? allPublished = null;
        bool wake;
        lock (_gate)
        {
            if (_closed)
            {
                return true;
            }

            while (_overflow.Count > 0 && ring.TryWrite(_overflow.Peek()))
            {
                _overflow.Dequeue();
            }

            Volatile.Write(ref _waiting, _overflow.Count);
            bool published = ring.Publish();
            if (_overflow.Count == 0)
            {
                allPublished = _allPublished;
                _allPublished = null;
            }

            wake = (published || _overflow.Count > 0) && KernelSleeps();
        }

        allPublished?.TrySetResult();
        return !wake || ringKernel!();
    }

    /// <summary>Rings if the kernel sleeps: for other news than submissions. False: the kernel is gone.</summary>
    public bool WakeKernel()
    {
        lock (_gate)
        {
            if (_closed || !KernelSleeps())
            {
                return true;
            }
        }

        return ringKernel!();
    }

    /// <summary>Done when nothing waits for room any more: the kernel can finish what was submitted, even if this process ends.</summary>
    public Task WhenAllPublished()
    {
        lock (_gate)
        {
            if (_closed || _overflow.Count == 0)
            {
                return Task.CompletedTask;
            }

            _allPublished ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return _allPublished.Task;
        }
    }

    /// <summary>Nothing is written to the ring after this; those who wait for publication are let go.</summary>
    public void Close()
    {
        TaskCompletionSource? allPublished;
        lock (_gate)
        {
            _closed = true;
            _overflow.Clear();
            _waiting = 0;
            allPublished = _allPublished;
            _allPublished = null;
        }

        allPublished?.TrySetResult();
    }

    /// <summary>True if the kernel has to be rung, which is counted. Under the lock: the areas are not touched any more once this is closed.</summary>
    private bool KernelSleeps()
    {
        // What was published must be visible before we look whether the kernel sleeps; it does the same the other way round. So one of us sees the other.
        Interlocked.MemoryBarrier();
        if (ringKernel is null || Volatile.Read(ref *kernelSleeping) == 0)
        {
            return false;
        }

        counters.Add(WorkerCounter.KernelBells, 1);
        counters.Add(WorkerCounter.Syscalls, 1);
        return true;
    }
}
