using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.Wires.Impaired;

/// <summary>
/// Any wire, made worse: loses, repeats, delays, overtakes, harms and paces frames in both directions, from one seed. What leaves passes through it on the way to the wire below; what comes in passes
/// through <see cref="Filter"/>, between driver and stack. It carries wire frames only, whatever the wire below could take over from the NIC.
/// <para>Outgoing frames under way are copies of its own: they stand for the network. Incoming ones are held by reference. It owns both, and the wire below.</para>
/// </summary>
public sealed class ImpairedWire : IWire
{
    private const long HeldBackRetryUs = 1_000;

    private readonly IWire _inner;
    private readonly ImpairmentOptions _options;
    private readonly ImpairedTx _tx;
    private NicModel? _nic;
    private ImpairedRx? _rx;
    private long _nowUs;
    private bool _disposed;

    /// <param name="inner">The wire below; this one's from here on. Not attached yet.</param>
    /// <param name="options">What happens to frames. Each direction has random numbers of its own.</param>
    public ImpairedWire(IWire inner, ImpairmentOptions options)
    {
        ArgumentNullException.ThrowIfNull(inner);
        ArgumentNullException.ThrowIfNull(options);
        _inner = inner;
        _options = options;
        _tx = new ImpairedTx(inner, options, options.Seed);
    }

    /// <inheritdoc/>
    public string Name => _inner.Name;

    /// <inheritdoc/>
    public WireOffloads TxOffloads => WireOffloads.None;

    /// <inheritdoc/>
    public Action<string>? Notice
    {
        get => _inner.Notice;
        set => _inner.Notice = value;
    }

    /// <inheritdoc/>
    public long NextDeadlineUs
    {
        get
        {
            long ownUs = Math.Min(_tx.HeldBack ? _nowUs + HeldBackRetryUs : _tx.NextDueUs, _rx?.NextDueUs ?? long.MaxValue);
            return Math.Min(ownUs, _inner.NextDeadlineUs);
        }
    }

    /// <inheritdoc/>
    public bool NeedsPoll => _inner.NeedsPoll;

    /// <inheritdoc/>
    public int MaxPagesHeld => (_rx?.MaxPages ?? 0) + _inner.MaxPagesHeld;

    /// <inheritdoc/>
    public void Attach(NicModel nic, PollSet? poll, int firstToken)
    {
        ArgumentNullException.ThrowIfNull(nic);
        _inner.Attach(nic, poll, firstToken);
        Invariant.That(nic.Wire == _inner, "a wire plugs itself into the NIC");
        _nic = nic;
        nic.Wire = this;
    }

    /// <inheritdoc/>
    public IFrameReceiver Filter(IFrameReceiver stack, PagePool pool)
    {
        ArgumentNullException.ThrowIfNull(pool);
        Invariant.That(_rx is null, "one stack is behind a wire");
        return _rx = new ImpairedRx(_inner.Filter(stack, pool), pool, _options, ~_options.Seed);
    }

    /// <inheritdoc/>
    public int Poll(long nowUs)
    {
        _nowUs = nowUs;
        int work = _tx.Deliver(nowUs);
        work += _inner.Poll(nowUs);
        return work + (_rx?.Deliver(nowUs) ?? 0);
    }

    /// <inheritdoc/>
    public bool TryCarry(in TxFrame frame, long nowUs)
    {
        _nowUs = nowUs;
        return _tx.TryCarry(frame, nowUs);
    }

    /// <inheritdoc/>
    public void OnReady(in PollEvent e) => _inner.OnReady(e);

    /// <inheritdoc/>
    public string Expose(int kernelPort) => _inner.Expose(kernelPort);

    /// <inheritdoc/>
    public string AlsoAt(int kernelPort) => _inner.AlsoAt(kernelPort);

    /// <inheritdoc/>
    public void Unexpose(int kernelPort) => _inner.Unexpose(kernelPort);

    /// <inheritdoc/>
    public void StopAccepting() => _inner.StopAccepting();

    /// <inheritdoc/>
    public string RealPeer(IpEndpoint remote) => _inner.RealPeer(remote);

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        _inner.VisitCounters(visitor);
        _tx.VisitCounters(visitor);
        _rx?.VisitCounters(visitor);
    }

    /// <summary>Releases every page that is held, forgets what is under way, and disposes of the wire below.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _tx.Clear();
        _rx?.Clear();
        _inner.Dispose();
        if (_nic is not null)
        {
            _nic.Wire = null;
        }
    }
}
