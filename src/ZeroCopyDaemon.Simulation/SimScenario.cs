using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Wires.Sim;

namespace ZeroCopyDaemon.Simulation;

/// <summary>Who opens a connection.</summary>
public enum SimOpen
{
    /// <summary>Host A connects, host B listens.</summary>
    ByA,

    /// <summary>Host B connects, host A listens.</summary>
    ByB,

    /// <summary>Both connect to each other at the same instant (RFC 9293 section 3.5, figure 7).</summary>
    Simultaneous,
}

/// <summary>How a connection comes to its end.</summary>
public enum SimClose
{
    /// <summary>Each end ends its direction as soon as it has sent everything, and reads on.</summary>
    HalfCloseEach,

    /// <summary>A ends its direction first; B does once it has read everything.</summary>
    AFirst,

    /// <summary>B ends its direction first; A does once it has read everything.</summary>
    BFirst,

    /// <summary>A closes both directions once it has sent and read everything; B closes when it sees that.</summary>
    FullByA,

    /// <summary>B closes both directions once it has sent and read everything; A closes when it sees that.</summary>
    FullByB,

    /// <summary>Both close at the same instant, once both have everything.</summary>
    Simultaneous,

    /// <summary>A aborts somewhere on the way: then every byte that arrives must be right, but not all arrive.</summary>
    AbortByA,

    /// <summary>B aborts somewhere on the way.</summary>
    AbortByB,
}

/// <summary>A host of a simulation: its NIC, its pool, its stack's settings.</summary>
public sealed record SimHostPlan
{
    public required NicOptions Nic { get; init; }

    public required PoolGeometry Pool { get; init; }

    public required TcpOptions Tcp { get; init; }

    /// <summary>Frames taken from the NIC in one go.</summary>
    public int PollBudget { get; init; } = 64;

    /// <summary>The host's loop runs at most this often, in microseconds: what arrives meanwhile waits on the ring. 0 = whenever something happens.</summary>
    public long LoopUs { get; init; }
}

/// <summary>What one end of a connection does.</summary>
public sealed record SimEndPlan
{
    /// <summary>Bytes that it sends. Of an echo: what it is sent.</summary>
    public long SendBytes { get; init; }

    /// <summary>It sends back the very fragments that it receives.</summary>
    public bool Echo { get; init; }

    /// <summary>Largest write.</summary>
    public int MaxWriteBytes { get; init; }

    /// <summary>Longest pause between writes.</summary>
    public long WritePauseUs { get; init; }

    /// <summary>Bytes of memory that writes are made from; what isn't acknowledged holds its part of it.</summary>
    public int TxMemoryBytes { get; init; }

    /// <summary>Largest receive.</summary>
    public int MaxReadBytes { get; init; }

    /// <summary>Most fragments of a receive.</summary>
    public int MaxReadFragments { get; init; }

    /// <summary>Longest pause between receives.</summary>
    public long ReadPauseUs { get; init; }

    /// <summary>Longest time that a lease is held.</summary>
    public long HoldUs { get; init; }
}

/// <summary>A connection of a simulation.</summary>
public sealed record SimConnectionPlan
{
    public SimOpen Open { get; init; }

    public SimClose Close { get; init; }

    /// <summary>With an abort: after how many bytes received by the aborting end.</summary>
    public long AbortAfterBytes { get; init; }

    public required SimEndPlan A { get; init; }

    public required SimEndPlan B { get; init; }

    /// <summary>True if it ends in an abort.</summary>
    public bool Aborts => Close is SimClose.AbortByA or SimClose.AbortByB;
}

/// <summary>Everything that a simulation is made of. <see cref="FromSeed"/> draws one, and the same seed always draws the same.</summary>
public sealed record SimScenario
{
    public ulong Seed { get; init; }

    public required SimWireOptions Wire { get; init; }

    public required SimHostPlan A { get; init; }

    public required SimHostPlan B { get; init; }

    public required IReadOnlyList<SimConnectionPlan> Connections { get; init; }

    /// <summary>The clock's reading at the start, so that clocks of few bits wrap too.</summary>
    public long StartUs { get; init; }

    /// <summary>The hosts talk IPv6 with each other; else IPv4.</summary>
    public bool Ipv6 { get; init; }

    /// <summary>If not 0: the first connection's opener begins this many sequence numbers before they wrap.</summary>
    public uint BytesToWrap { get; init; }

    /// <summary>Draws a scenario.</summary>
    public static SimScenario FromSeed(ulong seed) => new SimScenarioDraw(seed).Draw();
}
