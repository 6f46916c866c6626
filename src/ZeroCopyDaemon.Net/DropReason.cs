using ZeroCopyDaemon.Memory.Counters;

namespace ZeroCopyDaemon.Net;

/// <summary>Why the stack dropped a frame, segment or datagram. Names and meaning as in Linux's <c>skb_drop_reason</c>; a counter each.</summary>
public enum DropReason
{
    /// <summary>Not for one of our addresses (Ethernet).</summary>
    OTHERHOST,

    /// <summary>An IP datagram for one address in a frame for many (RFC 1122 section 3.3.6).</summary>
    UNICAST_IN_L2_MULTICAST,

    /// <summary>An EtherType we don't speak.</summary>
    UNHANDLED_PROTO,

    /// <summary>Frame shorter than its headers say.</summary>
    PKT_TOO_SMALL,

    /// <summary>IP header malformed, or of another version.</summary>
    IP_INHDR,

    /// <summary>IPv4 header checksum wrong.</summary>
    IP_CSUM,

    /// <summary>Not for one of our addresses (IP), or from an impossible one.</summary>
    IP_INADDRERRORS,

    /// <summary>An IP protocol we don't speak (ICMP protocol unreachable is sent).</summary>
    IP_NOPROTO,

    /// <summary>IP options we refuse (source routing).</summary>
    IP_OPTIONS,

    /// <summary>A fragment that overlaps or can't be (RFC 5722's rule, for IPv4 too).</summary>
    FRAG_INVALID,

    /// <summary>A fragment that is held already.</summary>
    DUP_FRAG,

    /// <summary>Reassembly timed out.</summary>
    FRAG_REASM_TIMEOUT,

    /// <summary>Reassembly's limits are reached.</summary>
    FRAG_LIMIT,

    /// <summary>ICMP checksum wrong.</summary>
    ICMP_CSUM,

    /// <summary>An ICMP message malformed or of no use here.</summary>
    INVALID_PROTO,

    /// <summary>IPv6 extension headers that are malformed, or that we refuse.</summary>
    IPV6_BAD_EXTHDR,

    /// <summary>Neighbour discovery in a packet with a fragment header (RFC 6980).</summary>
    IPV6_NDISC_FRAG,

    /// <summary>Neighbour discovery from beyond the link.</summary>
    IPV6_NDISC_HOP_LIMIT,

    /// <summary>Neighbour discovery of an unknown kind.</summary>
    IPV6_NDISC_BAD_CODE,

    /// <summary>Neighbour discovery malformed.</summary>
    IPV6_NDISC_BAD_OPTIONS,

    /// <summary>A neighbour solicitation that asks for another host.</summary>
    IPV6_NDISC_NS_OTHERHOST,

    /// <summary>ARP malformed or not for us.</summary>
    ARP_IGNORED,

    /// <summary>Neighbour table full, or the neighbour doesn't answer.</summary>
    NEIGH_FAILED,

    /// <summary>No room on the TX ring for an answer that isn't worth waiting for (ARP, ICMP).</summary>
    FULL_RING,

    /// <summary>TCP header malformed (data offset, reserved combination of flags).</summary>
    TCP_FLAGS,

    /// <summary>TCP checksum wrong.</summary>
    TCP_CSUM,

    /// <summary>No connection and no listener; answered by RST.</summary>
    NO_SOCKET,

    /// <summary>The listener's backlog of half-open or unaccepted connections is full.</summary>
    LISTENOVERFLOWS,

    /// <summary>No connection slot left.</summary>
    CONNECTION_LIMIT,

    /// <summary>Old timestamp (PAWS, RFC 7323 section 5).</summary>
    TCP_RFC7323_PAWS,

    /// <summary>Entirely old data.</summary>
    TCP_OLD_DATA,

    /// <summary>Beyond the window.</summary>
    TCP_OVERWINDOW,

    /// <summary>Sequence number not acceptable.</summary>
    TCP_INVALID_SEQUENCE,

    /// <summary>Acknowledges what was never sent, or is too old.</summary>
    TCP_INVALID_ACK_SEQUENCE,

    /// <summary>RST outside the rules of RFC 5961.</summary>
    TCP_RESET,

    /// <summary>SYN on a synchronised connection.</summary>
    TCP_INVALID_SYN,

    /// <summary>A segment that the connection's state has no use for.</summary>
    TCP_CLOSE,

    /// <summary>Data after the application closed for receiving; answered by RST.</summary>
    TCP_ABORT_ON_DATA,

    /// <summary>The connection's own receive quota is used up.</summary>
    SOCKET_RCVBUFF,

    /// <summary>The worker's or the pool's budget is used up.</summary>
    PROTO_MEM,

    /// <summary>Out-of-order data dropped: limit, or to make room for in-order data.</summary>
    TCP_OFO_QUEUE_PRUNE,

    /// <summary>Out-of-order data that is there already.</summary>
    TCP_OFOMERGE,
}

/// <summary>One count per <see cref="DropReason"/>.</summary>
public sealed class DropCounters : ICounterSource
{
    private static readonly string[] Names = Array.ConvertAll(Enum.GetNames<DropReason>(), name => "drop." + name);
    private readonly long[] _counts = new long[Names.Length];

    /// <summary>Counts one.</summary>
    public void Count(DropReason reason) => _counts[(int)reason]++;

    /// <summary>Counts several at once: the frames of one datagram.</summary>
    public void Count(DropReason reason, int frames) => _counts[(int)reason] += frames;

    /// <summary>Drops for a reason so far.</summary>
    public long this[DropReason reason] => _counts[(int)reason];

    /// <summary>All drops together.</summary>
    public long Total => _counts.Sum();

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        for (int reason = 0; reason < _counts.Length; reason++)
        {
            visitor.Counter(Names[reason], _counts[reason]);
        }
    }
}
