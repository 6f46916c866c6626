using System.Buffers.Binary;
using System.Net;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Worker.Internal;

namespace ZeroCopyDaemon.Worker;

/// <summary>
/// A TCP connection that the kernel host gave to this worker. It owns the handle; the application disposes it, which closes it in good order: what was sent before reaches the peer, even if this
/// process ends right after. <see cref="Abort"/> resets it instead.
/// <para>One receive and one send may be under way at the same time, from any threads. A receive or send that ends with an error ends with a <see cref="ConnectionFailedException"/> if the
/// connection failed, with <see cref="KernelLostException"/> if the kernel host is gone. In the steady state neither receiving nor sending allocates.</para>
/// </summary>
public sealed partial class Connection : IAsyncDisposable
{
    private readonly WorkerCore _core;
    private readonly Lock _gate = new();
    private readonly ulong _remoteHigh;
    private readonly ulong _remoteLow;
    private readonly ushort _remotePort;
    private IPEndPoint? _remote;
    private Stage _stage;
    private bool _failed;
    private CompletionStatus _failure;
    private TaskCompletionSource? _closed;

    internal Connection(WorkerCore core, in Completion accepted)
    {
        _core = core;
        Handle = accepted.Connection;
        _remoteHigh = accepted.Lease;
        _remoteLow = accepted.Value;
        _remotePort = (ushort)accepted.Length;
        _receive = new ReceiveOperation(this, core.Inline);
        _sendWait = new SignalOperation(core.Inline);
        _flushWait = new SignalOperation(core.Inline);
    }

    private enum Stage
    {
        Open,

        /// <summary>Disposed; the close follows the sends that still wait here.</summary>
        Closing,

        /// <summary>The handle must not be named any more.</summary>
        Closed,

        /// <summary>As <see cref="Closed"/>, by a reset.</summary>
        Aborted,
    }

    /// <summary>The kernel host's name for it, as listings show it.</summary>
    public uint Handle { get; }

    /// <summary>The peer's address and port on the wire. (Behind the gateway wire that is the host that the gateway plays for a client.)</summary>
    public EndPoint RemoteEndPoint => _remote ??= DecodeRemote();

    /// <summary>True until it was disposed, aborted, failed, or the kernel host was lost. The peer having closed its direction doesn't count.</summary>
    public bool IsAlive
    {
        get
        {
            lock (_gate)
            {
                return _stage == Stage.Open && !_failed && !_core.IsLost;
            }
        }
    }

    /// <summary>Resets the connection: the peer sees an error, what it has not acknowledged is lost, pending operations fail with <see cref="ConnectionAbortedException"/>. Never blocks, never throws.</summary>
    public void Abort()
    {
        ReleasedOperations released = default;
        Queue<QueuedSend>? dropped;
        TaskCompletionSource? closed;
        lock (_gate)
        {
            if (_stage is Stage.Closed or Stage.Aborted)
            {
                return;
            }

            DropReceives();
            dropped = DropQueuedSends();
            ClaimAll(ref released);
            SubmitAbort();
            closed = _closed;
        }

        GiveBack(dropped);
        _core.PublishNow();
        released.Signal(static _ => new ConnectionAbortedException(), this);
        closed?.TrySetResult();
    }

    /// <summary>
    /// Closes in good order: all sends, then FIN. Done when all of it is published to the kernel host, so that the process may end; that waits for the peer only if more sends are queued
    /// than the kernel host takes at once. A pending receive or flush ends with <see cref="ObjectDisposedException"/>.
    /// </summary>
    /// <param name="cancellation">Ends the waiting, not the closing.</param>
    public async ValueTask CloseAsync(CancellationToken cancellation = default)
    {
        if (BeginClose() is { } closing)
        {
            await closing.WaitAsync(cancellation).ConfigureAwait(false);
        }

        Task published = _core.WhenAllPublished();
        if (!published.IsCompleted)
        {
            await published.WaitAsync(cancellation).ConfigureAwait(false);
        }
    }

    /// <inheritdoc cref="CloseAsync"/>
    public ValueTask DisposeAsync() => CloseAsync(CancellationToken.None);

    /// <summary>The kernel says that the connection is gone.</summary>
    internal void OnFailed(CompletionStatus status) => Fail(status, abort: false);

    /// <summary>The kernel refused something that the library believed allowed: a stream with a hole must not go on.</summary>
    internal void OnRefused(CompletionStatus status) => Fail(status, abort: true);

