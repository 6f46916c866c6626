using System.Runtime.InteropServices;

namespace ZeroCopyDaemon.Protocol;

/// <summary>What a worker asks of the kernel on its submission ring.</summary>
public enum SubmissionOp : byte
{
    /// <summary>Never valid: a zeroed descriptor is a mistake.</summary>
    None = 0,

    /// <summary>One-shot receive: at most <see cref="Submission.Length"/> bytes in at most <see cref="Submission.MaxFragments"/> fragments. One may be outstanding per connection.</summary>
    Receive = 1,

    /// <summary>Gives <see cref="Submission.Value"/>, a lease, back.</summary>
    Release = 2,

    /// <summary>Sends <see cref="Submission.Length"/> bytes of the worker's TX area from offset <see cref="Submission.Value"/>.</summary>
    SendRange = 3,

    /// <summary>Sends what a lease (<see cref="Submission.Value"/>) holds. The lease ends; the page is the kernel's until the peer acknowledged it.</summary>
    SendLease = 4,

    // 5 is kept for active opens.

    /// <summary>No more sends: FIN after what is queued.</summary>
    Shutdown = 6,

    /// <summary>The worker is done with the connection. Its handle must not be named again. Sends already published are completed.</summary>
    Close = 7,

    /// <summary>Reset. Its handle must not be named again.</summary>
    Abort = 8,

    /// <summary><see cref="Submission.Connection"/> is a listener id: the worker will take <see cref="Submission.Length"/> more connections from it.</summary>
    AcceptCredit = 9,
}

/// <summary>Modifiers of a submission.</summary>
[Flags]
public enum SubmissionFlags : byte
{
    None = 0,

    /// <summary>Sends: more follows at once, so a short segment may wait.</summary>
    More = 1,
}

/// <summary>
/// One entry of a submission ring, worker to kernel: 32 bytes, little-endian, copied once by the kernel, then validated, then used.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
public struct Submission
{
    [FieldOffset(0)]
    public SubmissionOp Op;

    [FieldOffset(1)]
    public SubmissionFlags Flags;

    [FieldOffset(2)]
    public ushort MaxFragments;

    /// <summary>Connection handle, or listener id.</summary>
    [FieldOffset(4)]
    public uint Connection;

    /// <summary>Lease or area offset.</summary>
    [FieldOffset(8)]
    public ulong Value;

    /// <summary>For later use (a receive area posted beforehand); must be 0.</summary>
    [FieldOffset(16)]
    public ulong Reserved;

    /// <summary>Bytes, or a count.</summary>
    [FieldOffset(24)]
    public uint Length;

    /// <summary>The worker's own mark, given back in the completion.</summary>
    [FieldOffset(28)]
    public uint Tag;
}

/// <summary>What the kernel tells a worker on its completion ring.</summary>
public enum CompletionKind : byte
{
    None = 0,

    /// <summary>A connection is the worker's: <see cref="Completion.Connection"/> is its handle, <see cref="Completion.Tag"/> the listener id, <see cref="Completion.Value"/> the peer's IPv4-mapped low address half, <see cref="Completion.Length"/> the peer's port.</summary>
    Accepted = 1,

    /// <summary>
    /// One fragment of a receive: <see cref="Completion.Lease"/>, and where it lies: area <see cref="Completion.Area"/>, offset <see cref="Completion.Value"/>, <see cref="Completion.Length"/> bytes.
    /// <see cref="CompletionFlags.More"/> is set on all but the last fragment of the receive.
    /// </summary>
    Data = 2,

    /// <summary>Ends a receive: the peer closed and everything before was delivered. Also ends every later receive at once.</summary>
    PeerClosed = 3,

    /// <summary>The connection is gone: <see cref="Completion.Status"/> says how. The handle is to be closed; outstanding receives and sends are ended by this.</summary>
    Failed = 4,

    /// <summary>A send (by <see cref="Completion.Tag"/>) was acknowledged by the peer; its TX range is the worker's again. Also comes, with a status, for every outstanding send of a failed connection.</summary>
    Sent = 5,

    // 6 is kept for active opens.

    /// <summary>A submission was refused: <see cref="Completion.Status"/> says why, <see cref="Completion.Tag"/> whose.</summary>
    Refused = 7,

    /// <summary>Event: payload was copied on the way (never silent). <see cref="Completion.Length"/> bytes.</summary>
    Copied = 8,

    /// <summary>Event: nothing could be allocated for this connection; it stalls until pages come back.</summary>
    NoMemory = 9,
}

/// <summary>Modifiers of a completion.</summary>
[Flags]
public enum CompletionFlags : byte
{
    None = 0,

    /// <summary>Further fragments of the same receive follow.</summary>
    More = 1,
}

/// <summary>Why, in a completion.</summary>
public enum CompletionStatus : ushort
{
    Ok = 0,
    ConnectionReset = 1,
    ConnectionRefused = 2,
    TimedOut = 3,
    HostUnreachable = 4,
    Aborted = 5,

    /// <summary>The connection can't take more sends at the moment.</summary>
    QueueFull = 6,

    /// <summary>Send after shutdown.</summary>
    ShutDown = 7,

    /// <summary>No port or connection slot left.</summary>
    NoResources = 8,
}

/// <summary>One entry of a completion ring, kernel to worker: 32 bytes, little-endian.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
public struct Completion
{
    [FieldOffset(0)]
    public CompletionKind Kind;

    [FieldOffset(1)]
    public CompletionFlags Flags;

    /// <summary>Which mapping <see cref="Value"/> is an offset into (<see cref="CompletionKind.Data"/>).</summary>
    [FieldOffset(2)]
    public ushort Area;

    /// <summary>Reason (all kinds but <see cref="CompletionKind.Data"/>).</summary>
    [FieldOffset(2)]
    public CompletionStatus Status;

    [FieldOffset(4)]
    public uint Connection;

    [FieldOffset(8)]
    public ulong Lease;

    [FieldOffset(16)]
    public ulong Value;

    [FieldOffset(24)]
    public uint Length;

    [FieldOffset(28)]
    public uint Tag;
}
