using System.Net;
using System.Net.Sockets;
using System.Numerics;
using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.Wires.Gateway;

/// <summary>
/// The wire that needs no privilege and runs on every OS: it listens on real TCP ports, and each real client becomes one host on a modelled network, with an address of its own. A
/// client-side instance of the same stack turns the client's bytes into Ethernet frames for the kernel's NIC, and back, with back-pressure, half-close and reset both ways.
/// <para>It owns the real sockets, and the modelled hosts' stack, NIC and page pool, in memory of its own. Every call comes from the loop's thread. The kernel's NIC should have
/// <see cref="NicOptions.PauseFrames"/> on: the gateway then waits for its buffers instead of losing frames.</para>
/// </summary>
public sealed class GatewayWire : IWire, IGatewayClientHome
{
    private const int AcceptsPerTurn = 64;

    // However many clients there are, the loop has other things to do after this.
    private const long BytesPerPoll = 4 << 20;
    private const int SmallestQuotaPages = 16;
    private const long HeldBackRetryUs = 5_000;
    private const long AcceptRetryUs = 100_000;
    private const long UnwatchedPollUs = 1_000;

    private readonly GatewayOptions _options;
    private readonly GatewayCounters _counters = new();
    private readonly PrefixedVisitor _hostCounters = new("gateway.host.");
    private readonly SendRingStore _rings;
    private readonly List<GatewayListener> _listeners = [];
    private readonly List<object?> _tokens = [];
    private readonly Stack<int> _freeTokens = new();
    private readonly Queue<int> _freeHosts;
    private readonly Queue<GatewayClient> _work;
    private readonly Dictionary<IpEndpoint, GatewayClient> _clients;
    private GatewayHost? _host;
    private NicModel? _kernelNic;
    private PollSet? _poll;
    private int _firstToken;
    private int _quotaForClients;
    private long _nowUs;
    private long _acceptAgainUs;
    private bool _disposed;

    public GatewayWire(GatewayOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        _options = options;
        _rings = new SendRingStore(options.SendRingBytes, options.MaxClients);
        _work = new Queue<GatewayClient>(options.MaxClients);
        _clients = new Dictionary<IpEndpoint, GatewayClient>(options.MaxClients);

        // First in, first out, so that an address rests as long as can be before another client gets it.
        _freeHosts = new Queue<int>(Enumerable.Range(0, options.MaxClients));
    }

    /// <inheritdoc/>
    public string Name => "gateway";

    /// <inheritdoc/>
    public Action<string>? Notice { get; set; }

    /// <summary>Real clients connected, those included whose last bytes are on the way.</summary>
    public int OpenClients => _clients.Count;

    /// <inheritdoc/>
    public long NextDeadlineUs
    {
        get
        {
            long deadlineUs = Host.NextDeadlineUs;
            if (_acceptAgainUs != 0)
            {
                deadlineUs = Math.Min(deadlineUs, _acceptAgainUs);
            }

            if (Host.HeldBack)
            {
                deadlineUs = Math.Min(deadlineUs, _nowUs + HeldBackRetryUs);
            }

            return _poll is null ? Math.Min(deadlineUs, _nowUs + UnwatchedPollUs) : deadlineUs;
        }
    }

    /// <inheritdoc/>
    public bool NeedsPoll => _work.Count > 0 || Host.NeedsPoll(_nowUs) || (_acceptAgainUs == 0 && _clients.Count < _options.MaxClients && AnyListenerReady());

    GatewayCounters IGatewayClientHome.Counters => _counters;

    SendRingStore IGatewayClientHome.Rings => _rings;

    PagePool IGatewayClientHome.Pool => Host.Pool;

    int IGatewayClientHome.BytesPerTurn => _options.BytesPerTurn;

    private GatewayHost Host => _host ?? throw new InvalidOperationException("The gateway is used before it is attached.");

    /// <inheritdoc/>
    public void Attach(NicModel nic, PollSet? poll, int firstToken)
    {
        ArgumentNullException.ThrowIfNull(nic);
        Invariant.That(_host is null && nic.Wire is null, "a wire is attached once, to a NIC without one");
        _host = new GatewayHost(_options, nic);
        _kernelNic = nic;
        _poll = poll;
        _firstToken = firstToken;
        nic.Wire = this;
    }

    /// <summary>Opens a real listening socket of the same number at <see cref="GatewayOptions.Bind"/>.</summary>
    public string Expose(int kernelPort) => Expose(kernelPort, new IPEndPoint(_options.Bind, kernelPort));

    /// <inheritdoc/>
    public string RealPeer(IpEndpoint remote) => TryGetClient(remote, out string real) ? real : "";

