using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.Wires.Gateway;

/// <summary>
/// All modelled hosts together: one page pool in private memory, one NIC at the other end of the kernel's cable, and one stack that owns every address of the host prefix.
/// Single-threaded, on the loop's thread.
/// </summary>
internal sealed unsafe class GatewayHost : ICounterSource, IDisposable
{
    private const int FramesPerTurn = 1024;

    private readonly byte* _memory;
    private readonly NicModel _nic;
    private readonly NicDriver _driver;
    private readonly Cable _toKernel;

    public GatewayHost(GatewayOptions options, NicModel kernelNic)
    {
        int mtu = kernelNic.Options.Mtu;
        int pageSize = GatewayOptions.PageSizeFor(mtu);
        var geometry = new PoolGeometry(pageSize, Math.Max(options.PoolBytes / pageSize, 64));
        NicOptions nicOptions = GatewayOptions.NicFor(mtu, geometry.PageCount);
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)geometry.TotalBytes, (nuint)Environment.SystemPageSize);
        Pool = new PagePool(_memory, geometry);
        _nic = new NicModel(nicOptions, geometry);
        _toKernel = new Cable(kernelNic);
        _nic.Wire = _toKernel;
        FromKernel = new Cable(_nic);
        _driver = new NicDriver(_nic, Pool);
        Stack = new NetStack(
            new NetStackOptions
            {
                Address = FirstAddress(options),
                PrefixLength = options.PrefixLength,
                OwnsWholePrefix = true,
                HostPrefix = options.HostPrefix,
                HostPrefixLength = options.HostPrefixLength,
                Secret = options.Secret,
                Tcp = new TcpOptions
                {
                    MaxConnections = options.MaxClients,
                    MaxTimeWait = options.MaxClients,
                    ReceiveQuotaBytes = options.MaxClientQuotaBytes,

                    // Nothing lingers on this wire: a frame is there at once or never.
                    TimeWaitUs = 1_000_000,
                },
            },
            Pool,
            _driver);

        // What the NIC's ring needs is not the connections' to hold; neither is a reserve for pages that hang on a frame being taken in.
        Stack.RootBudget.LimitBytes = geometry.TotalBytes - (2L * nicOptions.RxRingSize * pageSize);
    }

    public PagePool Pool { get; }

    public NetStack Stack { get; }

    /// <summary>The kernel's end of the cable.</summary>
    public Cable FromKernel { get; }

    /// <summary>When <see cref="Receive"/> and <see cref="Transmit"/> must run next.</summary>
    public long NextDeadlineUs => Math.Min(Stack.NextDeadlineUs, _nic.NextInterruptUs);

    /// <summary>Work is left that does not wait for the kernel's NIC.</summary>
    public bool NeedsPoll(long nowUs) => _driver.NeedsPoll(nowUs) || (Stack.HasPendingOutput && !_toKernel.HeldBack);

    /// <summary>The kernel's NIC holds our frames back; it is polled by the loop whenever it can have got buffers.</summary>
    public bool HeldBack => _toKernel.HeldBack;

    /// <summary>Takes in what the kernel sent. Returns frames.</summary>
    public int Receive(long nowUs) => _driver.Poll(nowUs, FramesPerTurn, Stack);

    /// <summary>Runs timers and brings what the hosts have to say to the kernel's NIC. Returns frames.</summary>
    public int Transmit(long nowUs)
    {
        int frames = 0;
        while (true)
        {
            int posted = Stack.Poll(nowUs);
            int carried = _nic.ProcessTx(nowUs);
            frames += posted;

            // The TX ring may have filled up before the stack was done.
            if (posted == 0 || carried == 0 || !Stack.HasPendingOutput)
            {
                return frames + carried;
            }
        }
    }

    /// <summary>The i-th host's address.</summary>
    public static IpAddress HostAddress(GatewayOptions options, int host) =>
        IpAddress.FromV4((options.HostPrefix.V4 & (uint.MaxValue << (32 - options.HostPrefixLength))) + 1 + (uint)host);

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        Pool.VisitCounters(visitor);
        _nic.VisitCounters(visitor);
        _driver.VisitCounters(visitor);
        Stack.VisitCounters(visitor);
    }

    public void Dispose()
    {
        _driver.Dispose();
        NativeMemory.AlignedFree(_memory);
    }

    private static IpAddress FirstAddress(GatewayOptions options) => HostAddress(options, 0);
}
