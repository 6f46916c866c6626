using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.Worker;

/// <summary>
/// The kernel host is gone, is stopping, or has detached this worker. Every pending and every later operation of a <see cref="KernelClient"/> fails with this one type, and with no other.
/// The way on is to dispose the client, and to attach again if that makes sense.
/// </summary>
public sealed class KernelLostException : IOException
{
    public KernelLostException(DetachReason reason, string message)
        : base(message)
    {
        Reason = reason;
    }

    public KernelLostException(DetachReason reason, string message, Exception? inner)
        : base(message, inner)
    {
        Reason = reason;
    }

    /// <summary>Why the kernel host detached this worker; <see cref="DetachReason.None"/> if it could not say: it crashed, or was killed.</summary>
    public DetachReason Reason { get; }

    internal static string Describe(DetachReason reason) => reason switch
    {
        DetachReason.None => "The kernel host is gone.",
        DetachReason.Requested => "This worker has detached from the kernel host.",
        DetachReason.Exited => "The kernel host took this worker's process for ended.",
        DetachReason.Shutdown => "The kernel host is stopping.",
        DetachReason.RingCorrupt => "The kernel host detached this worker: a ring index was out of range.",
        DetachReason.BadDescriptor => "The kernel host detached this worker: it submitted an operation that doesn't exist.",
        DetachReason.BadHandle => "The kernel host detached this worker: it named a connection or listener that is not its own.",
        DetachReason.BadLease => "The kernel host detached this worker: it named a lease that is not its own, or was released before.",
        DetachReason.BadRange => "The kernel host detached this worker: it named a range outside its TX area.",
        DetachReason.LimitExceeded => "The kernel host detached this worker: it had more outstanding than its limits allow.",
        _ => $"The kernel host detached this worker (reason {(uint)reason}).",
    };
}

/// <summary>A connection ended before its time; <see cref="Status"/> says how. The other connections are not touched by it.</summary>
public class ConnectionFailedException : IOException
{
    public ConnectionFailedException(CompletionStatus status, string message)
        : base(message)
    {
        Status = status;
    }

    /// <summary>What the kernel host reported.</summary>
    public CompletionStatus Status { get; }

    internal static ConnectionFailedException From(CompletionStatus status) => status switch
    {
        CompletionStatus.ConnectionReset => new ConnectionResetException(),
        CompletionStatus.TimedOut => new ConnectionTimedOutException(),
        CompletionStatus.Aborted => new ConnectionAbortedException(),
        CompletionStatus.ConnectionRefused => new ConnectionFailedException(status, "The peer refused the connection."),
        CompletionStatus.HostUnreachable => new ConnectionFailedException(status, "The peer can't be reached."),
        CompletionStatus.ShutDown => new ConnectionFailedException(status, "The connection's sending direction is shut down."),
        CompletionStatus.QueueFull => new ConnectionFailedException(status, "The kernel host took no more sends on this connection; it was aborted, as the stream would have had a hole."),
        CompletionStatus.NoResources => new ConnectionFailedException(status, "The kernel host has no resources left for the connection."),
        _ => new ConnectionFailedException(status, $"The connection failed ({status})."),
    };
}

/// <summary>The peer reset the connection.</summary>
public sealed class ConnectionResetException() : ConnectionFailedException(CompletionStatus.ConnectionReset, "The peer reset the connection.");

/// <summary>The peer didn't answer any more.</summary>
public sealed class ConnectionTimedOutException() : ConnectionFailedException(CompletionStatus.TimedOut, "The peer didn't answer any more.");

/// <summary>The connection was aborted on this side.</summary>
public sealed class ConnectionAbortedException() : ConnectionFailedException(CompletionStatus.Aborted, "The connection was aborted on this side.");

/// <summary>Nobody answers as the daemon; the message says how to start it.</summary>
public sealed class DaemonNotRunningException : IOException
{
    public DaemonNotRunningException(string message)
        : base(message)
    {
    }

    public DaemonNotRunningException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

/// <summary>The kernel host refused a request: to attach (a worker of another version, too many workers), or to listen (the port is in use). The message is the kernel host's.</summary>
public sealed class KernelRefusedException : IOException
{
    public KernelRefusedException(string message)
        : base(message)
    {
    }

    public KernelRefusedException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
