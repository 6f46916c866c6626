using Grpc.Core;
using ZeroCopyDaemon.Protocol.Control;
using ZeroCopyDaemon.Worker.Internal;

namespace ZeroCopyDaemon.Worker;

/// <summary>
/// This process as a worker of a kernel host: the mappings, the rings, and one event-loop thread that serves all of the worker's connections and sleeps when there is nothing to do. The
/// application disposes it, which detaches in good order. Any thread.
/// <para>When the kernel host dies, stops or detaches this worker, everything pending and everything later fails with <see cref="KernelLostException"/>, and <see cref="Lost"/> completes. A new
/// client can then be attached.</para>
/// </summary>
public sealed class KernelClient : IAsyncDisposable
{
    /// <summary>For each step of an orderly end: whoever doesn't answer in this time doesn't get more.</summary>
    private static readonly TimeSpan s_detachTimeout = TimeSpan.FromSeconds(5);

    private readonly AttachSession _session;
    private readonly WorkerCore _core;
    private readonly CancellationTokenSource _draining = new();
    private int _disposed;

    private KernelClient(WorkerOptions options, AttachSession session, WorkerCore core)
    {
        Options = options;
        _session = session;
        _core = core;
    }

    /// <summary>What it was attached with.</summary>
    public WorkerOptions Options { get; }

    /// <summary>The kernel host's number for this worker, as listings show it.</summary>
    public uint WorkerId => _session.Attached.Worker;

    /// <summary>Process id of the kernel host.</summary>
    public int KernelPid => _session.Attached.KernelPid;

    /// <summary>Bytes of a pool page.</summary>
    public int PageBytes => (int)_session.Attached.PageBytes;

    /// <summary>Completes, never fails, with the error that operations end with, when the kernel host is gone or this worker detached; all that was pending was told before.</summary>
    public Task<KernelLostException> Lost => _core.Lost;

    /// <summary>Cancelled when the daemon is about to stop: take nothing new, finish what is open, dispose the client.</summary>
    public CancellationToken Draining => _draining.Token;

    /// <summary>How long the daemon means to wait, once <see cref="Draining"/> is cancelled.</summary>
    public TimeSpan DrainTimeout { get; private set; }

    /// <summary>Largest TX buffer in bytes.</summary>
    public int MaxTxBytes => _core.Tx.MaxBytes;

    /// <summary>TX memory that nobody holds at the moment, in bytes.</summary>
    public long FreeTxBytes => _core.Tx.FreeBytes;

    /// <summary>Payload bytes that the kernel host reported to have copied on the way to this worker. Never silent; normally 0.</summary>
    public long KernelCopiedBytes => _core.KernelCopiedBytes;

    /// <summary>Times that the kernel host reported to have no memory for one of this worker's connections, which then waited.</summary>
    public long NoMemoryEvents => _core.NoMemoryEvents;

