using System.Numerics;
using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.Worker;

/// <summary>How an application means to receive. The library offers both ways on every connection; an application that lets its user choose reads it from here.</summary>
public enum ReceiveStrategy
{
    /// <summary>A reference to the page changes hands: read in place, then released. Copies nothing.</summary>
    Handoff,

    /// <summary>Bytes are copied out of the page into the caller's buffer, as <c>recv()</c> does, and counted.</summary>
    Copy,
}

/// <summary>Where an awaiting caller goes on when its operation is done.</summary>
public enum WorkerScheduling
{
    /// <summary>On the thread pool: the event loop is never held up.</summary>
    ThreadPool,

    /// <summary>On the event-loop thread itself: the shortest way, for code that never blocks. One that blocks stops all connections of the worker.</summary>
    Inline,
}

/// <summary>How a worker attaches. Values; nothing here is owned.</summary>
public sealed record WorkerOptions
{
    /// <summary>The daemon's name; null: by <c>ZCD_NAME</c>, else "default".</summary>
    public string? Name { get; init; }

    /// <summary>Path of the daemon's control socket; null: the one in the daemon's <see cref="RunDirectory"/>.</summary>
    public string? ControlSocket { get; init; }

    /// <summary>Shown in listings of workers.</summary>
    public string AppName { get; init; } = AppDomain.CurrentDomain.FriendlyName;

    /// <summary>How the application means to receive.</summary>
    public ReceiveStrategy Strategy { get; init; } = ReceiveStrategy.Handoff;

    /// <summary>Where awaiting callers go on.</summary>
    public WorkerScheduling Scheduling { get; init; } = WorkerScheduling.ThreadPool;

    /// <summary>Entries of the submission ring, a power of two; 0: as the daemon is set up.</summary>
    public int SubmissionEntries { get; init; }

    /// <summary>Entries of the completion ring, a power of two; 0: as the daemon is set up.</summary>
    public int CompletionEntries { get; init; }

    /// <summary>Bytes of memory to send from, at most 1 GiB; 0: as the daemon is set up.</summary>
    public long TxBytes { get; init; }

    /// <summary>Connections per listener that wait in this worker for <see cref="Listener.AcceptAsync"/>, at most. What it has not asked for goes to other workers.</summary>
    public int AcceptCredit { get; init; } = 64;

    /// <summary>How long to wait for the daemon's answer to the attach request.</summary>
    public TimeSpan AttachTimeout { get; init; } = TimeSpan.FromSeconds(10);

    internal RunDirectory? Directory => ControlSocket is null ? RunDirectory.For(Name) : null;

    internal void Validate()
    {
        Require(SubmissionEntries == 0 || (SubmissionEntries is >= 64 and <= 65536 && BitOperations.IsPow2(SubmissionEntries)), $"SubmissionEntries must be a power of two from 64 to 65536, not {SubmissionEntries}.");
        Require(CompletionEntries == 0 || (CompletionEntries is >= 64 and <= 65536 && BitOperations.IsPow2(CompletionEntries)), $"CompletionEntries must be a power of two from 64 to 65536, not {CompletionEntries}.");
        Require(TxBytes is 0 or (>= 65536 and <= 1L << 30), $"TxBytes must be from 64 KiB to 1 GiB, not {TxBytes}.");
        Require(AcceptCredit is >= 1 and <= 16384, $"AcceptCredit must be from 1 to 16384, not {AcceptCredit}.");
        Require(AttachTimeout > TimeSpan.Zero, "AttachTimeout must be positive.");
    }

    private static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new ArgumentException(message);
        }
    }
}
