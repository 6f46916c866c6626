using ZeroCopyDaemon.Memory.Native;

namespace ZeroCopyDaemon.Memory.Doorbells;

/// <summary>
/// The kernel's side of a worker's doorbell: a word that grows with each ring, and on which the worker sleeps (a futex on Linux; elsewhere the worker looks at it now and then).
/// <see cref="RingIfAsleep"/> belongs to the loop's thread; <see cref="Ring"/> may be called from any. Owns no memory.
/// </summary>
public sealed unsafe class WorkerBell
{
    private readonly uint* _bell;
    private readonly uint* _sleeping;
    private readonly bool _futex;
    private uint _rungFor;
    private long _rings;

    /// <param name="bellWord">u32 in the kernel-written area.</param>
    /// <param name="sleepingWord">u32 in the worker-written area.</param>
    /// <param name="futex">Whether the worker sleeps on the word in Linux; ignored where there are no futexes.</param>
    public WorkerBell(byte* bellWord, byte* sleepingWord, bool futex)
    {
        _bell = BellWord.Check(bellWord);
        _sleeping = BellWord.Check(sleepingWord);
        _futex = futex && Linux.IsSupported;
    }

    /// <summary>Times the bell was rung.</summary>
    public long Rings => Volatile.Read(ref _rings);

    /// <summary>
    /// To be called after publishing: rings if the worker has said that it sleeps, and once only for each time that it said so. True if a system call was made.
    /// </summary>
    public bool RingIfAsleep()
    {
        // What was published must be visible before we look whether somebody sleeps; the worker does the same the other way round. So at least one of the two sees the other.
        Interlocked.MemoryBarrier();
        uint announcement = Volatile.Read(ref *_sleeping);
        if (announcement == 0 || announcement == _rungFor)
        {
            return false;
        }

        _rungFor = announcement;
        Ring();
        return _futex;
    }

    /// <summary>Rings, whether the worker sleeps or not.</summary>
    public void Ring()
    {
        Interlocked.Increment(ref *_bell);
        Interlocked.Increment(ref _rings);
        if (_futex)
        {
            Linux.FutexWake(_bell);
        }
    }
}
