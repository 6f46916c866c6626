using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.Simulation;

/// <summary>One host of a simulation: page pool over native memory, NIC, driver and stack. Owns the memory. Single-threaded.</summary>
internal sealed unsafe class SimHost : IFrameReceiver, IDisposable
{
    private readonly byte* _memory;
    private readonly SimHostPlan _plan;
    private long _nextTurnUs = long.MinValue;

    public SimHost(string name, SimHostPlan plan, IpAddress address, IpAddress address6, UInt128 secret)
    {
        Name = name;
        _plan = plan;
        PoolGeometry geometry = plan.Pool;
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)geometry.TotalBytes, 4096);
        new Span<byte>(_memory, (int)geometry.TotalBytes).Fill(0xA5);
        Pool = new PagePool(_memory, geometry, plan.Nic.FragmentCapacity(geometry));
        Nic = new NicModel(plan.Nic, geometry);
        Driver = new NicDriver(Nic, Pool);
        Stack = new NetStack(
            new NetStackOptions { Address = address, PrefixLength = 24, Address6 = address6, EthernetAddress = EthernetAddress.ForHost(address), Secret = secret, Tcp = plan.Tcp },
            Pool,
            Driver);

        // The rings, and a quarter for pages under way between ring and stack, are not the connections' to hold.
        int reserved = plan.Nic.RxRingSize * plan.Nic.RxQueues * 5 / 4;
        Stack.RootBudget.LimitBytes = (long)(geometry.PageCount - reserved) * geometry.PageSize;
    }

    public string Name { get; }

    public PagePool Pool { get; }

    public NicModel Nic { get; }

    public NicDriver Driver { get; }

    public NetStack Stack { get; }

    /// <summary>Called after every frame that the stack took in, and after every turn.</summary>
    public Action? AfterFrame { get; set; }

    /// <summary>One turn of the host's loop. Returns the amount of work done.</summary>
    public int Turn(long nowUs)
    {
        if (nowUs < _nextTurnUs)
        {
            return 0;
        }

        int work = Driver.Poll(nowUs, _plan.PollBudget, this);
        work += Stack.Poll(nowUs);
        work += Nic.ProcessTx(nowUs);
        if (work > 0 && _plan.LoopUs > 0)
        {
            _nextTurnUs = nowUs + _plan.LoopUs;
        }

        return work;
    }

    /// <summary>When the host has something to do next.</summary>
    public long NextDeadlineUs(long nowUs)
    {
        long dueUs = Driver.NeedsPoll(nowUs) || Stack.HasPendingOutput ? nowUs : Math.Min(Stack.NextDeadlineUs, Nic.NextInterruptUs);
        return Math.Max(dueUs, _nextTurnUs);
    }

    /// <summary>No frame is anywhere in the host.</summary>
    public bool IsIdle(long nowUs) => !Driver.NeedsPoll(nowUs) && Nic.NextInterruptUs == long.MaxValue && !Stack.HasPendingOutput && Driver.TxPosted == Driver.TxCompleted;

    /// <summary>What NIC and driver counted.</summary>
    public void VisitDevice(ICounterVisitor visitor)
    {
        Nic.VisitCounters(visitor);
        Driver.VisitCounters(visitor);
    }

    void IFrameReceiver.Receive(in RxFrame frame, long nowUs)
    {
        Stack.Receive(frame, nowUs);
        AfterFrame?.Invoke();
    }

    /// <summary>Every promise about pages and charges that must hold between turns.</summary>
    public void CheckInvariants(IEnumerable<TcpConnection> connections)
    {
        Pool.CheckInvariants();
        IReadOnlyDictionary<int, long> charged = PoolLedger.Charges(Pool);
        long total = charged.Values.Sum();
        SimFailureException.Unless(
            Stack.RootBudget.ChargedBytes == total,
            $"host {Name}: the root budget is charged {Stack.RootBudget.ChargedBytes} bytes, its pages and fragments {total}");

        // What connections pin, be it charged or not, leaves the rings their reserve; a frame's last page and the pages that NICs have open may still come on top.
        long pinned = total + Pool.OvercommittedBytes;
        int open = _plan.Nic.RxQueues + 1;
        SimFailureException.Unless(
            pinned <= Stack.RootBudget.LimitBytes + ((long)open * Pool.Geometry.PageSize),
            $"host {Name}: connections keep {pinned} bytes of pages from being free, and the pool has {Stack.RootBudget.LimitBytes} for them");
        foreach (TcpConnection connection in connections)
        {
            long pages = charged.GetValueOrDefault(connection.Id);
            SimFailureException.Unless(
                connection.ChargedBytes == pages,
                $"host {Name}: connection {connection.Id} is charged {connection.ChargedBytes} bytes, its pages and fragments {pages}");
        }
    }

    /// <summary>At the end nothing is held: every page is free or posted, and free once the driver is gone.</summary>
    public void CheckNothingHeld()
    {
        SimFailureException.Unless(
            Pool.FragmentsInUse == 0 && Pool.PagesInUse == 0,
            $"host {Name} leaks pages: {PoolLedger.Describe(Pool)}");
        SimFailureException.Unless(Stack.RootBudget.ChargedBytes == 0, $"host {Name}: {Stack.RootBudget.ChargedBytes} bytes are charged and nobody holds any page");
        Driver.Dispose();
        Pool.CheckInvariants();
        SimFailureException.Unless(
            Pool.FreePages == Pool.Geometry.PageCount,
            $"host {Name}: {Pool.Geometry.PageCount - Pool.FreePages} pages are not free after the driver gave its own back");
    }

    public void Dispose()
    {
        Driver.Dispose();
        NativeMemory.AlignedFree(_memory);
    }
}
