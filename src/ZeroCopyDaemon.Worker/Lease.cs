using ZeroCopyDaemon.Worker.Internal;

namespace ZeroCopyDaemon.Worker;

/// <summary>
/// Payload in a page of the shared pool, the caller's to read until it is released or sent. The page counts against the connection's window as long. Use after that is an
/// <see cref="InvalidOperationException"/>; a span taken before must not be read any more, which nobody can check.
/// </summary>
public readonly struct Lease
{
    private readonly ReceiveBatch? _batch;
    private readonly int _index;
    private readonly uint _version;

    internal Lease(ReceiveBatch batch, int index, uint version)
    {
        _batch = batch;
        _index = index;
        _version = version;
    }

    /// <summary>The bytes, in place. Read-only memory: a write through a pointer to it ends the process.</summary>
    public ReadOnlySpan<byte> Span => Batch.Span(_index, _version);

    /// <summary>Bytes.</summary>
    public int Length => Batch.LengthOf(_index, _version);

    /// <summary>True until it was released or sent.</summary>
    public bool IsHeld => _batch is not null && _batch.IsHeld(_index, _version);

    /// <summary>Gives the page back. Once, by any thread; a second time is an <see cref="InvalidOperationException"/>.</summary>
    public void Release()
    {
        WorkerCore core = Batch.Core;
        Batch.Release(_index, _version);
        core.Publish();
    }

    internal WorkerCore? Core => _batch?.Core;

    internal void TakeForSend(out ulong lease, out int length) => Batch.TakeForSend(_index, _version, out lease, out length);

    private ReceiveBatch Batch => _batch ?? throw new InvalidOperationException("This is no lease: it was never received.");
}
