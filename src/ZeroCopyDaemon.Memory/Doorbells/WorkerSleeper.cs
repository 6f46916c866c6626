using System.Diagnostics;
using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Memory.Native;

namespace ZeroCopyDaemon.Memory.Doorbells;

/// <summary>
/// The worker's side of its doorbell. To sleep: <see cref="Announce"/>, look once more for work, <see cref="Sleep"/> if there was none, <see cref="Cancel"/> in any case, then look for work.
/// One thread sleeps; <see cref="Interrupt"/> may come from any thread of the process. The bell word is in a read-only mapping, the sleeping word in the worker's own. Owns no shared memory; allocates nothing after construction.
/// </summary>
public sealed unsafe class WorkerSleeper
{
    private readonly uint* _bell;
    private readonly uint* _sleeping;

    // [0] interrupted, [16] waiting: on a cache line each, pinned for good because Linux sleeps on the first.
    private readonly uint[] _words;
    private readonly uint* _interrupted;
    private readonly uint* _waiting;
    private readonly SleepWay _way;
    private uint _announcement;
    private uint _bellSeen;

    /// <param name="bellWord">u32 that the kernel writes.</param>
    /// <param name="sleepingWord">u32 that this side alone writes.</param>
    /// <param name="futex">Whether the kernel wakes by futex; without, and where there are no futexes, sleeping is polling each millisecond.</param>
    public WorkerSleeper(byte* bellWord, byte* sleepingWord, bool futex)
        : this(bellWord, sleepingWord, futex && Linux.IsSupported ? (Linux.HasFutexWaitMany ? SleepWay.BothWords : SleepWay.BellOnly) : SleepWay.Poll)
    {
    }

    internal WorkerSleeper(byte* bellWord, byte* sleepingWord, SleepWay way)
    {
        _bell = BellWord.Check(bellWord);
        _sleeping = BellWord.Check(sleepingWord);
        _way = way;
        _words = GC.AllocateArray<uint>(48, pinned: true);
        _interrupted = (uint*)Unsafe.AsPointer(ref _words[0]);
        _waiting = (uint*)Unsafe.AsPointer(ref _words[16]);

        // Announcements are numbered, so that the kernel rings once for each. A worker that takes over an area must not begin with the number that was rung for last.
        _announcement = (uint)Stopwatch.GetTimestamp();
    }

    /// <summary>How a sleeper sleeps.</summary>
    internal enum SleepWay
    {
        /// <summary>futex_waitv on the bell and on the word for interrupts.</summary>
        BothWords,

        /// <summary>Before Linux 5.16, or where a sandbox refuses the call: a futex on the bell alone; an interrupt wakes that one, until it is seen.</summary>
        BellOnly,

        /// <summary>No futex: looks each millisecond.</summary>
        Poll,
    }

    /// <summary>Says that this side is about to sleep. The caller must then look once more for work: what is published later rings the bell.</summary>
    public void Announce()
    {
        _bellSeen = Volatile.Read(ref *_bell);
        uint announcement = _announcement + 1;
        if (announcement == 0)
        {
            announcement = 1;
        }

        _announcement = announcement;
        Volatile.Write(ref *_sleeping, announcement);
        Interlocked.MemoryBarrier();
    }

    /// <summary>
    /// Waits until the bell has rung since <see cref="Announce"/>, or <see cref="Interrupt"/> was called since <see cref="Cancel"/>, or the time is over; negative: no limit.
    /// May return early for no reason.
    /// </summary>
    public void Sleep(long timeoutUs)
    {
        if (Volatile.Read(ref *_bell) != _bellSeen || Volatile.Read(ref *_interrupted) != 0 || timeoutUs == 0)
        {
            return;
        }

        if (_way == SleepWay.Poll)
        {
            SleepPolling(timeoutUs);
            return;
        }

        // As with the bell: say it, fence, look. An interrupt that finds this 0 has set its word before Linux compares it.
        Volatile.Write(ref *_waiting, 1);
        Interlocked.MemoryBarrier();
        if (_way == SleepWay.BothWords)
        {
            SleepOnBoth(timeoutUs);
        }
        else if (Volatile.Read(ref *_interrupted) == 0)
        {
            // Between that look and this call lies the gap that Interrupt closes by waking again and again until _waiting is 0.
            Linux.FutexWait(_bell, _bellSeen, timeoutUs);
        }

        Volatile.Write(ref *_waiting, 0);
    }

    /// <summary>This side is awake again. Whoever calls it looks for work after it, not before: what an interrupt wanted to be seen is visible then.</summary>
    public void Cancel()
    {
        Volatile.Write(ref *_sleeping, 0);
        Interlocked.Exchange(ref *_interrupted, 0);
    }

    /// <summary>Makes the present or the next <see cref="Sleep"/> return at once, until the next <see cref="Cancel"/>. Costs a system call only if somebody sleeps.</summary>
    public void Interrupt()
    {
        if (Interlocked.Exchange(ref *_interrupted, 1) != 0 || Volatile.Read(ref *_waiting) == 0)
        {
            return;
        }

        if (_way == SleepWay.BothWords)
        {
            Linux.FutexWake(_interrupted);
            return;
        }

        var spin = default(SpinWait);
        while (_way == SleepWay.BellOnly && Volatile.Read(ref *_waiting) != 0 && Volatile.Read(ref *_interrupted) != 0)
        {
            Linux.FutexWake(_bell);
            spin.SpinOnce();
        }
    }

    private void SleepOnBoth(long timeoutUs)
    {
        Linux.FutexWaiter* waiters = stackalloc Linux.FutexWaiter[2];
        waiters[0] = new Linux.FutexWaiter { Address = (ulong)_bell, Expected = _bellSeen, Flags = Linux.FutexWaiter.Size32 };
        waiters[1] = new Linux.FutexWaiter { Address = (ulong)_interrupted, Expected = 0, Flags = Linux.FutexWaiter.Size32 };
        Linux.Timespec deadline = timeoutUs < 0 ? default : Linux.MonotonicAfter(timeoutUs);
        Linux.FutexWaitMany(waiters, 2, timeoutUs < 0 ? null : &deadline);
    }

    private void SleepPolling(long timeoutUs)
    {
        long start = Stopwatch.GetTimestamp();
        while (Volatile.Read(ref *_bell) == _bellSeen && Volatile.Read(ref *_interrupted) == 0)
        {
            if (timeoutUs >= 0 && Stopwatch.GetElapsedTime(start).TotalMicroseconds >= timeoutUs)
            {
                return;
            }

            Thread.Sleep(1);
        }
    }
}
