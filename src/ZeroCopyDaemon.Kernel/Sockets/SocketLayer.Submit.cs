using ZeroCopyDaemon.Kernel.Workers;
using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Memory.Rings;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.Kernel.Sockets;

/// <summary>Down: what a worker asks. Each submission was copied out of shared memory before it is looked at here.</summary>
internal sealed partial class SocketLayer
{
    /// <summary>
    /// One submission of a worker: already copied out of the shared ring. Returns why the worker must be detached, or <see cref="DetachReason.None"/>.
    /// </summary>
    public DetachReason Submit(AttachedWorker worker, in Submission submission, long nowUs)
    {
        if (submission.Reserved != 0)
        {
            return DetachReason.BadDescriptor;
        }

        switch (submission.Op)
        {
            case SubmissionOp.Release:
                return Release(worker, submission.Value);
            case SubmissionOp.AcceptCredit:
                return AddCredit(worker, submission);
            case SubmissionOp.Receive or SubmissionOp.SendRange or SubmissionOp.SendLease or SubmissionOp.Shutdown or SubmissionOp.Close or SubmissionOp.Abort:
                break;
            default:
                return DetachReason.BadDescriptor;
        }

        if (!TryFind(submission.Connection, worker, out SocketConnection? connection))
        {
            return DetachReason.BadHandle;
        }

        switch (submission.Op)
        {
            case SubmissionOp.Receive:
                return Receive(connection, submission);
            case SubmissionOp.SendRange:
                return SendRange(worker, connection, submission);
            case SubmissionOp.SendLease:
                return SendLease(worker, connection, submission);
            case SubmissionOp.Shutdown:
                if (!connection.TcpGone)
                {
                    connection.Tcp.ShutdownSend();
                }

                return DetachReason.None;
            case SubmissionOp.Close:
                CloseHandle(connection, abort: false, nowUs);
                return DetachReason.None;
            default:
                CloseHandle(connection, abort: true, nowUs);
                return DetachReason.None;
        }
    }

    private DetachReason Release(AttachedWorker worker, ulong lease)
    {
        if (pool.TryResolve(lease, worker.Id, out int slot) != LeaseStatus.Valid)
        {
            return DetachReason.BadLease;
        }

        pool.Release(slot);
        return DetachReason.None;
    }

    private DetachReason AddCredit(AttachedWorker worker, in Submission submission)
    {
        if (!_listeners.TryGetValue(submission.Connection, out SocketListener? listener))
        {
            // The listener may have closed while this was on its way; an id that was never given out is a lie.
            return submission.Connection < _nextListener && submission.Connection != 0 ? DetachReason.None : DetachReason.BadHandle;
        }

        if (!listener.Members.Contains(worker))
        {
            return DetachReason.None;
        }

        long credit = worker.Credit.GetValueOrDefault(listener) + submission.Length;
        if (credit > 65536)
        {
            return DetachReason.LimitExceeded;
        }

        worker.Credit[listener] = credit;
        Distribute(listener);
        return DetachReason.None;
    }

    private DetachReason Receive(SocketConnection connection, in Submission submission)
    {
        if (submission.Length == 0 || submission.Length > int.MaxValue || submission.MaxFragments == 0)
        {
            return DetachReason.BadDescriptor;
        }

        if (connection.ReceivePending)
        {
            return DetachReason.LimitExceeded;
        }

        connection.ReceivePending = true;
        connection.ReceiveMaxBytes = (int)submission.Length;
        connection.ReceiveMaxFragments = submission.MaxFragments;
        connection.ReceiveTag = submission.Tag;
        MarkDirty(connection);
        return DetachReason.None;
    }

    private unsafe DetachReason SendRange(AttachedWorker worker, SocketConnection connection, in Submission submission)
    {
        ulong size = (ulong)worker.TxArea.Bytes;
        if (submission.Length == 0 || submission.Length > int.MaxValue || submission.Value > size || submission.Length > size - submission.Value)
        {
            return DetachReason.BadRange;
        }

        return Send(worker, connection, new SendItem(worker.TxArea.Address + submission.Value, (int)submission.Length, submission.Tag, (uint)worker.Id), submission.Flags);
    }

    private DetachReason SendLease(AttachedWorker worker, SocketConnection connection, in Submission submission)
    {
        if (pool.TryResolve(submission.Value, worker.Id, out int slot) != LeaseStatus.Valid)
        {
            return DetachReason.BadLease;
        }

        pool[slot].Worker = 0;
        pool[slot].State = FragmentState.Received;
        return Send(worker, connection, new SendItem(pool, slot, submission.Tag, (uint)worker.Id), submission.Flags);
    }

    private DetachReason Send(AttachedWorker worker, SocketConnection connection, in SendItem item, SubmissionFlags flags)
    {
        bool taken = !connection.TcpGone && connection.Tcp.TrySend(item, (flags & SubmissionFlags.More) != 0);
        if (taken)
        {
            connection.SendsOutstanding++;
            worker.TxInFlight++;
            return DetachReason.None;
        }

        if (item.Fragment != PagePool.NoFragment)
        {
            pool.Release(item.Fragment);
        }

        Queue<(uint, CompletionStatus)> ends = connection.SendEnds ??= new();
        if (connection.SendsOutstanding + ends.Count >= maxSendsPerConnection)
        {
            return DetachReason.LimitExceeded;
        }

        CompletionStatus status = connection.FailStatus != CompletionStatus.Ok ? connection.FailStatus : CompletionStatus.ShutDown;
        ends.Enqueue((item.Tag, status));
        MarkDirty(connection);
        return DetachReason.None;
    }

    private void CloseHandle(SocketConnection connection, bool abort, long nowUs)
    {
        connection.HandleClosed = true;
        connection.ReceivePending = false;
        connection.FailNotice = false;
        if (!connection.TcpGone)
        {
            if (abort)
            {
                Abort(connection, nowUs);
            }
            else
            {
                connection.Tcp.Close(nowUs);
            }
        }

        FreeIfDone(connection);
    }

    private bool TryFind(uint handle, AttachedWorker worker, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out SocketConnection? connection)
    {
        if (!_byHandle.TryGetValue(handle, out connection) || connection.Worker != worker || connection.HandleClosed || connection.AcceptNotice)
        {
            connection = null;
            return false;
        }

        return true;
    }
}
