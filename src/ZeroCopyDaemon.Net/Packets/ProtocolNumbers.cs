namespace ZeroCopyDaemon.Net.Packets;

/// <summary>EtherTypes (IEEE 802 numbers).</summary>
public enum EtherType : ushort
{
    None = 0,
    Ipv4 = 0x0800,
    Arp = 0x0806,
    Vlan = 0x8100,
    Ipv6 = 0x86DD,
}

/// <summary>IP protocol numbers.</summary>
public enum IpProtocol : byte
{
    /// <summary>In a dissection: not known, or not there. (On the wire, 0 in an IPv6 header announces hop-by-hop options.)</summary>
    None = 0,
    Icmp = 1,
    Tcp = 6,
    Udp = 17,

    /// <summary>IPv6 routing header (RFC 8200 section 4.4).</summary>
    Ipv6Route = 43,

    /// <summary>IPv6 fragment header (RFC 8200 section 4.5).</summary>
    Ipv6Fragment = 44,
    Icmpv6 = 58,

    /// <summary>Nothing follows (RFC 8200 section 4.7).</summary>
    Ipv6NoNext = 59,

    /// <summary>IPv6 destination options (RFC 8200 section 4.6).</summary>
    Ipv6Options = 60,
}

/// <summary>ICMP message types (RFC 792).</summary>
public enum IcmpType : byte
{
    EchoReply = 0,
    DestinationUnreachable = 3,
    SourceQuench = 4,
    Redirect = 5,
    Echo = 8,
    TimeExceeded = 11,
    ParameterProblem = 12,
}

/// <summary>Codes of <see cref="IcmpType.DestinationUnreachable"/> and <see cref="IcmpType.TimeExceeded"/> that matter here (RFC 792, RFC 1191).</summary>
public static class IcmpCode
{
    public const byte NetUnreachable = 0;
    public const byte HostUnreachable = 1;
    public const byte ProtocolUnreachable = 2;
    public const byte PortUnreachable = 3;
    public const byte FragmentationNeeded = 4;

    /// <summary>Communication with the host is forbidden by an administrator (RFC 1122 section 3.2.2.1).</summary>
    public const byte HostProhibited = 10;

    /// <summary>Of <see cref="IcmpType.TimeExceeded"/>.</summary>
    public const byte FragmentReassembly = 1;
}

/// <summary>ICMPv6 message types (RFC 4443, RFC 4861). Below 128 they tell of errors.</summary>
public enum Icmpv6Type : byte
{
    DestinationUnreachable = 1,
    PacketTooBig = 2,
    TimeExceeded = 3,
    ParameterProblem = 4,
    EchoRequest = 128,
    EchoReply = 129,
    RouterSolicitation = 133,
    RouterAdvertisement = 134,
    NeighborSolicitation = 135,
    NeighborAdvertisement = 136,
    Redirect = 137,
}

/// <summary>Codes of ICMPv6 errors that matter here (RFC 4443 section 3, RFC 7112, RFC 8883).</summary>
public static class Icmpv6Code
{
    /// <summary>Of <see cref="Icmpv6Type.DestinationUnreachable"/>.</summary>
    public const byte NoRoute = 0;

    /// <summary>Of <see cref="Icmpv6Type.DestinationUnreachable"/>.</summary>
    public const byte Prohibited = 1;

    /// <summary>Of <see cref="Icmpv6Type.DestinationUnreachable"/>.</summary>
    public const byte PortUnreachable = 4;

    /// <summary>Of <see cref="Icmpv6Type.TimeExceeded"/>.</summary>
    public const byte FragmentReassembly = 1;

    /// <summary>Of <see cref="Icmpv6Type.ParameterProblem"/>.</summary>
    public const byte ErroneousHeaderField = 0;

    /// <summary>Of <see cref="Icmpv6Type.ParameterProblem"/>.</summary>
    public const byte UnrecognizedNextHeader = 1;

    /// <summary>Of <see cref="Icmpv6Type.ParameterProblem"/>.</summary>
    public const byte UnrecognizedOption = 2;

    /// <summary>Of <see cref="Icmpv6Type.ParameterProblem"/>: a first fragment without all headers (RFC 7112).</summary>
    public const byte IncompleteHeaderChain = 3;

    /// <summary>Of <see cref="Icmpv6Type.ParameterProblem"/> (RFC 8883 section 2.4).</summary>
    public const byte TooManyExtensionHeaders = 8;

    /// <summary>Of <see cref="Icmpv6Type.ParameterProblem"/> (RFC 8883 section 2.5).</summary>
    public const byte TooManyOptions = 9;
}

/// <summary>ARP operations (RFC 826).</summary>
public enum ArpOperation : ushort
{
    Request = 1,
    Reply = 2,
}
