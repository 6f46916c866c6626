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
    /// <summary>In a dissection: not known, or not there.</summary>
    None = 0,
    Icmp = 1,
    Tcp = 6,
    Udp = 17,
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

    /// <summary>Of <see cref="IcmpType.TimeExceeded"/>.</summary>
    public const byte FragmentReassembly = 1;
}

/// <summary>ARP operations (RFC 826).</summary>
public enum ArpOperation : ushort
{
    Request = 1,
    Reply = 2,
}
