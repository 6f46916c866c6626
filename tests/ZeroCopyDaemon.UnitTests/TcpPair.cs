using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Two whole stacks with NICs and pools of their own, a cable between them, one virtual clock. The cable delays, and drops or delays further as the test says.</summary>
internal sealed class TcpPair : IDisposable
{
    private readonly PriorityQueue<(TcpPairHost To, byte[] Frame), (long, long)> _cable = new();
    private long _carried;

    public TcpPair(Func<TcpOptions, TcpOptions>? configure = null, Func<NicOptions, NicOptions>? nic = null, int pages = 4096, bool ipv6 = false)
    {
        var options = new NicOptions { RxRingSize = 1024, TxRingSize = 256 };
        options = nic?.Invoke(options) ?? options;
        TcpOptions tcp = configure?.Invoke(new TcpOptions()) ?? new TcpOptions();
        Left = new TcpPairHost(this, "10.0.0.1", ipv6 ? "fd00::1" : "::", options, tcp, pages);
        Right = new TcpPairHost(this, "10.0.0.2", ipv6 ? "fd00::2" : "::", options, tcp, pages);
        (Left.Peer, Right.Peer) = (Right, Left);
    }

    public TcpPairHost Left { get; }

    public TcpPairHost Right { get; }

    public long NowUs { get; private set; } = 1_000_000;

    public long LatencyUs { get; set; } = 500;

    /// <summary>Further delay of a frame by its number on the cable; negative: it is lost.</summary>
    public Func<long, byte[], long>? Impair { get; set; }

    public long Lost { get; private set; }

    public (TcpConnection Client, TcpConnection Server) Connect()
    {
        TcpListener listener = Right.Stack.Listen(new IpEndpoint(Right.Address, 80), 16);
        TcpConnection client = Left.Stack.Connect(default, new IpEndpoint(Right.Address, 80), NowUs)!;
        Assert.True(RunUntil(() => Right.Accepted.Count > 0));
        TcpConnection server = Right.Accepted.Dequeue();
        listener.MarkAccepted(server);
        return (client, server);
    }

    /// <summary>Runs until the condition holds or so much time has passed; whether it holds.</summary>
    public bool RunUntil(Func<bool> condition, long withinUs = 3_600_000_000)
    {
        long end = NowUs + withinUs;
        while (!condition())
        {
            bool busy = true;
            while (busy)
            {
                busy = Left.Turn() | Right.Turn();
            }

            if (condition())
            {
                return true;
            }

            long next = Math.Min(Left.NextUs, Right.NextUs);
            if (_cable.TryPeek(out _, out (long At, long) first))
            {
                next = Math.Min(next, first.At);
            }

            if (next > end)
            {
                NowUs = end;
                return false;
            }

            NowUs = Math.Max(NowUs, next);
            while (_cable.TryPeek(out _, out first) && first.At <= NowUs)
            {
                (TcpPairHost to, byte[] frame) = _cable.Dequeue();
                to.Arrive(frame);
            }
        }

        return true;
    }

    public void Run(long microseconds) => RunUntil(static () => false, microseconds);

    public void Carry(TcpPairHost to, byte[] frame)
    {
        long number = _carried++;
        long delay = Impair?.Invoke(number, frame) ?? 0;
        if (delay < 0)
        {
            Lost++;
            return;
        }

        _cable.Enqueue((to, frame), (NowUs + LatencyUs + delay, number));
    }

    /// <summary>Once both ends are closed, nothing is held anywhere.</summary>
    public void AssertClean()
    {
        Assert.True(RunUntil(() => Left.Stack.ConnectionCount + Right.Stack.ConnectionCount == 0, 600_000_000), "connections are left");
        Run(1_000_000);
        Left.AssertClean();
        Right.AssertClean();
    }

    public void Dispose()
    {
        Left.Dispose();
        Right.Dispose();
    }
}

/// <summary>One end of a <see cref="TcpPair"/>.</summary>
internal sealed unsafe class TcpPairHost : IWirePort, IDisposable
{
    private readonly TcpPair _pair;
    private readonly NativePool _native;

    public TcpPairHost(TcpPair pair, string address, string address6, NicOptions options, TcpOptions tcp, int pages)
    {
        _pair = pair;
        _native = new NativePool(pages, fragments: options.FragmentCapacity(new PoolGeometry(4096, pages)));
        var address4 = IpAddress.Parse(address);
        var ipv6 = IpAddress.Parse(address6);
        Address = ipv6.IsAny ? address4 : ipv6;
        Nic = new NicModel(options, _native.Pool.Geometry) { Wire = this };
        Driver = new NicDriver(Nic, _native.Pool);
        var stack = new NetStackOptions { Address = address4, Address6 = ipv6, EthernetAddress = EthernetAddress.ForHost(address4), Secret = 42, Tcp = tcp };
        Stack = new NetStack(stack, _native.Pool, Driver);
        Stack.RootBudget.LimitBytes = (long)(pages - (options.RxRingSize * 5 / 4)) * _native.Pool.Geometry.PageSize;
    }

    public TcpPairHost Peer { get; set; } = null!;

    /// <summary>The IPv6 address, if it has one.</summary>
    public IpAddress Address { get; }

    public PagePool Pool => _native.Pool;

    public NicModel Nic { get; }

    public NicDriver Driver { get; }

    public NetStack Stack { get; }

