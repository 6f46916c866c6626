using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Worker.Internal;

namespace ZeroCopyDaemon.Worker;

public sealed partial class Connection
{
    private const int CopyChunkBytes = 64 * 1024;

    private readonly SignalOperation _sendWait;
    private readonly SignalOperation _flushWait;

    /// <summary>Sends that the kernel has no room for yet: at most those of one call, as a second one must await the first.</summary>
    private Queue<QueuedSend> _queued = new(0);

    private int _inFlight;
    private bool _shutdown;
    private bool _shutdownSubmitted;
    private bool _sendFailed;
    private CompletionStatus _sendFailure;

    /// <summary>Sends that the peer has not acknowledged yet.</summary>
    public int SendsOutstanding
    {
        get
        {
            lock (_gate)
            {
                return _inFlight + _queued.Count;
            }
        }
    }

    /// <inheritdoc cref="KernelClient.TryRentTx"/>
    public bool TryRentTx(int bytes, out TxBuffer buffer) => _core.Tx.TryRent(bytes, out buffer);

    /// <inheritdoc cref="KernelClient.RentTxAsync"/>
    public ValueTask<TxBuffer> RentTxAsync(int bytes, CancellationToken cancellation = default) => _core.Tx.RentAsync(bytes, cancellation);

    /// <summary>
    /// Sends the first bytes of a TX buffer without a copy. The buffer is the library's from here on, also when the send fails, and free again when the peer has acknowledged it. Done when the
    /// kernel host has taken it, which is at once unless a lot is outstanding. One send at a time.
    /// </summary>
    /// <param name="buffer">What the caller rented and wrote.</param>
    /// <param name="length">Bytes to send.</param>
    /// <param name="more">More follows at once, so a short segment may wait for it.</param>
    public ValueTask SendAsync(TxBuffer buffer, int length, bool more = false)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, buffer.Length);
        if (!buffer.IsOf(_core.Tx))
        {
            throw new ArgumentException("This TX buffer was rented from another client.", nameof(buffer));
        }

        if (length == 0)
        {
            buffer.Dispose();
            return default;
        }

        Exception? error;
        bool waits = false;
        lock (_gate)
        {
            ThrowIfSending();
            error = Unusable();
            if (error is null)
            {
                buffer.Take();
                _queued.Enqueue(new QueuedSend((ulong)_core.Tx.Offset(buffer.Block), (uint)length, buffer.Block, more));
                waits = !PumpOrWait();
            }
        }

        if (error is not null)
        {
            buffer.Dispose();
            return ValueTask.FromException(error);
        }

        _core.Publish();
        return waits ? _sendWait.Task : default;
    }

    /// <summary>
    /// Sends what was received, here or on another connection of this worker, back out of its pages, without a copy. The leases are the library's from here on, also when the send fails. Done
    /// when the kernel host has taken all of it. One send at a time.
    /// </summary>
    public ValueTask SendAsync(Received received, bool more = false)
    {
        if (received.IsEnd)
        {
            return default;
        }

        CheckCore(received.Core, nameof(received));
        bool waits;
        lock (_gate)
        {
            ThrowIfSending();
            if (Unusable() is { } error)
            {
                received.Dispose();
                return ValueTask.FromException(error);
            }

            int last = received.Count - 1;
            while (last >= 0 && !received[last].IsHeld)
            {
                last--;
            }

            for (int i = 0; i <= last; i++)
            {
                Lease lease = received[i];
                if (lease.IsHeld)
                {
                    Enqueue(lease, more || i < last);
                }
            }

            waits = !PumpOrWait();
        }

        _core.Publish();
        return waits ? _sendWait.Task : default;
    }

    /// <summary>Sends one lease out of its page, without a copy. It is the library's from here on, also when the send fails. One send at a time.</summary>
    public ValueTask SendAsync(Lease lease, bool more = false)
    {
        CheckCore(lease.Core, nameof(lease));
        bool waits;
        lock (_gate)
        {
            ThrowIfSending();
            if (Unusable() is { } error)
            {
                lease.Release();
                return ValueTask.FromException(error);
            }

            Enqueue(lease, more);
            waits = !PumpOrWait();
        }

        _core.Publish();
        return waits ? _sendWait.Task : default;
    }

    /// <summary>
    /// Sends bytes of the caller's by copying them into TX memory, which is counted (<c>tx.payload_copied_bytes</c>). Done when all are copied and taken; the caller's memory is its own again. One
    /// send at a time.
    /// </summary>
    /// <param name="data">The bytes.</param>
    /// <param name="cancellation">Ends the waiting for TX memory. What was copied before is sent.</param>
    public ValueTask SendAsync(ReadOnlyMemory<byte> data, CancellationToken cancellation = default)
    {
        if (data.Length <= CopyChunkBytes && data.Length <= _core.Tx.MaxBytes && data.Length > 0 && TryRentTx(data.Length, out TxBuffer buffer))
        {
            return CopyAndSend(buffer, data.Span, more: false);
        }

        return SendInPartsAsync(data, cancellation);
    }

    /// <summary>Done when the peer has acknowledged all that was sent. One flush at a time.</summary>
    public ValueTask FlushAsync(CancellationToken cancellation = default)
    {
        if (cancellation.IsCancellationRequested)
        {
            return ValueTask.FromCanceled(cancellation);
        }

        lock (_gate)
        {
            if (Unusable() is { } error)
            {
                return ValueTask.FromException(error);
            }

            if (_sendFailed)
            {
                return ValueTask.FromException(ConnectionFailedException.From(_sendFailure));
            }

            if (_inFlight == 0 && _queued.Count == 0)
            {
                return default;
            }

            if (!_flushWait.TryReserve())
            {
                throw new InvalidOperationException("A flush is under way on this connection already: await it first.");
            }

            _flushWait.Arm();
        }

        _flushWait.CancelBy(cancellation);
        return _flushWait.Task;
    }

    /// <summary>No more sends: the peer sees the end of the stream after what was sent. Receiving goes on. Never blocks.</summary>
    public void ShutdownSend()
    {
        lock (_gate)
        {
            if (_shutdown || Unusable() is not null)
            {
                return;
            }

            _shutdown = true;
            Pump();
        }

        _core.Publish();
    }

    /// <summary>Loop thread: the kernel gave a send back.</summary>
    internal void OnSent(CompletionStatus status)
    {
        bool sent;
        bool flushed;
        TaskCompletionSource? closed = null;
        lock (_gate)
        {
            _inFlight--;
            if (status != CompletionStatus.Ok && !_sendFailed)
            {
                _sendFailed = true;
                _sendFailure = status;
            }

            Pump();
            bool empty = _queued.Count == 0;
            sent = empty && _sendWait.TryClaim();
            flushed = empty && _inFlight == 0 && _flushWait.TryClaim();
            if (empty && _stage == Stage.Closing)
            {
                SubmitClose();
                closed = _closed;
            }
        }

        // The close above, or who hears of it, may be the process's last act.
        if (closed is not null)
        {
            _core.PublishNow();
            closed.TrySetResult();
        }
        else
        {
            _core.Publish();
        }

        if (sent)
        {
            _sendWait.Signal();
        }

        if (flushed)
        {
            _flushWait.Signal(_sendFailed ? ConnectionFailedException.From(_sendFailure) : null);
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask SendInPartsAsync(ReadOnlyMemory<byte> data, CancellationToken cancellation)
    {
        int chunk = Math.Min(CopyChunkBytes, _core.Tx.MaxBytes);
        while (data.Length > 0)
        {
            lock (_gate)
            {
                ThrowIfSending();
                if (Unusable() is { } error)
                {
                    throw error;
                }
            }

            int length = Math.Min(chunk, data.Length);
            TxBuffer buffer = await RentTxAsync(length, cancellation).ConfigureAwait(false);
            ReadOnlyMemory<byte> part = data[..length];
            data = data[length..];
            await CopyAndSend(buffer, part.Span, more: data.Length > 0).ConfigureAwait(false);
        }
    }

    private ValueTask CopyAndSend(TxBuffer buffer, ReadOnlySpan<byte> data, bool more)
    {
        try
        {
            data.CopyTo(buffer.Span);
            _core.Count(WorkerCounter.TxPayloadCopiedBytes, data.Length);
            return SendAsync(buffer, data.Length, more);
        }
        catch
        {
            buffer.Dispose();
            throw;
        }
    }

    private void CheckCore(WorkerCore? core, string parameter)
    {
        if (!ReferenceEquals(core, _core))
        {
            throw new ArgumentException(core is null ? "This was never received." : "This was received through another client, whose kernel host is the only one that knows its pages.", parameter);
        }
    }

    private void ThrowIfSending()
    {
        if (_sendWait.IsBusy)
        {
            throw new InvalidOperationException("A send is under way on this connection already: await it first.");
        }

        if (_shutdown)
        {
            throw new InvalidOperationException("This connection's sending direction was shut down.");
        }
    }

    /// <summary>Under the lock.</summary>
    private void Enqueue(Lease lease, bool more)
    {
        lease.TakeForSend(out ulong value, out int length);
        _queued.Enqueue(new QueuedSend(value, (uint)length, -1, more));
    }

    /// <summary>Under the lock. True: the kernel has all of it. Else the caller has to wait for it.</summary>
    private bool PumpOrWait()
    {
        Pump();
        if (_queued.Count == 0)
        {
            return true;
        }

        Memory.Invariant.That(_sendWait.TryReserve(), "a send that is not busy can be begun");
        _sendWait.Arm();
        return false;
    }

    /// <summary>Under the lock: submits what the kernel has room for, in order; the shutdown last.</summary>
    private void Pump()
    {
        while (_inFlight < _core.MaxSendsPerConnection && _queued.TryDequeue(out QueuedSend send))
        {
            _inFlight++;
            _core.Submit(new Submission
            {
                Op = send.Block < 0 ? SubmissionOp.SendLease : SubmissionOp.SendRange,
                Flags = send.More ? SubmissionFlags.More : SubmissionFlags.None,
                Connection = Handle,
                Value = send.Value,
                Length = send.Length,
                Tag = _core.AddSend(this, send.Block),
            });
        }

        if (_shutdown && !_shutdownSubmitted && _queued.Count == 0 && !_failed && _stage is Stage.Open or Stage.Closing)
        {
            _shutdownSubmitted = true;
            _core.Submit(new Submission { Op = SubmissionOp.Shutdown, Connection = Handle });
        }
    }

    /// <summary>Under the lock: takes out what the kernel never got, for <see cref="GiveBack"/> after it.</summary>
    private Queue<QueuedSend>? DropQueuedSends()
    {
        if (_queued.Count == 0)
        {
            return null;
        }

        Queue<QueuedSend> dropped = _queued;
        _queued = new Queue<QueuedSend>(0);
        return dropped;
    }

    /// <summary>Outside of the lock: TX memory may be what somebody waits for.</summary>
    private void GiveBack(Queue<QueuedSend>? dropped)
    {
        while (dropped is not null && dropped.TryDequeue(out QueuedSend send))
        {
            if (send.Block < 0)
            {
                _core.SubmitRelease(send.Value);
            }
            else
            {
                _core.Tx.Free(send.Block);
            }
        }
    }

    /// <param name="Value">Lease, or offset in the TX area.</param>
    /// <param name="Length">Bytes.</param>
    /// <param name="Block">The TX block, or -1 for a lease.</param>
    /// <param name="More">More follows at once.</param>
    private readonly record struct QueuedSend(ulong Value, uint Length, int Block, bool More);
}
