using ZeroCopyDaemon.Worker.Internal;

namespace ZeroCopyDaemon.Worker;

/// <summary>
/// This worker's share in a listening port. Other workers may listen on the same port; each new connection goes to one of them. The application disposes it, after which connections that nobody
/// took are reset, and those that were taken go on. Any thread.
/// </summary>
public sealed class Listener : IAsyncDisposable
{
    private readonly AcceptQueue _queue;
    private readonly Func<Listener, ValueTask> _leave;
    private int _disposed;

    internal Listener(AcceptQueue queue, int port, string publicAddress, Func<Listener, ValueTask> leave)
    {
        _queue = queue;
        _leave = leave;
        Port = port;
        PublicAddress = publicAddress;
    }

    /// <summary>The port on the wire.</summary>
    public int Port { get; }

    /// <summary>Where a real client connects to, such as "127.0.0.1:7000".</summary>
    public string PublicAddress { get; }

    internal AcceptQueue Queue => _queue;

    /// <summary>The next connection, which is the caller's to dispose. Several callers may wait.</summary>
    /// <exception cref="KernelLostException">The kernel host is gone or has detached this worker.</exception>
    public ValueTask<Connection> AcceptAsync(CancellationToken cancellation = default) => _queue.TakeAsync(cancellation);

    /// <summary>Leaves the port. The kernel host closes it with the last worker that listens on it.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            _queue.Complete(new ObjectDisposedException(nameof(Listener)));
            await _leave(this).ConfigureAwait(false);
        }
    }
}
