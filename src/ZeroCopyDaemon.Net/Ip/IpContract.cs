using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>What became of a segment handed to the IP layer.</summary>
internal enum IpSendResult
{
    /// <summary>On the TX ring.</summary>
    Sent,

    /// <summary>No room on the TX ring; nothing was taken.</summary>
    RingFull,

    /// <summary>The next hop's MAC isn't known yet and is being asked for; nothing was taken, <see cref="ITcpInput.OnNeighborResolved"/> or <see cref="ITcpInput.OnNeighborFailed"/> follows.</summary>
    AwaitingNeighbor,

    /// <summary>No route.</summary>
    Unreachable,
}

/// <summary>What TCP needs from below.</summary>
internal interface IIpOutput
{
    /// <summary>
    /// Sends one segment; with <paramref name="mss"/> &gt; 0 a TSO super-segment (only if the device has TSO). Writes all headers; completes the checksum in software when the device has no TX checksum offload.
    /// </summary>
    IpSendResult SendTcp(in TcpHeaderToSend header, ReadOnlySpan<TxChunk> payload, int payloadLength, int mss, long nowUs);

    /// <summary>True if the address is one of this host's.</summary>
    bool IsLocal(IpAddress address);

    /// <summary>The address to use as source towards a peer, of its family; Any = we have none of that family.</summary>
    IpAddress SourceFor(IpAddress remote);
}

/// <summary>What the IP layer tells TCP. TCP takes over the segment's payload chain.</summary>
internal interface ITcpInput
{
    void OnSegment(in TcpSegment segment, long nowUs);

    void OnNeighborResolved(IpAddress nextHop, long nowUs);

    /// <summary>Nobody answered for this next hop.</summary>
    void OnNeighborFailed(IpAddress nextHop, long nowUs);

    /// <summary>
    /// An ICMP error quoted one of our segments (quoted addresses as we sent it). Type and code are those of RFC 792: an ICMPv6 error comes as what RFC 7915 section 5.2 makes of it, a "packet too big" as
    /// "fragmentation needed". <paramref name="nextHopMtu"/> for that one, else 0; over IPv6 never less than 1280.
    /// </summary>
    void OnIcmpError(IpEndpoint local, IpEndpoint remote, SeqNumber quotedSeq, byte type, byte code, int nextHopMtu, long nowUs);
}