    /// <summary>
    /// Opens a real listening socket whose clients are connected to a port of the kernel's. Returns the address that clients can connect to (with the port that the OS chose, if
    /// <paramref name="bind"/> has port 0). Throws <see cref="WireException"/>, with what to change, if that can't be.
    /// </summary>
    public string Expose(int kernelPort, IPEndPoint bind)
    {
        ArgumentNullException.ThrowIfNull(bind);
        Invariant.That(kernelPort is > 0 and <= ushort.MaxValue, "a port is from 1 to 65535");
        Invariant.That(_host is not null, "a wire is attached before anything is exposed on it");
        GatewayListener listener = GatewayListener.Open(kernelPort, bind, _options.Backlog);
        try
        {
            listener.Token = Watch(listener, listener.Descriptor, write: false);
        }
        catch
        {
            listener.Dispose();
            throw;
        }

        _listeners.Add(listener);
        return listener.PublicAddress;
    }

    /// <summary>Closes the listening sockets of a kernel port; its clients stay connected. Nothing happens if there are none.</summary>
    public void Unexpose(int kernelPort)
    {
        for (int i = _listeners.Count - 1; i >= 0; i--)
        {
            if (_listeners[i].KernelPort == kernelPort)
            {
                CloseListener(i);
            }
        }
    }

    /// <summary>Closes all listening sockets; clients stay connected.</summary>
    public void StopAccepting()
    {
        for (int i = _listeners.Count - 1; i >= 0; i--)
        {
            CloseListener(i);
        }
    }

    /// <summary>Who is behind a modelled host's endpoint: the real remote endpoint. False when there is no such client.</summary>
    public bool TryGetClient(IpEndpoint modelledRemote, out string realEndpoint)
    {
        bool found = _clients.TryGetValue(modelledRemote, out GatewayClient? client);
        realEndpoint = client?.RealEndpoint ?? "";
        return found;
    }

    /// <inheritdoc/>
    public bool TryCarry(in TxFrame frame, long nowUs) => Host.FromKernel.TryCarry(frame, nowUs);

    /// <inheritdoc/>
    public void OnReady(in PollEvent e)
    {
        int slot = e.Token - _firstToken;
        switch ((uint)slot < (uint)_tokens.Count ? _tokens[slot] : null)
        {
            case GatewayClient client:
                client.OnReady(e.Readable, e.Writable, e.HangUp);
                Enqueue(client);
                break;
            case GatewayListener listener:
                listener.Ready = true;
                break;
            default:
                // It was closed since the event was taken.
                break;
        }
    }

