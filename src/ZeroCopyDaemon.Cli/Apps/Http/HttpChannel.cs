using System.Buffers;

namespace ZeroCopyDaemon.Cli.Apps.Http;

/// <summary>
/// What an HTTP connection reads from and writes to, whichever way the bytes get there. Input stays where it is until consumed; output is written into memory that is sent as it is. One
/// caller at a time.
/// </summary>
internal abstract class HttpChannel
{
    /// <summary>Received and not consumed yet.</summary>
    public abstract ReadOnlySequence<byte> Unread { get; }

    /// <summary>Payload received so far.</summary>
    public long ReceivedBytes { get; protected set; }

    /// <summary>Waits until there is more in <see cref="Unread"/>. False: the peer has closed its direction.</summary>
    public abstract ValueTask<bool> FillAsync(CancellationToken cancel);

    /// <summary>Gives back what lies before the position.</summary>
    public abstract void Consume(SequencePosition position);

    /// <summary>Sees to it that <see cref="Free"/> has room for that many bytes; sends what was written before, if it must.</summary>
    public abstract ValueTask ReserveAsync(int bytes);

    /// <summary>Memory to write to.</summary>
    public abstract Span<byte> Free { get; }

    /// <summary>That many bytes of <see cref="Free"/> are written.</summary>
    public abstract void Advance(int bytes);

    /// <summary>Sends what was written.</summary>
    public abstract ValueTask FlushAsync(bool more = false);

    /// <summary>No more output.</summary>
    public abstract void ShutdownSend();
}
