using System.Runtime.CompilerServices;

namespace ZeroCopyDaemon.Protocol;

/// <summary>
/// Where things lie in the two control areas that a worker shares with the kernel. What the kernel writes and what the worker writes are different mappings (the worker's view of
/// the first is read-only), and words that different sides poll have a cache line each.
/// </summary>
public static class WorkerAreaLayout
{
    /// <summary>Raised with every change of a descriptor or of this layout.</summary>
    public const uint Version = 1;

    /// <summary>"ZCD1".</summary>
    public const uint Magic = 0x3144435A;

    /// <summary>Bytes before the entries in either area.</summary>
    public const int HeaderBytes = 4096;

    /// <summary>Area id of the RX pool in <see cref="Completion.Area"/>.</summary>
    public const ushort RxArea = 1;

    // Kernel-written area (read-only for the worker).

    /// <summary>u32: <see cref="Magic"/>.</summary>
    public const int MagicOffset = 0;

    /// <summary>u32: <see cref="Version"/>.</summary>
    public const int VersionOffset = 4;

    /// <summary>u64: the kernel host's epoch, another one after each start.</summary>
    public const int EpochOffset = 8;

    /// <summary>u32: why the kernel detached this worker, 0 while attached (<see cref="DetachReason"/>).</summary>
    public const int DetachedOffset = 64;

    /// <summary>u32: the worker's doorbell, a futex word: grows with each ring.</summary>
    public const int BellOffset = 128;

    /// <summary>u32: 1 while the kernel's loop sleeps, or is about to: ring its doorbell after publishing.</summary>
    public const int KernelSleepingOffset = 192;

    /// <summary>u32: completion ring's producer index.</summary>
    public const int CompletionTailOffset = 256;

    /// <summary>u32: submission ring's consumer index.</summary>
    public const int SubmissionHeadOffset = 320;

    // Worker-written area.

    /// <summary>u32: submission ring's producer index.</summary>
    public const int SubmissionTailOffset = 0;

    /// <summary>u32: completion ring's consumer index.</summary>
    public const int CompletionHeadOffset = 64;

    /// <summary>u32: not 0 while the worker sleeps, or is about to.</summary>
    public const int WorkerSleepingOffset = 128;

    /// <summary>First of <see cref="WorkerCounterCount"/> u64 counters that the worker keeps (see <see cref="WorkerCounter"/>).</summary>
    public const int CountersOffset = 512;

    /// <summary>Counters there is room for.</summary>
    public const int WorkerCounterCount = 64;

    /// <summary>Bytes of the kernel-written area for a completion ring of so many entries (a power of two).</summary>
    public static long KernelAreaBytes(int completionEntries) => RoundToPage(HeaderBytes + ((long)completionEntries * Unsafe.SizeOf<Completion>()));

    /// <summary>Bytes of the worker-written area for a submission ring of so many entries (a power of two).</summary>
    public static long WorkerAreaBytes(int submissionEntries) => RoundToPage(HeaderBytes + ((long)submissionEntries * Unsafe.SizeOf<Submission>()));

    /// <summary>
    /// A number that both sides compute from their own structs and that must agree at attach: descriptor sizes, field offsets, header offsets, version.
    /// </summary>
    public static ulong Fingerprint { get; } = ComputeFingerprint();

    private static long RoundToPage(long bytes) => (bytes + 4095) & ~4095L;

    private static ulong ComputeFingerprint()
    {
        ulong hash = 14695981039346656037;
        Submission submission = default;
        Completion completion = default;
        ReadOnlySpan<long> facts =
        [
            Version, HeaderBytes, Unsafe.SizeOf<Submission>(), Unsafe.SizeOf<Completion>(),
            Unsafe.ByteOffset(ref Unsafe.As<Submission, byte>(ref submission), ref Unsafe.As<uint, byte>(ref submission.Connection)),
            Unsafe.ByteOffset(ref Unsafe.As<Submission, byte>(ref submission), ref Unsafe.As<ulong, byte>(ref submission.Value)),
            Unsafe.ByteOffset(ref Unsafe.As<Submission, byte>(ref submission), ref Unsafe.As<uint, byte>(ref submission.Length)),
            Unsafe.ByteOffset(ref Unsafe.As<Submission, byte>(ref submission), ref Unsafe.As<uint, byte>(ref submission.Tag)),
            Unsafe.ByteOffset(ref Unsafe.As<Completion, byte>(ref completion), ref Unsafe.As<ulong, byte>(ref completion.Lease)),
            Unsafe.ByteOffset(ref Unsafe.As<Completion, byte>(ref completion), ref Unsafe.As<ulong, byte>(ref completion.Value)),
            Unsafe.ByteOffset(ref Unsafe.As<Completion, byte>(ref completion), ref Unsafe.As<uint, byte>(ref completion.Length)),
            DetachedOffset, BellOffset, KernelSleepingOffset, CompletionTailOffset, SubmissionHeadOffset,
            SubmissionTailOffset, CompletionHeadOffset, WorkerSleepingOffset, CountersOffset,
        ];
        foreach (long fact in facts)
        {
            hash = (hash ^ (ulong)fact) * 1099511628211;
        }

        return hash;
    }
}

/// <summary>The counters that a worker keeps in its own area; the kernel adds them up. Public names in <see cref="WorkerCounters"/>.</summary>
public enum WorkerCounter
{
    /// <summary>Payload bytes that the worker's library copied out of pages (strategy copy).</summary>
    RxPayloadCopiedBytes,

    /// <summary>Payload bytes that the worker's library copied into TX pages on the caller's behalf.</summary>
    TxPayloadCopiedBytes,

    /// <summary>Receives completed.</summary>
    Receives,

    /// <summary>Times the worker's loop went to sleep on its doorbell.</summary>
    Sleeps,

    /// <summary>Doorbells rung for the kernel.</summary>
    KernelBells,

    /// <summary>System calls of the data path (futex, doorbell writes).</summary>
    Syscalls,
}

/// <summary>Public names of the worker's counters.</summary>
public static class WorkerCounters
{
    /// <summary>Names by <see cref="WorkerCounter"/>.</summary>
    public static IReadOnlyList<string> Names { get; } =
    [
        "rx.payload_copied_bytes", "tx.payload_copied_bytes", "worker.receives", "worker.sleeps", "worker.kernel_bells", "worker.syscalls",
    ];
}

/// <summary>Why a worker was detached. Written into the kernel's area and sent on the attach stream.</summary>
public enum DetachReason : uint
{
    None = 0,

    /// <summary>It asked for it.</summary>
    Requested = 1,

    /// <summary>Its process ended.</summary>
    Exited = 2,

    /// <summary>The kernel host is stopping.</summary>
    Shutdown = 3,

    /// <summary>A ring index out of range.</summary>
    RingCorrupt = 16,

    /// <summary>An operation that doesn't exist, or reserved bits set.</summary>
    BadDescriptor = 17,

    /// <summary>A connection or listener handle that is not the worker's.</summary>
    BadHandle = 18,

    /// <summary>A lease that is not the worker's, or was released already.</summary>
    BadLease = 19,

    /// <summary>A TX range outside its area.</summary>
    BadRange = 20,

    /// <summary>More outstanding than the limits of the attach reply allow.</summary>
    LimitExceeded = 21,
}
