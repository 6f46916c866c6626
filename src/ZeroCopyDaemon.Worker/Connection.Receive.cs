using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Worker.Internal;

namespace ZeroCopyDaemon.Worker;

public sealed partial class Connection
{
    private const int MaxFragmentsLimit = ushort.MaxValue;
    private const int FragmentsOfCopy = 64;

    private readonly ReceiveOperation _receive;

    /// <summary>The kernel has a receive of ours. It stays when the caller cancels: what comes then is kept for the next receive.</summary>
    private bool _kernelReceives;

    /// <summary>A receive of several fragments that is still coming in.</summary>
    private ReceiveBatch? _gathering;

    /// <summary>Came while nobody waited, or is what a copying receive left over.</summary>
    private ReceiveBatch? _ready;

    private bool _peerClosed;

    /// <summary>
    /// Receives without a copy: leases on the pages that hold the next bytes of the stream, or its end. Waits until there is at least one byte. One receive at a time.
    /// </summary>
    /// <param name="maxBytes">Most bytes. (After a receive that was cancelled it is that one's limit that counts.)</param>
    /// <param name="maxFragments">Most leases.</param>
    /// <param name="cancellation">Ends the waiting; no byte is lost by it.</param>
    public ValueTask<Received> ReceiveAsync(int maxBytes = 65536, int maxFragments = 64, CancellationToken cancellation = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxBytes);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxFragments);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(maxFragments, MaxFragmentsLimit);
        if (cancellation.IsCancellationRequested)
        {
            return ValueTask.FromCanceled<Received>(cancellation);
        }

        if (TryFinishAtOnce(maxBytes, maxFragments, default, out ReceiveBatch? batch, out Exception? error))
        {
            return error is not null ? ValueTask.FromException<Received>(error)
                : batch is null ? default
                : new ValueTask<Received>(new Received(batch));
        }

        _receive.CancelBy(cancellation);
        return new ValueTask<Received>(_receive, _receive.Token);
    }

    /// <summary>
    /// Receives into the caller's buffer, as <c>recv()</c> does: copies, counts that (<c>rx.payload_copied_bytes</c>), and gives the pages back at once. Returns how many bytes; 0 when the peer
    /// has closed its sending direction. One receive at a time.
    /// </summary>
    /// <param name="buffer">At least one byte.</param>
    /// <param name="cancellation">Ends the waiting; no byte is lost by it.</param>
    public ValueTask<int> ReceiveAsync(Memory<byte> buffer, CancellationToken cancellation = default)
    {
        if (buffer.IsEmpty)
        {
            throw new ArgumentException("A receive needs room for at least one byte: 0 means that the peer has closed.", nameof(buffer));
        }

        if (cancellation.IsCancellationRequested)
        {
            return ValueTask.FromCanceled<int>(cancellation);
        }

        if (TryFinishAtOnce(buffer.Length, FragmentsOfCopy, buffer, out ReceiveBatch? batch, out Exception? error))
        {
            return error is not null ? ValueTask.FromException<int>(error)
                : batch is null ? default
                : new ValueTask<int>(CopyOut(batch, buffer.Span));
        }

        _receive.CancelBy(cancellation);
        return new ValueTask<int>(_receive, _receive.Token);
    }

    /// <summary>Copies into a caller's buffer; keeps what doesn't fit for the next receive. The batch is nobody else's.</summary>
    internal int CopyOut(ReceiveBatch batch, Span<byte> destination)
    {
        int copied = batch.Drain(destination, out bool left);
        if (left)
        {
            lock (_gate)
            {
                if (_stage == Stage.Open && !_core.IsLost)
                {
                    Invariant.That(_ready is null, "what is left over is the only data that waits");
                    _ready = batch;
                    batch = null!;
                }
            }

            batch?.ReleaseHeld(batch.Version, batch.Count);
        }

        _core.Publish();
        return copied;
    }

    /// <summary>Loop thread. False: the connection wants no more data.</summary>
    internal unsafe bool OnData(in Completion completion, byte* data)
    {
        ReceiveBatch batch;
        lock (_gate)
        {
            if (_stage != Stage.Open || _failed)
            {
                return false;
            }

            batch = _gathering ??= _core.RentBatch();
            batch.Add(completion.Lease, data, (int)completion.Length);
            if ((completion.Flags & CompletionFlags.More) != 0)
            {
                return true;
            }

            _gathering = null;
            _kernelReceives = false;
            _core.Count(WorkerCounter.Receives, 1);
            if (!_receive.TryClaim())
            {
                Invariant.That(_ready is null, "the kernel has no receive while data waits");
                _ready = batch;
                return true;
            }
        }

        _receive.Batch = batch;
        _receive.Signal();
        return true;
    }

    /// <summary>Loop thread.</summary>
    internal void OnPeerClosed()
    {
        lock (_gate)
        {
            _peerClosed = true;
            _kernelReceives = false;
            if (!_receive.TryClaim())
            {
                return;
            }
        }

        _receive.Signal();
    }

    /// <summary>True if there is no need to wait. Else the operation is under way.</summary>
    private bool TryFinishAtOnce(int maxBytes, int maxFragments, Memory<byte> target, out ReceiveBatch? batch, out Exception? error)
    {
        bool submitted = false;
        lock (_gate)
        {
            batch = null;
            error = null;
            if (_receive.IsBusy)
            {
                throw new InvalidOperationException("A receive is under way on this connection already: await it first.");
            }

            if (_ready is not null && _stage == Stage.Open && !_core.IsLost)
            {
                batch = _ready;
                _ready = null;
                return true;
            }

            error = Unusable();
            if (error is not null || _peerClosed)
            {
                return true;
            }

            Invariant.That(_receive.TryReserve(), "a receive that is not busy can be begun");
            _receive.Target = target;
            _receive.Arm();
            if (!_kernelReceives)
            {
                _kernelReceives = true;
                submitted = true;
                _core.Submit(new Submission { Op = SubmissionOp.Receive, Connection = Handle, Length = (uint)maxBytes, MaxFragments = (ushort)maxFragments });
            }
        }

        if (submitted)
        {
            _core.Publish();
        }

        return false;
    }

    /// <summary>Under the lock.</summary>
    private void DropUnfinishedReceive()
    {
        if (_gathering is { } gathering)
        {
            _gathering = null;
            gathering.ReleaseHeld(gathering.Version, gathering.Count);
        }
    }

    /// <summary>Under the lock.</summary>
    private void DropReceives()
    {
        DropUnfinishedReceive();
        if (_ready is { } ready)
        {
            _ready = null;
            ready.ReleaseHeld(ready.Version, ready.Count);
        }
    }
}