    /// <summary>Attaches this process to a daemon.</summary>
    /// <exception cref="DaemonNotRunningException">There is no such daemon.</exception>
    /// <exception cref="KernelRefusedException">It doesn't want this worker: another version, or too many workers.</exception>
    /// <exception cref="TimeoutException">It doesn't answer.</exception>
    public static async Task<KernelClient> AttachAsync(WorkerOptions? options = null, CancellationToken cancellation = default)
    {
        options ??= new WorkerOptions();
        options.Validate();
        AttachSession session = await AttachSession.OpenAsync(options, cancellation).ConfigureAwait(false);
        try
        {
            var core = new WorkerCore(session.Map(), options.Scheduling);
            var client = new KernelClient(options, session, core);
            core.Start($"zcd worker {session.Attached.Worker}");
            session.Watch(core, client.OnDrain);
            return client;
        }
        catch
        {
            await session.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Listens on a port, together with the other workers that do.</summary>
    /// <param name="port">The port on the wire.</param>
    /// <param name="backlog">Connections that wait for a worker, over all workers; 0: as the daemon is set up. Counts when the port is opened, not when it is shared.</param>
    /// <param name="cancellation">Ends the waiting for the kernel host's answer.</param>
    /// <exception cref="KernelRefusedException">The port can't be had.</exception>
    public async Task<Listener> ListenAsync(int port, int backlog = 0, CancellationToken cancellation = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(port, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(port, 65535);
        ArgumentOutOfRangeException.ThrowIfNegative(backlog);
        ThrowIfGone();
        ListenReply reply;
        try
        {
            var request = new ListenRequest { Token = _session.Attached.Token, Port = (uint)port, Backlog = (uint)backlog };
            reply = await _session.Control.ListenAsync(request, cancellationToken: cancellation).ConfigureAwait(false);
        }
        catch (RpcException e)
        {
            cancellation.ThrowIfCancellationRequested();
            ThrowIfGone();
            throw AttachSession.FoundNobody(e) ? await LossBehindAsync().ConfigureAwait(false) : new KernelRefusedException(e.Status.Detail, e);
        }

        // Known before the first credit is given, so that no connection comes for a listener that nobody knows.
        var queue = new AcceptQueue(_core, reply.Listener, Options.AcceptCredit);
        if (!_core.TryAddListener(queue))
        {
            throw new InvalidOperationException($"This worker listens on port {port} already.");
        }

        queue.Open();
        return new Listener(queue, port, reply.PublicAddress, LeaveAsync);
    }

    /// <summary>
    /// Memory to write into and to send without a copy (<see cref="Connection.SendAsync(TxBuffer, int, bool)"/>). False: at the moment there isn't enough in one piece, or others wait for some.
    /// </summary>
    /// <param name="bytes">From 1 to <see cref="MaxTxBytes"/>.</param>
    /// <param name="buffer">The caller's until it is sent or disposed.</param>
    public bool TryRentTx(int bytes, out TxBuffer buffer) => _core.Tx.TryRent(bytes, out buffer);

    /// <summary>As <see cref="TryRentTx"/>, but waits until memory comes back from the peers that acknowledge it. Those who wait are served in the order they came.</summary>
    public ValueTask<TxBuffer> RentTxAsync(int bytes, CancellationToken cancellation = default) => _core.Tx.RentAsync(bytes, cancellation);

    /// <summary>
    /// Detaches in good order: listeners are left, open connections closed, their sends published to the kernel host, which completes them whether this process goes on or not. After that, leases
    /// and TX buffers that the application still holds are good for nothing but to be released.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        if (_core.OnLoopThread)
        {
            // The loop's thread is waited for below.
            await Task.Yield();
        }

        if (!_core.IsLost)
        {
            await FinishAsync().ConfigureAwait(false);
        }

        _core.Fail(Protocol.DetachReason.Requested);
        _core.Close();
        await _session.DisposeAsync().ConfigureAwait(false);
        _draining.Dispose();
    }

    private async Task FinishAsync()
    {
        using var patience = new CancellationTokenSource(s_detachTimeout);
        try
        {
            foreach (Connection connection in _core.Connections)
            {
                await connection.CloseAsync(patience.Token).ConfigureAwait(false);
            }

            await _core.WhenAllPublished().WaitAsync(patience.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // A peer that doesn't take what was sent to it keeps nobody from leaving.
        }

        try
        {
            var request = new DetachRequest { Token = _session.Attached.Token };
            await _session.Control.DetachAsync(request, deadline: DateTime.UtcNow + s_detachTimeout).ConfigureAwait(false);
        }
        catch (RpcException)
        {
            // Gone or stuck: the end of the stream tells it the same.
        }
    }

    private void OnDrain(TimeSpan timeout)
    {
        DrainTimeout = timeout;
        _ = _draining.CancelAsync();
    }

    private async ValueTask LeaveAsync(Listener listener)
    {
        if (_core.IsLost)
        {
            return;
        }

        try
        {
            var request = new UnlistenRequest { Token = _session.Attached.Token, Listener = listener.Queue.Id };
            await _session.Control.UnlistenAsync(request, deadline: DateTime.UtcNow + s_detachTimeout).ConfigureAwait(false);
        }
        catch (Exception e) when (e is RpcException or ObjectDisposedException)
        {
            // The kernel host is gone, or the client was disposed first: either way the port was left.
        }

        _core.RemoveListener(listener.Queue);
    }

    /// <summary>The error behind a control call that found nobody: known a moment later.</summary>
    private async Task<Exception> LossBehindAsync()
    {
        _core.FailGone("its control service does not answer");
        return await Lost.ConfigureAwait(false);
    }

    private void ThrowIfGone()
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
        _core.ThrowIfLost();
    }
}
