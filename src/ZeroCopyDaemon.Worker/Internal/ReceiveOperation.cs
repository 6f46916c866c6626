using System.Threading.Tasks.Sources;

namespace ZeroCopyDaemon.Worker.Internal;

/// <summary>A connection's one outstanding receive, in either form.</summary>
internal sealed class ReceiveOperation(Connection connection, bool inline) : OperationSource(inline), IValueTaskSource<Received>, IValueTaskSource<int>
{
    /// <summary>Where to copy to; for the form that copies.</summary>
    public Memory<byte> Target { get; set; }

    /// <summary>What came; null: the end of the stream.</summary>
    public ReceiveBatch? Batch { get; set; }

    Received IValueTaskSource<Received>.GetResult(short token)
    {
        CheckDone(token);
        ReceiveBatch? batch = Batch;
        Batch = null;
        Finish();
        return batch is null ? default : new Received(batch);
    }

    int IValueTaskSource<int>.GetResult(short token)
    {
        CheckDone(token);
        ReceiveBatch? batch = Batch;
        Memory<byte> target = Target;
        Batch = null;
        Target = default;
        Finish();

        // Here and not in the loop: the copy is the consumer's work, and other connections don't wait for it.
        return batch is null ? 0 : connection.CopyOut(batch, target.Span);
    }
}
