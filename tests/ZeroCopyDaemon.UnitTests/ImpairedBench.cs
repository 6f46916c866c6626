using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Wires;
using ZeroCopyDaemon.Wires.Impaired;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>One host with one connection that sends a given text and keeps what it receives. Owns all its memory.</summary>
internal sealed unsafe class ImpairedHost : IDisposable
{
    private readonly NativePool _pool = new(pages: 2048);
    private byte* _text;
    private int _length;
    private int _taken;
    private bool _given;

    public ImpairedHost(byte number)
    {
        Nic = new NicModel(new NicOptions { RxRingSize = 256, RxUsecs = 0, RxFrames = 1, PauseFrames = true }, Pool.Geometry);
        Driver = new NicDriver(Nic, Pool);
        Address = IpAddress.Parse($"10.0.0.{number}");
        Stack = new NetStack(new NetStackOptions { Address = Address, PrefixLength = 24, EthernetAddress = EthernetAddress.ForHost(Address), Secret = number }, Pool, Driver);
        Stack.RootBudget.LimitBytes = 1024L * Pool.Geometry.PageSize;
    }

    public IpAddress Address { get; }

    public PagePool Pool => _pool.Pool;

    public NicModel Nic { get; }

    public NicDriver Driver { get; }

    public NetStack Stack { get; }

    /// <summary>What the driver hands frames to.</summary>
    public IFrameReceiver Receiver { get; set; } = null!;

    public TcpConnection? Connection { get; set; }

    public List<byte> Received { get; } = [];

    /// <summary>The peer ended its direction.</summary>
    public bool Ended { get; private set; }

    /// <summary>What it sends once it is connected; it ends its direction after that.</summary>
    public void Give(ReadOnlySpan<byte> text)
    {
        _length = text.Length;
        _text = (byte*)NativeMemory.Alloc((nuint)Math.Max(1, _length));
        text.CopyTo(new Span<byte>(_text, _length));
    }

    public int Turn(long nowUs)
    {
        int work = Driver.Poll(nowUs, 64, Receiver);
        work += Stack.Poll(nowUs);
        while (Stack.TryTakeEvent(out TcpConnection connection, out TcpEvents events))
        {
            if ((events & TcpEvents.Accepted) != 0)
            {
                connection.Listener!.MarkAccepted(connection);
                Connection = connection;
            }

            work++;
            Work(connection);
            if ((events & TcpEvents.Closed) != 0)
            {
                Connection = null;
            }
        }

        return work + Stack.Poll(nowUs) + Nic.ProcessTx(nowUs);
    }

    public long NextDeadlineUs => Math.Min(Stack.NextDeadlineUs, Nic.NextInterruptUs);

    public bool NeedsPoll(long nowUs) => Driver.NeedsPoll(nowUs) || Stack.HasPendingOutput;

    public string Describe(long nowUs) => $"received {Received.Count}, sent {_taken}, ended {Ended}, {Connection?.GetInfo(nowUs)}, frames posted {Driver.TxPosted}, completed {Driver.TxCompleted}";

    public void Dispose()
    {
        Driver.Dispose();
        NativeMemory.Free(_text);
        _pool.Dispose();
    }

    private void Work(TcpConnection connection)
    {
        while (connection.TryTakeSent(out SendItem item))
        {
            _taken += item.Length;
        }

        while (connection.Receive(int.MaxValue, 16, out int head) > 0)
        {
            for (int slot = head; slot != PagePool.NoFragment; slot = Pool[slot].Next)
            {
                Received.AddRange(Pool.Payload(slot));
            }

            Pool.ReleaseChain(head);
        }

        Ended |= connection.PeerClosed;
        if (!_given && connection.State is TcpState.Established or TcpState.CloseWait)
        {
            _given = true;
            Assert.True(_length == 0 || connection.TrySend(new SendItem(_text, _length, 0)));
            connection.ShutdownSend();
        }
    }
}

/// <summary>A wire of its own NIC's host at the other end of a cable, as the gateway is one; holds the kernel's frames back on demand.</summary>
internal sealed class FarHostWire(ImpairedHost far) : IWire, IWirePort
{
    private readonly FarPort _back = new();

    /// <summary>Frames it takes from the kernel before it holds back.</summary>
    public int Credit { get; set; } = int.MaxValue;

    /// <summary>When each frame of the kernel's came.</summary>
    public List<long> TakenAtUs { get; } = [];

    public int Refused { get; private set; }