    /// <summary>Loop thread, once: everything pending fails.</summary>
    internal void OnKernelLost()
    {
        ReleasedOperations released = default;
        Queue<QueuedSend>? dropped;
        TaskCompletionSource? closed;
        lock (_gate)
        {
            if (_stage == Stage.Closing)
            {
                _stage = Stage.Closed;
            }

            DropReceives();
            dropped = DropQueuedSends();
            ClaimAll(ref released);
            closed = _closed;
        }

        GiveBack(dropped);
        released.Signal(static self => self._core.LostException(), this);
        closed?.TrySetResult();
    }

    private void Fail(CompletionStatus status, bool abort)
    {
        ReleasedOperations released = default;
        Queue<QueuedSend>? dropped;
        TaskCompletionSource? closed = null;
        lock (_gate)
        {
            if (_failed || _stage is Stage.Closed or Stage.Aborted)
            {
                return;
            }

            _failed = true;
            _failure = status;
            _kernelReceives = false;
            DropUnfinishedReceive();
            dropped = DropQueuedSends();
            ClaimAll(ref released);
            if (abort)
            {
                SubmitAbort();
                closed = _closed;
            }
            else if (_stage == Stage.Closing)
            {
                SubmitClose();
                closed = _closed;
            }
        }

        GiveBack(dropped);
        _core.Publish();
        released.Signal(static self => ConnectionFailedException.From(self._failure), this);
        closed?.TrySetResult();
    }

    private Task? BeginClose()
    {
        bool receiving;
        bool flushing;
        Task? closing = null;
        lock (_gate)
        {
            if (_stage != Stage.Open)
            {
                return _closed?.Task;
            }

            DropReceives();
            receiving = _receive.TryClaim();
            flushing = _flushWait.TryClaim();
            if (_core.IsLost)
            {
                _stage = Stage.Closed;
            }
            else if (_queued.Count == 0)
            {
                SubmitClose();
            }
            else
            {
                _stage = Stage.Closing;
                _closed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                closing = _closed.Task;
            }
        }

        // At once even on the loop thread: the process may end before the loop's batch does.
        _core.PublishNow();
        if (receiving)
        {
            _receive.Signal(new ObjectDisposedException(nameof(Connection)));
        }

        if (flushing)
        {
            _flushWait.Signal(new ObjectDisposedException(nameof(Connection)));
        }

        return closing;
    }

    /// <summary>Under the lock.</summary>
    private void SubmitClose()
    {
        _stage = Stage.Closed;
        _core.Forget(this);
        _core.Submit(new Submission { Op = SubmissionOp.Close, Connection = Handle });
    }

    /// <summary>Under the lock.</summary>
    private void SubmitAbort()
    {
        _stage = Stage.Aborted;
        _core.Forget(this);
        _core.Submit(new Submission { Op = SubmissionOp.Abort, Connection = Handle });
    }

    /// <summary>Under the lock: why nothing can be done on this connection, or null.</summary>
    private Exception? Unusable() =>
        _core.IsLost ? _core.LostException()
        : _failed ? ConnectionFailedException.From(_failure)
        : _stage == Stage.Aborted ? new ConnectionAbortedException()
        : _stage != Stage.Open ? new ObjectDisposedException(nameof(Connection))
        : null;

    /// <summary>Under the lock.</summary>
    private void ClaimAll(ref ReleasedOperations released)
    {
        released.Receive = _receive.TryClaim() ? _receive : null;
        released.Send = _sendWait.TryClaim() ? _sendWait : null;
        released.Flush = _flushWait.TryClaim() ? _flushWait : null;
    }

    private IPEndPoint DecodeRemote()
    {
        Span<byte> bytes = stackalloc byte[16];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, _remoteHigh);
        BinaryPrimitives.WriteUInt64BigEndian(bytes[8..], _remoteLow);
        var address = new IPAddress(bytes);
        return new IPEndPoint(address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address, _remotePort);
    }

    /// <summary>Operations claimed under the lock, to be signalled after it.</summary>
    private struct ReleasedOperations
    {
        public OperationSource? Receive;
        public OperationSource? Send;
        public OperationSource? Flush;

        public readonly void Signal(Func<Connection, Exception> error, Connection connection)
        {
            Receive?.Signal(error(connection));
            Send?.Signal(error(connection));
            Flush?.Signal(error(connection));
        }
    }
}
