using System.Buffers;
using ZeroCopyDaemon.Worker.Internal;

namespace ZeroCopyDaemon.Worker;

/// <summary>
/// What one receive yielded: leases on pages, in stream order, or the end of the stream. The caller's until each lease was released or sent; <see cref="Dispose"/> releases what is left, so
/// <c>using</c> is always right. Where one receive ends and the next begins says nothing about the peer's writes.
/// </summary>
public readonly struct Received : IDisposable
{
    private readonly ReceiveBatch? _batch;
    private readonly uint _version;

    internal Received(ReceiveBatch batch)
    {
        _batch = batch;
        _version = batch.Version;
        Count = batch.Count;
        Length = batch.Length;
    }

    /// <summary>The peer has closed its sending direction, and all before it was delivered.</summary>
    public bool IsEnd => _batch is null;

    /// <summary>Bytes in all leases.</summary>
    public int Length { get; }

    /// <summary>Leases.</summary>
    public int Count { get; }

    /// <summary>One of the leases, in stream order.</summary>
    public Lease this[int index]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)Count, nameof(index));
            return new Lease(_batch!, index, _version);
        }
    }

    /// <summary>The bytes of the first lease: often all there is.</summary>
    public ReadOnlySpan<byte> FirstSpan => _batch is null ? default : _batch.Span(0, _version);

    /// <summary>All bytes, in place, as one sequence. Valid while every lease is held; made again by each call.</summary>
    public ReadOnlySequence<byte> AsSequence() => _batch is null ? default : _batch.Sequence(_version, Count);

    /// <summary>Copies all bytes out, and counts that (<c>rx.payload_copied_bytes</c>). The leases stay the caller's.</summary>
    public void CopyTo(Span<byte> destination)
    {
        if (destination.Length < Length)
        {
            throw new ArgumentException($"The destination has room for {destination.Length} bytes, and {Length} were received.", nameof(destination));
        }

        for (int i = 0; i < Count; i++)
        {
            ReadOnlySpan<byte> span = _batch!.Span(i, _version);
            span.CopyTo(destination);
            destination = destination[span.Length..];
            _batch.Core.Count(Protocol.WorkerCounter.RxPayloadCopiedBytes, span.Length);
        }
    }

    /// <summary>Goes through the leases.</summary>
    public Enumerator GetEnumerator() => new(this);

    /// <summary>Releases all leases that are still held. If none is, it was released before, which is an <see cref="InvalidOperationException"/>.</summary>
    public void Release()
    {
        if (_batch is not null && ReleaseHeld() == 0)
        {
            throw new InvalidOperationException("What was received was released or sent before: its pages are the kernel's again.");
        }
    }

    /// <summary>Releases all leases that are still held, if any.</summary>
    public void Dispose()
    {
        if (_batch is not null)
        {
            ReleaseHeld();
        }
    }

    internal WorkerCore? Core => _batch?.Core;

    private int ReleaseHeld()
    {
        WorkerCore core = _batch!.Core;
        int released = _batch.ReleaseHeld(_version, Count);
        if (released > 0)
        {
            core.Publish();
        }

        return released;
    }

    /// <summary>Goes through the leases of a <see cref="Received"/>.</summary>
    public struct Enumerator
    {
        private readonly Received _received;
        private int _index;

        internal Enumerator(Received received)
        {
            _received = received;
            _index = -1;
        }

        /// <summary>The present lease.</summary>
        public readonly Lease Current => _received[_index];

        /// <summary>On to the next lease.</summary>
        public bool MoveNext() => ++_index < _received.Count;
    }
}
