using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Packetdrill.Language;

/// <summary>What a script says of a packet's ECN field.</summary>
internal enum EcnMark
{
    /// <summary>Nothing: Not-ECT inbound, not compared outbound.</summary>
    Unspecified = -1,
    NotEct = 0,
    Ect1 = 1,
    Ect0 = 2,
    Ce = 3,

    /// <summary>ECT(0) or ECT(1).</summary>
    AnyEct = 4,
}

/// <summary>The IP part of a packet.</summary>
internal sealed record IpSpec
{
    public EcnMark Ecn { get; init; } = EcnMark.Unspecified;

    /// <summary>The whole TOS or traffic class; null = not said.</summary>
    public byte? TrafficClass { get; init; }

    /// <summary>TTL or hop limit; null = not said.</summary>
    public byte? HopLimit { get; init; }
}

/// <summary>A packet in a script.</summary>
internal abstract record PacketSpec(IpSpec Ip);

/// <summary>A TCP segment. Numbers as in the script: relative to the first ones, unless <see cref="Absolute"/>.</summary>
internal sealed record TcpSpec(IpSpec Ip) : PacketSpec(Ip)
{
    public TcpFlags Flags { get; init; }

    public uint Seq { get; init; }

    /// <summary><c>...(len)</c>: whatever sequence number.</summary>
    public bool AnySeq { get; init; }

    /// <summary><c>seq:end(len)!</c>: the sequence number is what goes over the wire.</summary>
    public bool Absolute { get; init; }

    public int Length { get; init; }

    /// <summary>The acknowledgment field, whether or not the flag is set; null = not said.</summary>
    public uint? Ack { get; init; }

    public int? Window { get; init; }

    public ushort? Urgent { get; init; }

    /// <summary>Null: <c>&lt;...&gt;</c>, not compared.</summary>
    public IReadOnlyList<TcpOptionSpec>? Options { get; init; } = [];
}

/// <summary>An ICMP message that quotes one of the stack's segments.</summary>
internal sealed record IcmpSpec(IpSpec Ip) : PacketSpec(Ip)
{
    public byte Type { get; init; }

    public byte Code { get; init; }

    /// <summary>The four bytes behind the checksum: the MTU, a pointer, a gateway.</summary>
    public uint Rest { get; init; }

    /// <summary>First sequence number of the quoted segment.</summary>
    public uint Seq { get; init; }

    /// <summary>Its payload's length.</summary>
    public int Length { get; init; }
}
