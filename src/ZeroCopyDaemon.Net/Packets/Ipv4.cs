using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Packets;

/// <summary>A view over the bytes of an IPv4 header (RFC 791 section 3.1), options included. Only lengths are checked; values are the IP layer's business.</summary>
public readonly ref struct Ipv4View
{
    private readonly ReadOnlySpan<byte> _bytes;

    private Ipv4View(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    /// <summary>
    /// False unless the version is 4, the header with its options lies within <paramref name="bytes"/>, and the total length covers it.
    /// The datagram's end may lie beyond <paramref name="bytes"/>.
    /// </summary>
    public static bool TryParse(ReadOnlySpan<byte> bytes, out Ipv4View view)
    {
        view = default;
        if (bytes.Length < Ipv4Header.MinLength || bytes[0] >> 4 != 4)
        {
            return false;
        }

        int headerLength = (bytes[0] & 0xF) * 4;
        if (headerLength < Ipv4Header.MinLength || headerLength > bytes.Length ||
            BinaryPrimitives.ReadUInt16BigEndian(bytes[Ipv4Header.TotalLengthOffset..]) < headerLength)
        {
            return false;
        }

        view = new Ipv4View(bytes);
        return true;
    }

    /// <summary>Bytes of the header, options included: 20 to 60.</summary>
    public int HeaderLength => (_bytes[0] & 0xF) * 4;

    /// <summary>Bytes of the datagram, header included.</summary>
    public int TotalLength => BinaryPrimitives.ReadUInt16BigEndian(_bytes[Ipv4Header.TotalLengthOffset..]);

    public ushort Identification => BinaryPrimitives.ReadUInt16BigEndian(_bytes[Ipv4Header.IdentificationOffset..]);

    public bool DontFragment => (_bytes[Ipv4Header.FragmentOffset] & 0x40) != 0;

    public bool MoreFragments => (_bytes[Ipv4Header.FragmentOffset] & 0x20) != 0;

    /// <summary>Where this fragment's payload belongs in the datagram's, in bytes.</summary>
    public int FragmentOffset => (BinaryPrimitives.ReadUInt16BigEndian(_bytes[Ipv4Header.FragmentOffset..]) & 0x1FFF) * 8;

    /// <summary>A part of a datagram, be it the first.</summary>
    public bool IsFragment => (BinaryPrimitives.ReadUInt16BigEndian(_bytes[Ipv4Header.FragmentOffset..]) & 0x3FFF) != 0;

    public byte TimeToLive => _bytes[Ipv4Header.TimeToLiveOffset];

    public IpProtocol Protocol => (IpProtocol)_bytes[Ipv4Header.ProtocolOffset];

    public ushort Checksum => BinaryPrimitives.ReadUInt16BigEndian(_bytes[Ipv4Header.ChecksumOffset..]);

    public IpAddress Source => IpAddress.Read(_bytes.Slice(Ipv4Header.SourceOffset, 4));

    public IpAddress Destination => IpAddress.Read(_bytes.Slice(Ipv4Header.DestinationOffset, 4));

    /// <summary>The header's bytes.</summary>
    public ReadOnlySpan<byte> Header => _bytes[..HeaderLength];

    /// <summary>The options' bytes; empty if there are none.</summary>
    public ReadOnlySpan<byte> Options => _bytes[Ipv4Header.MinLength..HeaderLength];

    /// <summary>What follows the header in the given bytes, the datagram's end not considered.</summary>
    public ReadOnlySpan<byte> AfterHeader => _bytes[HeaderLength..];

    /// <summary>Whether the header's checksum is right.</summary>
    public bool IsChecksumValid => InternetChecksum.IsValid(Header);
}

/// <summary>Layout and writer of the IPv4 header.</summary>
public static class Ipv4Header
{
    /// <summary>Bytes without options.</summary>
    public const int MinLength = 20;

    /// <summary>Bytes with as many options as fit.</summary>
    public const int MaxLength = 60;

    /// <summary>Longest datagram.</summary>
    public const int MaxTotalLength = 65535;

    /// <summary>Time to live of what we send (RFC 1122 section 3.2.1.7; the assigned numbers' default).</summary>
    public const byte DefaultTimeToLive = 64;

    public const int TotalLengthOffset = 2;
    public const int IdentificationOffset = 4;
    public const int FragmentOffset = 6;
    public const int TimeToLiveOffset = 8;
    public const int ProtocolOffset = 9;
    public const int ChecksumOffset = 10;
    public const int SourceOffset = 12;
    public const int DestinationOffset = 16;

    /// <summary>The "don't fragment" bit of the flags and fragment offset field.</summary>
    public const ushort DontFragment = 0x4000;

    /// <summary>The "more fragments" bit of the flags and fragment offset field.</summary>
    public const ushort MoreFragments = 0x2000;

    /// <summary>Writes a header without options, checksum included; returns its length.</summary>
    /// <param name="bytes">At least <see cref="MinLength"/>.</param>
    /// <param name="source">Source address.</param>
    /// <param name="destination">Destination address.</param>
    /// <param name="protocol">What follows.</param>
    /// <param name="totalLength">Bytes of the datagram, header included.</param>
    /// <param name="identification">Only of use to fragments (RFC 6864).</param>
    /// <param name="flagsAndOffset">The flags' bits, and the fragment offset in units of eight bytes.</param>
    public static int Write(
        Span<byte> bytes, IpAddress source, IpAddress destination, IpProtocol protocol, int totalLength, ushort identification, ushort flagsAndOffset)
    {
        bytes = bytes[..MinLength];
        bytes[0] = 0x45;
        bytes[1] = 0;
        BinaryPrimitives.WriteUInt16BigEndian(bytes[TotalLengthOffset..], (ushort)totalLength);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[IdentificationOffset..], identification);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[FragmentOffset..], flagsAndOffset);
        bytes[TimeToLiveOffset] = DefaultTimeToLive;
        bytes[ProtocolOffset] = (byte)protocol;
        BinaryPrimitives.WriteUInt16BigEndian(bytes[ChecksumOffset..], 0);
        source.Write(bytes.Slice(SourceOffset, 4));
        destination.Write(bytes.Slice(DestinationOffset, 4));
        BinaryPrimitives.WriteUInt16BigEndian(bytes[ChecksumOffset..], InternetChecksum.Compute(bytes));
        return MinLength;
    }
}
