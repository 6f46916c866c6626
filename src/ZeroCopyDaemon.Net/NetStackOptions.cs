using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net;

/// <summary>How a stack is set up. Everything a peer can make grow has its limit here.</summary>
public sealed record NetStackOptions
{
    /// <summary>This host's address, or with <see cref="OwnsWholePrefix"/> the first of many.</summary>
    public required IpAddress Address { get; init; }

    /// <summary>On-link prefix length.</summary>
    public int PrefixLength { get; init; } = 24;

    /// <summary>Next hop for what isn't on-link; <see cref="IpAddress.Any"/> = none.</summary>
    public IpAddress Gateway { get; init; }

    /// <summary>This host's IPv6 address, beside a link-local one that its MAC makes; Any = no IPv6. Not with <see cref="OwnsWholePrefix"/>.</summary>
    public IpAddress Address6 { get; init; }

    /// <summary>On-link prefix length of <see cref="Address6"/>.</summary>
    public int PrefixLength6 { get; init; } = 64;

    /// <summary>Next hop for what isn't on-link in IPv6; <see cref="IpAddress.Any"/> = none.</summary>
    public IpAddress Gateway6 { get; init; }

    /// <summary>This host's MAC. Ignored with <see cref="OwnsWholePrefix"/>.</summary>
    public EthernetAddress EthernetAddress { get; init; }

    /// <summary>
    /// For a wire that models many hosts with one stack: every address of <see cref="HostPrefix"/>/<see cref="HostPrefixLength"/> is local, and each has the MAC
    /// <see cref="EthernetAddress.ForHost"/> of it.
    /// </summary>
    public bool OwnsWholePrefix { get; init; }

    /// <summary>With <see cref="OwnsWholePrefix"/>: the addresses that are this stack's own.</summary>
    public IpAddress HostPrefix { get; init; }

    /// <summary>With <see cref="OwnsWholePrefix"/>: prefix length of <see cref="HostPrefix"/>.</summary>
    public int HostPrefixLength { get; init; }

    /// <summary>Secret for initial sequence numbers (RFC 6528), the flow table's hash and ephemeral ports. Random in production, the seed in a simulation.</summary>
    public required UInt128 Secret { get; init; }

    /// <summary>TCP settings.</summary>
    public TcpOptions Tcp { get; init; } = new();

    /// <summary>Most neighbours known, in IPv4 (ARP) and in IPv6.</summary>
    public int MaxNeighbors { get; init; } = 4096;

    /// <summary>Most IP datagrams in reassembly at once, in each family.</summary>
    public int MaxReassemblies { get; init; } = 64;

    /// <summary>Most pages' worth of payload held by reassembly, in bytes of truesize, in each family.</summary>
    public int MaxReassemblyBytes { get; init; } = 1 << 20;

    /// <summary>ICMP messages we originate per second (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 (f)), a token bucket of that size for each family.</summary>
    public int IcmpRatePerSecond { get; init; } = 1000;
}

/// <summary>TCP settings of a stack.</summary>
public sealed record TcpOptions
{
    /// <summary>Most connections, TIME-WAIT not counted.</summary>
    public int MaxConnections { get; init; } = 65536;

    /// <summary>Most TIME-WAIT entries; beyond it the oldest goes.</summary>
    public int MaxTimeWait { get; init; } = 65536;

    /// <summary>2 x MSL.</summary>
    public long TimeWaitUs { get; init; } = 60_000_000;

    /// <summary>Offer and accept window scaling (RFC 7323 section 2).</summary>
    public bool WindowScaling { get; init; } = true;

    /// <summary>Offer and accept timestamps, with PAWS (RFC 7323 sections 3 to 5).</summary>
    public bool Timestamps { get; init; } = true;

    /// <summary>Offer and accept selective acknowledgments (RFC 2018, RFC 2883).</summary>
    public bool Sack { get; init; } = true;

    /// <summary>Truesize bytes that one connection may be charged for received payload.</summary>
    public long ReceiveQuotaBytes { get; init; } = 2 << 20;

    /// <summary>Most out-of-order fragments per connection.</summary>
    public int MaxOutOfOrderFragments { get; init; } = 1024;

    /// <summary>Most send items (ranges or leases) queued per connection, acknowledged ones included until taken.</summary>
    public int MaxSendItems { get; init; } = 1024;

    /// <summary>Nagle's algorithm (RFC 9293 section 3.7.4) for new connections.</summary>
    public bool Nagle { get; init; }

    /// <summary>Longest delay of an acknowledgment (RFC 9293 section 3.8.6.3: below 500 ms).</summary>
    public long DelayedAckUs { get; init; } = 40_000;

    /// <summary>Lower bound of the RTO. RFC 6298 (2.4) says 1 s SHOULD; Linux's 200 ms is what every peer is used to.</summary>
    public long MinRtoUs { get; init; } = 200_000;

    /// <summary>Upper bound of the RTO (RFC 6298 (2.5): at least 60 s).</summary>
    public long MaxRtoUs { get; init; } = 60_000_000;

    /// <summary>RTO before the first measurement (RFC 6298 (2.1)).</summary>
    public long InitialRtoUs { get; init; } = 1_000_000;

    /// <summary>Retransmissions of the same data before giving up (R2 of RFC 9293 section 3.8.3).</summary>
    public int MaxRetransmissions { get; init; } = 15;

    /// <summary>Retransmissions of SYN before an active open gives up: with an initial RTO of 1 s after three minutes (RFC 9293 section 3.8.3, MUST-23).</summary>
    public int MaxSynRetransmissions { get; init; } = 7;

    /// <summary>Retransmissions of SYN-ACK before a half-open connection is dropped.</summary>
    public int MaxSynAckRetransmissions { get; init; } = 5;

    /// <summary>How long FIN-WAIT-2 is held for a peer that never closes, once our application has closed.</summary>
    public long FinWait2Us { get; init; } = 60_000_000;

    /// <summary>Initial congestion window in segments (RFC 6928).</summary>
    public int InitialWindowSegments { get; init; } = 10;

    /// <summary>Largest receive window offered, in bytes.</summary>
    public int MaxReceiveWindow { get; init; } = 4 << 20;
}