    public Queue<TcpConnection> Accepted { get; } = new();

    /// <summary>What each connection's events do.</summary>
    public Dictionary<TcpConnection, Action<TcpEvents>> Handlers { get; } = [];

    public Dictionary<TcpConnection, TcpEvents> Seen { get; } = [];

    /// <summary>When it has something to do next.</summary>
    public long NextUs => Driver.NeedsPoll(_pair.NowUs) || Stack.HasPendingOutput ? _pair.NowUs : Math.Min(Stack.NextDeadlineUs, Nic.NextInterruptUs);

    public bool Turn()
    {
        int work = Driver.Poll(_pair.NowUs, 64, Stack) + Stack.Poll(_pair.NowUs) + Nic.ProcessTx(_pair.NowUs);
        while (Stack.TryTakeEvent(out TcpConnection connection, out TcpEvents events))
        {
            work++;
            Seen[connection] = Seen.GetValueOrDefault(connection) | events;
            if ((events & TcpEvents.Accepted) != 0)
            {
                Accepted.Enqueue(connection);
            }

            if (Handlers.TryGetValue(connection, out Action<TcpEvents>? handler))
            {
                handler(events);
            }
        }

        return work > 0;
    }

    public void Arrive(byte[] frame)
    {
        fixed (byte* bytes = frame)
        {
            TxChunk chunk = new(bytes + 14, frame.Length - 14);
            Nic.ReceiveFromWire(new TxFrame(frame.AsSpan(0, 14), new ReadOnlySpan<TxChunk>(in chunk), frame.Length - 14), _pair.NowUs);
        }
    }

    public bool TryCarry(in TxFrame frame, long nowUs)
    {
        byte[] bytes = new byte[frame.Length];
        frame.Headers.CopyTo(bytes);
        int at = frame.Headers.Length;
        foreach (TxChunk chunk in frame.Payload)
        {
            chunk.Span.CopyTo(bytes.AsSpan(at));
            at += chunk.Length;
        }

        _pair.Carry(Peer, bytes);
        return true;
    }

    public void AssertClean()
    {
        Pool.CheckInvariants();
        Assert.Equal((0, 0L), (Pool.FragmentsInUse, Stack.RootBudget.ChargedBytes));
        Assert.Equal(0, Stack.RootBudget.Connections);
    }

    public void Dispose()
    {
        Driver.Dispose();
        _native.Dispose();
    }
}

/// <summary>Sends a stream of so many bytes, checks one that arrives; closes when both are done.</summary>
internal sealed unsafe class TcpTransfer : IDisposable
{
    private const int ItemBytes = 9_973;
    private readonly TcpPairHost _host;
    private readonly TcpPair _pair;
    private readonly byte* _memory;
    private readonly long _toSend;
    private readonly int _seed;
    private long _queued;

    public TcpTransfer(TcpPair pair, TcpPairHost host, TcpConnection connection, long toSend, int seed, int peerSeed)
    {
        (_pair, _host, _toSend, _seed) = (pair, host, toSend, seed);
        Connection = connection;
        PeerSeed = peerSeed;
        _memory = (byte*)NativeMemory.Alloc(1 << 16);
        for (int i = 0; i < 1 << 16; i++)
        {
            _memory[i] = At(seed, i);
        }

        host.Handlers[connection] = On;
        Fill();
    }

    public TcpConnection Connection { get; }

    public int PeerSeed { get; }

    public long Received { get; private set; }

    public bool PeerClosed { get; private set; }

    public bool Closed { get; private set; }

    /// <summary>False: nothing is taken off the receive queue.</summary>
    public bool Reads { get; set; } = true;

    /// <summary>Most bytes per receive.</summary>
    public int ReadBytes { get; set; } = 50_000;

    public static byte At(int seed, long position) => (byte)(((position & 0xFFFF) * 31) ^ ((position & 0xFFFF) >> 8) ^ seed);

    public void Fill()
    {
        while (_queued < _toSend)
        {
            long at = _queued & 0xFFFF;
            int length = (int)Math.Min(Math.Min(ItemBytes, _toSend - _queued), (1 << 16) - at);
            if (!Connection.TrySend(new SendItem(_memory + at, length, (uint)_seed)))
            {
                return;
            }

            _queued += length;
        }

        Connection.ShutdownSend();
    }

    public void Read()
    {
        while (Reads)
        {
            int taken = Connection.Receive(ReadBytes, 16, out int slot);
            while (slot != PagePool.NoFragment)
            {
                foreach (byte value in _host.Pool.Payload(slot))
                {
                    if (value != At(PeerSeed, Received))
                    {
                        Assert.Fail($"byte {Received} is wrong");
                    }

                    Received++;
                }

                int next = _host.Pool[slot].Next;
                _host.Pool.Release(slot);
                slot = next;
            }

            if (taken == 0)
            {
                break;
            }
        }
    }

    public void Dispose() => NativeMemory.Free(_memory);

    private void On(TcpEvents events)
    {
        while (Connection.TryTakeSent(out _))
        {
        }

        Read();
        PeerClosed |= (events & TcpEvents.PeerClosed) != 0;
        Closed |= (events & TcpEvents.Closed) != 0;
        if (!Closed)
        {
            Fill();
        }

        if (PeerClosed && Connection.ReadableBytes == 0 && _queued == _toSend && !Closed)
        {
            Connection.Close(_pair.NowUs);
        }
    }
}
