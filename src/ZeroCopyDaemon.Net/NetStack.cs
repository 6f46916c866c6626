using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Ip;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Net;

/// <summary>
/// A host's TCP/IP stack, sans-I/O: frames and times go in, frames and events come out. It keeps no clock, thread, socket, task or logger.
/// <para>One thread drives it: <see cref="Receive"/> for every frame, then <see cref="Poll"/> (timers and output), then drain <see cref="TryTakeEvent"/>; again no later
/// than <see cref="NextDeadlineUs"/>. All times are microseconds of one monotonic clock.</para>
/// </summary>
public sealed class NetStack : IFrameReceiver, IPageChargeSink, ICounterSource
{
    private readonly IpLayer _ip;
    private readonly TcpLayer _tcp;

    /// <param name="options">Addresses, limits, secret.</param>
    /// <param name="pool">Where received payload lies. The stack becomes its <see cref="PagePool.ChargeSink"/>.</param>
    /// <param name="device">Where frames go.</param>
    public NetStack(NetStackOptions options, PagePool pool, IFrameDevice device)
    {
        Options = options;
        Pool = pool;
        Device = device;
        RootBudget = new ReceiveBudget("pool", pool.Geometry.TotalBytes);
        _ip = new IpLayer(options, pool, device, Drops);
        _tcp = new TcpLayer(options, pool, device, _ip.Output, RootBudget, Drops);
        _ip.Tcp = _tcp;
        pool.ChargeSink = this;
    }

    public NetStackOptions Options { get; }

    public PagePool Pool { get; }

    public IFrameDevice Device { get; }

    /// <summary>The budget above all others; the host lowers its limit by what the NIC's rings need.</summary>
    public ReceiveBudget RootBudget { get; }

    /// <summary>What was dropped, by reason.</summary>
    public DropCounters Drops { get; } = new();

    /// <summary>When <see cref="Poll"/> must be called next, in microseconds; <see cref="long.MaxValue"/> = not before something happens.</summary>
    public long NextDeadlineUs => Math.Min(_ip.NextDeadlineUs, _tcp.NextDeadlineUs);

    /// <summary>True if output waits for room on the TX ring or for <see cref="Poll"/> to be called.</summary>
    public bool HasPendingOutput => _tcp.HasPendingOutput;

    /// <summary>TCP's settings as they are now. Replacing them concerns what is opened later, and limits at once.</summary>
    public TcpOptions TcpOptions
    {
        get => _tcp.Options;
        set => _tcp.Options = value;
    }

    /// <summary>Connections alive (TIME-WAIT not counted).</summary>
    public int ConnectionCount => _tcp.ConnectionCount;

    /// <summary>TIME-WAIT entries.</summary>
    public int TimeWaitCount => _tcp.TimeWaitCount;

    /// <summary>True if the connection between these two has ended and its addresses are not to be used again yet (RFC 9293 section 3.3.2).</summary>
    public bool IsInTimeWait(IpEndpoint local, IpEndpoint remote) => _tcp.IsInTimeWait(local, remote);

    /// <summary>Ends all of TIME-WAIT at once, as an administrator may. Returns how many entries there were.</summary>
    public int EndTimeWait() => _tcp.EndTimeWait();

    /// <inheritdoc/>
    public void Receive(in RxFrame frame, long nowUs) => _ip.Receive(frame, nowUs);

    /// <summary>Runs due timers, then transmits what may be sent until done or the TX ring is full. Returns the number of frames transmitted.</summary>
    public int Poll(long nowUs)
    {
        long before = Device.TxPosted;
        _ip.Poll(nowUs);
        _tcp.Poll(nowUs);
        return (int)(Device.TxPosted - before);
    }

    /// <summary>The device's MTU has changed: connections send segments that fit from now on.</summary>
    public void OnMtuChanged()
    {
        foreach (TcpConnection connection in _tcp.Connections)
        {
            connection.OnMtuChanged();
        }
    }

    /// <summary>Tells the neighbours who has our addresses (RFC 5227 section 2.3, RFC 4861 section 7.2.6): at the start, and when the link is up again.</summary>
    public void Announce()
    {
        _ip.Arp.Announce();
        _ip.Ipv6?.Ndp.Announce();
    }

    /// <summary>Another host claimed our address: how often, and which hardware address did so last.</summary>
    public (long Count, EthernetAddress Hardware) AddressConflicts => (_ip.Counters.ArpConflicts, _ip.Arp.LastConflict);

    /// <summary>As <see cref="AddressConflicts"/>, for our IPv6 addresses.</summary>
    public (long Count, EthernetAddress Hardware) AddressConflicts6 => (_ip.Ipv6?.Counters.Conflicts ?? 0, _ip.Ipv6?.Ndp.LastConflict ?? default);

    /// <summary>The link-local address, if there is IPv6.</summary>
    public IpAddress LinkLocalAddress => _ip.Ipv6?.Addresses.LinkLocal ?? IpAddress.Any;

    /// <summary>Takes the next event. Flags of one connection are gathered into one event, and no event is ever lost.</summary>
    public bool TryTakeEvent(out TcpConnection connection, out TcpEvents events) => _tcp.TryTakeEvent(out connection, out events);

    /// <summary>
    /// Opens a listener: with address <see cref="IpAddress.Any"/> for every address of either family, with 0.0.0.0 for every IPv4 address. The most particular one gets the connection. <paramref name="backlog"/> bounds half-open connections and, separately, established ones that nobody accepted yet.
    /// Throws <see cref="InvalidOperationException"/> if the endpoint is taken.
    /// </summary>
    public TcpListener Listen(IpEndpoint local, int backlog, ReceiveBudget? budget = null) => _tcp.Listen(local, backlog, budget);

    /// <summary>Active open. <paramref name="local"/> with address Any = this host's of the remote one's family, with port 0 = an ephemeral one (RFC 6056). Null when no port or slot is left.</summary>
    public TcpConnection? Connect(IpEndpoint local, IpEndpoint remote, long nowUs, ReceiveBudget? budget = null) =>
        _tcp.Connect(local, remote, nowUs, budget);

    /// <summary>A live connection by id.</summary>
    public bool TryGetConnection(int id, out TcpConnection connection) => _tcp.TryGetConnection(id, out connection);

    /// <summary>All live connections, for the inspector. Allocates.</summary>
    public IEnumerable<TcpConnection> Connections => _tcp.Connections;

    /// <inheritdoc/>
    public void Uncharge(int connection, int bytes) => _tcp.Uncharge(connection, bytes);

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        _ip.VisitCounters(visitor);
        _tcp.VisitCounters(visitor);
        Drops.VisitCounters(visitor);
    }

    /// <summary>How often a connection of this stack entered a state, for a test to show what it has covered.</summary>
    public long StateVisits(TcpState state) => _tcp.Counters.Visits(state);
}