    /// <inheritdoc/>
    public int Poll(long nowUs)
    {
        _nowUs = nowUs;
        if (_poll is null)
        {
            AssumeAllReady();
        }

        int work = Accept(nowUs);
        work += Host.Receive(nowUs);
        TakeEvents();
        long bytes = _counters.BytesIn + _counters.BytesOut;
        for (int turns = _work.Count; turns > 0 && _counters.BytesIn + _counters.BytesOut - bytes < BytesPerPoll; turns--)
        {
            work += Pump(_work.Dequeue(), nowUs);
        }

        work += Host.Transmit(nowUs);
        TakeEvents();
        return work;
    }

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        visitor.Counter("gateway.clients", _clients.Count);
        _counters.Visit(visitor);
        _hostCounters.Inner = visitor;
        _host?.VisitCounters(_hostCounters);
    }

    /// <summary>Closes every socket, with a reset where a client is still connected, and frees all memory.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        StopAccepting();
        foreach (GatewayClient client in _clients.Values)
        {
            client.Dispose(_nowUs);
        }

        _clients.Clear();
        _host?.Dispose();
        _rings.Dispose();
        if (_kernelNic is not null)
        {
            _kernelNic.Wire = null;
        }
    }

    /// <summary>Every client, for a test's failure text.</summary>
    internal IEnumerable<string> DescribeClients() => _clients.Values.Select(client => client.Describe(_nowUs));

    private int Accept(long nowUs)
    {
        if (_acceptAgainUs != 0 && nowUs < _acceptAgainUs)
        {
            return 0;
        }

        _acceptAgainUs = 0;
        int accepted = 0;
        foreach (GatewayListener listener in _listeners)
        {
            while (listener.Ready && accepted < AcceptsPerTurn && _clients.Count < _options.MaxClients)
            {
                _counters.SystemCalls += 2;
                try
                {
                    if (listener.Accept() is { } socket)
                    {
                        Welcome(listener, socket, nowUs);
                        accepted++;
                    }
                }
                catch (SocketException e)
                {
                    // A client that left again, or no descriptor left: the latter would come back at once, so wait a little.
                    _counters.AcceptErrors++;
                    if (e.SocketErrorCode is not (SocketError.WouldBlock or SocketError.ConnectionAborted or SocketError.ConnectionReset))
                    {
                        _acceptAgainUs = nowUs + AcceptRetryUs;
                        return accepted;
                    }
                }
            }
        }

        return accepted;
    }

    private void Welcome(GatewayListener listener, Socket socket, long nowUs)
    {
        _counters.Accepted++;
        TcpConnection? connection = null;
        int host = _freeHosts.Dequeue();
        try
        {
            socket.Blocking = false;
            socket.NoDelay = true;
            socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
            var local = new IpEndpoint(GatewayHost.HostAddress(_options, host), 0);
            connection = Host.Stack.Connect(local, new IpEndpoint(_options.KernelAddress, (ushort)listener.KernelPort), nowUs);
            if (connection is not null)
            {
                var client = new GatewayClient(this, socket, connection, host);
                client.Token = Watch(client, client.Descriptor, write: true);
                _clients.Add(client.Modelled, client);
                ShareQuota(client);
                Enqueue(client);
                return;
            }
        }
        catch (Exception e) when (e is SocketException or IOException)
        {
            // It is gone already, or the OS can't watch another descriptor: the others go on.
            if (connection is not null)
            {
                connection.Owner = null;
                connection.Abort(nowUs);
            }
        }

        _counters.Refused++;
        _freeHosts.Enqueue(host);
        Refuse(socket);
    }

    private static void Refuse(Socket socket)
    {
        try
        {
            socket.LingerState = new LingerOption(enable: true, seconds: 0);
        }
        catch (SocketException)
        {
            // Reset already.
        }

        socket.Dispose();
    }

    /// <summary>
    /// Half of the pool is shared out among the clients that there are, so that slow readers, however many, leave room for the others. The number of clients is rounded, so that
    /// shares are seldom dealt anew.
    /// </summary>
    private void ShareQuota(GatewayClient? newcomer)
    {
        if (_clients.Count <= _quotaForClients && _clients.Count * 4 >= _quotaForClients)
        {
            if (newcomer is not null)
            {
                newcomer.QuotaBytes = QuotaBytes;
            }

            return;
        }

        _quotaForClients = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(_clients.Count, 1));
        foreach (GatewayClient client in _clients.Values)
        {
            client.QuotaBytes = QuotaBytes;
        }
    }

    private long QuotaBytes => Math.Max(
        Math.Min(Host.Stack.RootBudget.LimitBytes / 2 / _quotaForClients, _options.MaxClientQuotaBytes),
        (long)SmallestQuotaPages * Host.Pool.Geometry.PageSize);

    private int Pump(GatewayClient client, long nowUs)
    {
        client.Queued = false;
        int work = client.Pump(nowUs, out bool again);
        if (client.Finished)
        {
            Forget(client, nowUs);
        }
        else if (again)
        {
            Enqueue(client);
        }

        return work;
    }

    private void Forget(GatewayClient client, long nowUs)
    {
        Unwatch(client.Token, client.Descriptor);
        _clients.Remove(client.Modelled);
        _freeHosts.Enqueue(client.Host);
        client.Dispose(nowUs);
        ShareQuota(null);
    }

    private void TakeEvents()
    {
        while (Host.Stack.TryTakeEvent(out TcpConnection connection, out TcpEvents events))
        {
            if (connection.Owner is GatewayClient client)
            {
                client.OnEvents(events);
                Enqueue(client);
            }
        }
    }

    private void Enqueue(GatewayClient client)
    {
        if (!client.Queued)
        {
            client.Queued = true;
            _work.Enqueue(client);
        }
    }

    private void AssumeAllReady()
    {
        foreach (object? watched in _tokens)
        {
            if (watched is GatewayClient client)
            {
                client.OnReady(readable: true, writable: true, hangUp: false);
                Enqueue(client);
            }
            else if (watched is GatewayListener listener)
            {
                listener.Ready = true;
            }
        }
    }

    private bool AnyListenerReady()
    {
        foreach (GatewayListener listener in _listeners)
        {
            if (listener.Ready)
            {
                return true;
            }
        }

        return false;
    }

    private void CloseListener(int index)
    {
        GatewayListener listener = _listeners[index];
        _listeners.RemoveAt(index);
        Unwatch(listener.Token, listener.Descriptor);
        listener.Dispose();
    }

    private int Watch(object watched, int descriptor, bool write)
    {
        if (!_freeTokens.TryPop(out int slot))
        {
            slot = _tokens.Count;
            _tokens.Add(null);
        }

        try
        {
            // Edges: a descriptor that nobody can serve now (no room, too many clients) must not keep waking the loop.
            _poll?.Add(descriptor, _firstToken + slot, read: true, write: write, edge: true);
        }
        catch (IOException)
        {
            _freeTokens.Push(slot);
            throw;
        }

        _tokens[slot] = watched;
        return slot;
    }

    private void Unwatch(int slot, int descriptor)
    {
        _poll?.Remove(descriptor);
        _tokens[slot] = null;
        _freeTokens.Push(slot);
    }
}