    public bool Disposed { get; private set; }

    public string Name => "far";

    public WireOffloads TxOffloads => WireOffloads.Checksum;

    public Action<string>? Notice { get; set; }

    public bool NeedsPoll => false;

    public long NextDeadlineUs => far.NextDeadlineUs;

    public void Attach(NicModel nic, PollSet? poll, int firstToken)
    {
        nic.Wire = this;
        _back.To = nic;
        far.Nic.Wire = _back;
    }

    public int Poll(long nowUs) => far.Turn(nowUs);

    public bool TryCarry(in TxFrame frame, long nowUs)
    {
        if (Credit == 0)
        {
            Refused++;
            return false;
        }

        Credit--;
        TakenAtUs.Add(nowUs);
        far.Nic.ReceiveFromWire(frame, nowUs);
        return true;
    }

    public void OnReady(in PollEvent e)
    {
        // No descriptors.
    }

    public string Expose(int kernelPort) => $"far:{kernelPort}";

    public void Unexpose(int kernelPort) => Notice?.Invoke($"unexposed {kernelPort}");

    public void StopAccepting() => Notice?.Invoke("stopped");

    public string RealPeer(IpEndpoint remote) => "real " + remote;

    public void VisitCounters(ICounterVisitor visitor) => visitor.Counter("far.taken", TakenAtUs.Count);

    public void Dispose() => Disposed = true;

    private sealed class FarPort : IWirePort
    {
        public NicModel? To { get; set; }

        public bool TryCarry(in TxFrame frame, long nowUs)
        {
            To!.ReceiveFromWire(frame, nowUs);
            return true;
        }
    }
}

/// <summary>A kernel with an impaired wire, and a far host at its end, in virtual time.</summary>
internal sealed class ImpairedBench : ICounterVisitor, IDisposable
{
    private readonly Dictionary<string, long> _counters = [];

    public ImpairedBench(ImpairmentOptions options)
    {
        Inner = new FarHostWire(Far);
        Wire = new ImpairedWire(Inner, options);
        Wire.Attach(Kernel.Nic, null, 0);
        Kernel.Receiver = Wire.Filter(Kernel.Stack, Kernel.Pool);
        Far.Receiver = Far.Stack;
        Kernel.Stack.Listen(new IpEndpoint(IpAddress.Any, 80), backlog: 8);
    }

    public ImpairedHost Kernel { get; } = new(1);

    public ImpairedHost Far { get; } = new(2);

    public FarHostWire Inner { get; }

    public ImpairedWire Wire { get; }

    public long NowUs { get; private set; } = 1_000_000;

    public void Connect() => Far.Connection = Far.Stack.Connect(new IpEndpoint(Far.Address, 0), new IpEndpoint(Kernel.Address, 80), NowUs);

    /// <summary>Runs until the condition holds, the clock leaping to whatever is due next.</summary>
    public void RunUntil(Func<bool> done, long mostUs = 3_600_000_000)
    {
        long endUs = NowUs + mostUs;
        while (true)
        {
            Settle();
            if (done())
            {
                return;
            }

            long next = Math.Min(Math.Min(Wire.NextDeadlineUs, Kernel.NextDeadlineUs), Far.NextDeadlineUs);
            Assert.True(next < endUs, $"not done by {endUs} us; next is due at {next}; kernel: {Kernel.Describe(NowUs)}; far: {Far.Describe(NowUs)}");
            NowUs = Math.Max(NowUs, next);
        }
    }

    /// <summary>Runs up to a time.</summary>
    public void RunTo(long timeUs)
    {
        RunUntil(() => Math.Min(Math.Min(Wire.NextDeadlineUs, Kernel.NextDeadlineUs), Far.NextDeadlineUs) > timeUs);
        NowUs = timeUs;
        Settle();
    }

    /// <summary>Turns at the present time until nothing more happens.</summary>
    public void Settle()
    {
        int idle = 0;
        while (idle < 2)
        {
            int work = Wire.Poll(NowUs) + Kernel.Turn(NowUs);
            idle = work == 0 ? idle + 1 : 0;
        }
    }

    public long Counter(string name)
    {
        _counters.Clear();
        Wire.VisitCounters(this);
        return _counters[name];
    }

    void ICounterVisitor.Counter(string name, long value) => _counters[name] = _counters.GetValueOrDefault(name) + value;

    public void Dispose()
    {
        Wire.Dispose();
        Kernel.Dispose();
        Far.Dispose();
    }
}
