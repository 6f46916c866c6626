using System.Threading.Channels;
using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.Worker.Internal;

/// <summary>
/// Connections of one listener that the kernel gave to this worker and nobody took yet. The kernel gives as many as it has credit for; credit is renewed as connections are taken, so that a
/// worker that is stuck gathers no more than that, and the others get the rest.
/// </summary>
internal sealed class AcceptQueue
{
    private readonly WorkerCore _core;
    private readonly Channel<Connection> _ready;
    private readonly int _credit;
    private readonly Lock _gate = new();
    private int _taken;
    private bool _closed;

    public AcceptQueue(WorkerCore core, uint id, int credit)
    {
        _core = core;
        _credit = credit;
        Id = id;
        _ready = Channel.CreateUnbounded<Connection>(new UnboundedChannelOptions { AllowSynchronousContinuations = core.Inline });
    }

    public uint Id { get; }

    /// <summary>Asks for the first connections.</summary>
    public void Open() => GiveCredit(_credit);

    /// <summary>False: closed, the connection is the caller's to end.</summary>
    public bool TryOffer(Connection connection) => _ready.Writer.TryWrite(connection);

    public async ValueTask<Connection> TakeAsync(CancellationToken cancellation)
    {
        while (true)
        {
            _core.ThrowIfLost();
            Connection connection;
            try
            {
                connection = await _ready.Reader.ReadAsync(cancellation).ConfigureAwait(false);
            }
            catch (ChannelClosedException e)
            {
                _core.ThrowIfLost();
                throw new ObjectDisposedException("This listener was disposed.", e);
            }

            Renew();

            // A client may have given up while it waited here.
            if (connection.IsAlive)
            {
                return connection;
            }

            await connection.DisposeAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Those who wait fail; connections that nobody took are reset.</summary>
    public void Complete(Exception error)
    {
        lock (_gate)
        {
            _closed = true;
        }

        _ready.Writer.TryComplete(error);
        while (_ready.Reader.TryRead(out Connection? connection))
        {
            connection.Abort();
        }
    }

    private void Renew()
    {
        int credit = 0;
        lock (_gate)
        {
            // A few at a time: one submission for a quarter of the credit.
            if (!_closed && ++_taken >= Math.Max(1, _credit / 4))
            {
                credit = _taken;
                _taken = 0;
            }
        }

        if (credit > 0)
        {
            GiveCredit(credit);
        }
    }

    private void GiveCredit(int connections)
    {
        _core.Submit(new Submission { Op = SubmissionOp.AcceptCredit, Connection = Id, Length = (uint)connections });
        _core.Publish();
    }
}
