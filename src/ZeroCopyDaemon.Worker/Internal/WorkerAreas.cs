namespace ZeroCopyDaemon.Worker.Internal;

/// <summary>Where the memory shared with the kernel lies in this process, and what the kernel said about it. Addresses only; <see cref="Unmap"/> is called when nobody touches them any more.</summary>
internal sealed unsafe class WorkerAreas
{
    public required byte* Rx { get; init; }

    public required long RxBytes { get; init; }

    /// <summary>Kernel-written control area.</summary>
    public required byte* Kernel { get; init; }

    /// <summary>Control area that this side writes.</summary>
    public required byte* Own { get; init; }

    public required byte* Tx { get; init; }

    public required long TxBytes { get; init; }

    public required int SubmissionEntries { get; init; }

    public required int CompletionEntries { get; init; }

    public required int MaxSendsPerConnection { get; init; }

    /// <summary>The kernel wakes this worker by futex; else the sleeper polls.</summary>
    public bool FutexBell { get; init; }

    /// <summary>Whether the loop may spin a little before it sleeps.</summary>
    public bool Spin { get; init; }

    /// <summary>Rings the kernel; false: it is gone. Null: the kernel polls.</summary>
    public Func<bool>? RingKernel { get; init; }

    public Action? Unmap { get; init; }
}
