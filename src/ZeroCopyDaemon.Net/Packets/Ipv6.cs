using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Packets;

/// <summary>A view over the bytes of an IPv6 header (RFC 8200 section 3), extension headers not included. Only version and length are checked; values are the IP layer's business.</summary>
public readonly ref struct Ipv6View
{
    private readonly ReadOnlySpan<byte> _bytes;

    private Ipv6View(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    /// <summary>False unless the version is 6 and the header lies within <paramref name="bytes"/>. The packet's end may lie beyond them.</summary>
    public static bool TryParse(ReadOnlySpan<byte> bytes, out Ipv6View view)
    {
        if (bytes.Length < Ipv6Header.Length || bytes[0] >> 4 != 6)
        {
            view = default;
            return false;
        }

        view = new Ipv6View(bytes);
        return true;
    }

    /// <summary>Differentiated services, and in the last two bits ECN.</summary>
    public byte TrafficClass => (byte)(BinaryPrimitives.ReadUInt16BigEndian(_bytes) >> 4);

    /// <summary>20 bits.</summary>
    public uint FlowLabel => BinaryPrimitives.ReadUInt32BigEndian(_bytes) & Ipv6Header.FlowLabelMask;

    /// <summary>Bytes after this header, extension headers included.</summary>
    public int PayloadLength => BinaryPrimitives.ReadUInt16BigEndian(_bytes[Ipv6Header.PayloadLengthOffset..]);

    /// <summary>Bytes of the packet, header included.</summary>
    public int TotalLength => Ipv6Header.Length + PayloadLength;

    public IpProtocol NextHeader => (IpProtocol)_bytes[Ipv6Header.NextHeaderOffset];

    public byte HopLimit => _bytes[Ipv6Header.HopLimitOffset];

    public IpAddress Source => IpAddress.Read(_bytes.Slice(Ipv6Header.SourceOffset, 16));

    public IpAddress Destination => IpAddress.Read(_bytes.Slice(Ipv6Header.DestinationOffset, 16));
}

/// <summary>Layout and writer of the IPv6 header.</summary>
public static class Ipv6Header
{
    public const int Length = 40;

    /// <summary>What every link carries in one piece (RFC 8200 section 5).</summary>
    public const int MinMtu = 1280;

    /// <summary>Most bytes after the header.</summary>
    public const int MaxPayloadLength = 65535;

    /// <summary>Hop limit of what we send (the assigned numbers' default, as with IPv4).</summary>
    public const byte DefaultHopLimit = 64;

    public const int PayloadLengthOffset = 4;
    public const int NextHeaderOffset = 6;
    public const int HopLimitOffset = 7;
    public const int SourceOffset = 8;
    public const int DestinationOffset = 24;

    internal const uint FlowLabelMask = 0xF_FFFF;

    /// <summary>Writes the header; returns <see cref="Length"/>.</summary>
    /// <param name="bytes">At least <see cref="Length"/>.</param>
    /// <param name="source">Source address.</param>
    /// <param name="destination">Destination address.</param>
    /// <param name="nextHeader">What follows.</param>
    /// <param name="payloadLength">Bytes that follow.</param>
    /// <param name="hopLimit">Hop limit.</param>
    /// <param name="flowLabel">20 bits (RFC 6437); 0 = not labelled.</param>
    /// <param name="trafficClass">Differentiated services and ECN.</param>
    public static int Write(
        Span<byte> bytes, IpAddress source, IpAddress destination, IpProtocol nextHeader, int payloadLength, byte hopLimit = DefaultHopLimit, uint flowLabel = 0,
        byte trafficClass = 0)
    {
        bytes = bytes[..Length];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, 0x6000_0000 | ((uint)trafficClass << 20) | (flowLabel & FlowLabelMask));
        BinaryPrimitives.WriteUInt16BigEndian(bytes[PayloadLengthOffset..], (ushort)payloadLength);
        bytes[NextHeaderOffset] = (byte)nextHeader;
        bytes[HopLimitOffset] = hopLimit;
        source.Write(bytes.Slice(SourceOffset, 16));
        destination.Write(bytes.Slice(DestinationOffset, 16));
        return Length;
    }
}

/// <summary>A view over an IPv6 fragment header (RFC 8200 section 4.5).</summary>
public readonly ref struct Ipv6FragmentView
{
    private readonly ReadOnlySpan<byte> _bytes;

    /// <param name="bytes">At least <see cref="Ipv6FragmentHeader.Length"/>.</param>
    public Ipv6FragmentView(ReadOnlySpan<byte> bytes) => _bytes = bytes[..Ipv6FragmentHeader.Length];

    public IpProtocol NextHeader => (IpProtocol)_bytes[0];

    /// <summary>Where this fragment's bytes belong, from the end of the headers that every fragment has.</summary>
    public int FragmentOffset => BinaryPrimitives.ReadUInt16BigEndian(_bytes[Ipv6FragmentHeader.OffsetOffset..]) & 0xFFF8;

    public bool MoreFragments => (_bytes[Ipv6FragmentHeader.OffsetOffset + 1] & 1) != 0;

    public uint Identification => BinaryPrimitives.ReadUInt32BigEndian(_bytes[Ipv6FragmentHeader.IdentificationOffset..]);
}

/// <summary>Layout and writer of the IPv6 fragment header.</summary>
public static class Ipv6FragmentHeader
{
    public const int Length = 8;
    public const int OffsetOffset = 2;
    public const int IdentificationOffset = 4;

    /// <summary>Writes the header; returns <see cref="Length"/>. <paramref name="offset"/> is in bytes, a multiple of eight.</summary>
    public static int Write(Span<byte> bytes, IpProtocol nextHeader, int offset, bool more, uint identification)
    {
        bytes = bytes[..Length];
        bytes[0] = (byte)nextHeader;
        bytes[1] = 0;
        BinaryPrimitives.WriteUInt16BigEndian(bytes[OffsetOffset..], (ushort)(offset | (more ? 1 : 0)));
        BinaryPrimitives.WriteUInt32BigEndian(bytes[IdentificationOffset..], identification);
        return Length;
    }
}
