using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>The control bits of RFC 9293 section 3.1 and RFC 3168.</summary>
[Flags]
public enum TcpFlags : byte
{
    None = 0,
    Fin = 0x01,
    Syn = 0x02,
    Rst = 0x04,
    Psh = 0x08,
    Ack = 0x10,
    Urg = 0x20,
    Ece = 0x40,
    Cwr = 0x80,
}

/// <summary>The options of a received segment that were present and well-formed.</summary>
public readonly struct TcpSegmentOptions
{
    /// <summary>Maximum segment size (RFC 9293 section 3.7.1), 0 if absent.</summary>
    public ushort Mss { get; init; }

    /// <summary>Window scale shift (RFC 7323 section 2), -1 if absent.</summary>
    public sbyte WindowScale { get; init; }

    /// <summary>SACK-permitted (RFC 2018).</summary>
    public bool SackPermitted { get; init; }

    /// <summary>A timestamps option was there (RFC 7323 section 3).</summary>
    public bool HasTimestamp { get; init; }

    public uint TimestampValue { get; init; }

    public uint TimestampEcho { get; init; }

    /// <summary>What the peer holds out of order, by its own account (RFC 2018); the first block may be of what it received twice (RFC 2883).</summary>
    public SackBlocks Sack { get; init; }
}

/// <summary>A TCP segment that passed every check up to the checksum: a validated value, as opposed to the view over its bytes. The receiver takes over the payload chain.</summary>
internal readonly struct TcpSegment
{
    public IpEndpoint Source { get; init; }

    public IpEndpoint Destination { get; init; }

    public SeqNumber Seq { get; init; }

    public SeqNumber Ack { get; init; }

    public TcpFlags Flags { get; init; }

    /// <summary>As in the header: not scaled.</summary>
    public ushort Window { get; init; }

    public ushort UrgentPointer { get; init; }

    public TcpSegmentOptions Options { get; init; }

    /// <summary>First fragment of the payload or <see cref="PagePool.NoFragment"/>; padding beyond the IP length is trimmed already.</summary>
    public int Payload { get; init; }

    public int PayloadLength { get; init; }

    /// <summary>Sequence space it occupies: payload plus SYN plus FIN.</summary>
    public int SegmentLength => PayloadLength + ((Flags & TcpFlags.Syn) != 0 ? 1 : 0) + ((Flags & TcpFlags.Fin) != 0 ? 1 : 0);
}

/// <summary>The header of a segment to send; the IP layer adds addresses, checksum and framing.</summary>
internal readonly ref struct TcpHeaderToSend
{
    public IpEndpoint Source { get; init; }

    public IpEndpoint Destination { get; init; }

    public SeqNumber Seq { get; init; }

    public SeqNumber Ack { get; init; }

    public TcpFlags Flags { get; init; }

    /// <summary>As it goes into the header: scaled already.</summary>
    public ushort Window { get; init; }

    /// <summary>Options, padded to a multiple of four, 40 bytes at most.</summary>
    public ReadOnlySpan<byte> Options { get; init; }
}
