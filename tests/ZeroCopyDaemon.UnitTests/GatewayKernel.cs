using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Wires.Gateway;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>What a <see cref="GatewayKernel"/> does with its connections.</summary>
internal interface IKernelApp
{
    void OnEvents(GatewayKernel kernel, TcpConnection connection, TcpEvents events, long nowUs);
}

/// <summary>A kernel host in small, for tests of the gateway: one NIC, one stack, one loop on the test's thread, and an application inside the loop.</summary>
internal sealed unsafe class GatewayKernel : ICounterVisitor, IDisposable
{
    private const int FirstToken = 1000;

    private readonly byte* _memory;
    private readonly PollEvent[] _ready = new PollEvent[64];
    private readonly NicModel _nic;
    private readonly NicDriver _driver;
    private readonly PollSet? _poll;
    private readonly IKernelApp _app;
    private readonly Dictionary<string, long> _counters = [];

    public GatewayKernel(IKernelApp app, GatewayOptions? options = null, int mtu = 1500, bool watched = true)
    {
        options ??= new GatewayOptions();
        _app = app;
        var geometry = new PoolGeometry(4096, 8192);
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)geometry.TotalBytes, 4096);
        Pool = new PagePool(_memory, geometry);
        _nic = new NicModel(new NicOptions { Mtu = mtu, PauseFrames = true, RxUsecs = 0, RxFrames = 1 }, geometry);
        _driver = new NicDriver(_nic, Pool);
        Stack = new NetStack(
            new NetStackOptions
            {
                Address = options.KernelAddress,
                PrefixLength = options.PrefixLength,
                EthernetAddress = EthernetAddress.ForHost(options.KernelAddress),
                Secret = 1,
            },
            Pool,
            _driver);
        Stack.RootBudget.LimitBytes = geometry.TotalBytes - (2048L * geometry.PageSize);
        _poll = watched ? new PollSet() : null;
        Wire = new GatewayWire(options);
        Wire.Attach(_nic, _poll, FirstToken);
    }

    public GatewayWire Wire { get; }

    public NetStack Stack { get; }

    public PagePool Pool { get; }

    public static long NowUs => Stopwatch.GetTimestamp() / (Stopwatch.Frequency / 1_000_000);

    /// <summary>Listens on a kernel port and exposes it; returns where real clients connect to.</summary>
    public IPEndPoint Listen(int port = 80)
    {
        Stack.Listen(new IpEndpoint(IpAddress.Any, (ushort)port), backlog: 512);
        return Expose(port);
    }

    public IPEndPoint Expose(int port) => IPEndPoint.Parse(Wire.Expose(port, new IPEndPoint(IPAddress.Loopback, 0)));

    /// <summary>One turn of the loop. Returns the amount of work done.</summary>
    public int Turn(int sleepUs = 1000)
    {
        long nowUs = NowUs;
        int work = Wire.Poll(nowUs);
        work += _driver.Poll(nowUs, 256, Stack);
        work += Transmit(nowUs);
        while (Stack.TryTakeEvent(out TcpConnection connection, out TcpEvents events))
        {
            if ((events & TcpEvents.Accepted) != 0)
            {
                connection.Listener!.MarkAccepted(connection);
            }

            _app.OnEvents(this, connection, events, nowUs);
            work++;
        }

        work += Transmit(nowUs);
        long dueUs = Math.Min(Math.Min(Wire.NextDeadlineUs, Stack.NextDeadlineUs), _nic.NextInterruptUs);
        if (work == 0 && !Wire.NeedsPoll && !_driver.NeedsPoll(nowUs) && dueUs > nowUs)
        {
            Sleep(Math.Min(dueUs - nowUs, sleepUs));
        }
        else if (_poll is not null)
        {
            Sleep(0);
        }

        return work;
    }

    public void RunUntil(Func<bool> done, int seconds = 30)
    {
        long end = NowUs + (seconds * 1_000_000L);
        while (!done())
        {
            if (NowUs >= end)
            {
                string connections = string.Join(Environment.NewLine, Stack.Connections.Select(connection => $"{connection.Remote}: {connection.GetInfo(NowUs)}"));
                Assert.Fail($"not done within {seconds} s; {Wire.OpenClients} clients, {Stack.ConnectionCount} kernel flows, kernel connections:{Environment.NewLine}{connections}{Environment.NewLine}{string.Join(Environment.NewLine, Wire.DescribeClients())}");
            }

            Turn();
        }
    }

    /// <summary>Runs the loop until a client's work on another thread is done, and hands on what it threw.</summary>
    public T RunUntil<T>(Task<T> client)
    {
        RunUntil(() => client.IsCompleted);
        return client.GetAwaiter().GetResult();
    }

    public void RunUntil(Task client)
    {
        RunUntil(() => client.IsCompleted);
        client.GetAwaiter().GetResult();
    }

    /// <summary>Runs the loop until every connection is gone, and checks that no page is held.</summary>
    public void RunUntilEmpty()
    {
        RunUntil(() => Wire.OpenClients == 0 && Stack.ConnectionCount == 0);
        Assert.Equal(0, Pool.FragmentsInUse);
        Assert.Equal(0, Stack.RootBudget.ChargedBytes);
        Pool.CheckInvariants();
    }

    public IReadOnlyDictionary<string, long> Counters()
    {
        _counters.Clear();
        Wire.VisitCounters(this);
        return _counters;
    }

    void ICounterVisitor.Counter(string name, long value) => _counters[name] = _counters.GetValueOrDefault(name) + value;

    public void Dispose()
    {
        Wire.Dispose();
        _driver.Dispose();
        _poll?.Dispose();
        NativeMemory.AlignedFree(_memory);
    }

    private int Transmit(long nowUs) => Stack.Poll(nowUs) + _nic.ProcessTx(nowUs);

    private void Sleep(long us)
    {
        if (_poll is null)
        {
            Thread.Sleep(us == 0 ? 0 : 1);
            return;
        }

        int count = _poll.Wait(_ready, us);
        for (int i = 0; i < count; i++)
        {
            Wire.OnReady(_ready[i]);
        }
    }
}
