using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Packets;

/// <summary>A view over the eight-byte header that all ICMPv6 messages start with (RFC 4443 section 2.1; most of them use the second word).</summary>
public readonly ref struct Icmpv6View
{
    private readonly ReadOnlySpan<byte> _bytes;

    private Icmpv6View(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    /// <summary>False if the bytes are shorter than the header.</summary>
    public static bool TryParse(ReadOnlySpan<byte> bytes, out Icmpv6View view)
    {
        if (bytes.Length < Icmpv6Header.Length)
        {
            view = default;
            return false;
        }

        view = new Icmpv6View(bytes);
        return true;
    }

    public Icmpv6Type Type => (Icmpv6Type)_bytes[0];

    public byte Code => _bytes[1];

    public ushort Checksum => BinaryPrimitives.ReadUInt16BigEndian(_bytes[Icmpv6Header.ChecksumOffset..]);

    /// <summary>The second word: identifier and sequence number of an echo, MTU of a "packet too big", pointer of a "parameter problem".</summary>
    public uint RestOfHeader => BinaryPrimitives.ReadUInt32BigEndian(_bytes[Icmpv6Header.RestOffset..]);

    /// <summary>The message must not be answered by an error (RFC 4443 section 2.4 (e.1) and (e.2)).</summary>
    public bool IsErrorOrRedirect => (byte)Type < (byte)Icmpv6Type.EchoRequest || Type == Icmpv6Type.Redirect;
}

/// <summary>Layout and writer of the ICMPv6 header.</summary>
public static class Icmpv6Header
{
    public const int Length = 8;
    public const int ChecksumOffset = 2;
    public const int RestOffset = 4;

    /// <summary>Writes the header; returns <see cref="Length"/>. The checksum covers a pseudo-header, this header and the body, so the caller who has all of them gives it.</summary>
    public static int Write(Span<byte> bytes, Icmpv6Type type, byte code, uint restOfHeader, ushort checksum)
    {
        bytes = bytes[..Length];
        bytes[0] = (byte)type;
        bytes[1] = code;
        BinaryPrimitives.WriteUInt16BigEndian(bytes[ChecksumOffset..], checksum);
        BinaryPrimitives.WriteUInt32BigEndian(bytes[RestOffset..], restOfHeader);
        return Length;
    }
}

/// <summary>Flags of a neighbour advertisement (RFC 4861 section 4.4), as they stand in the message's second word.</summary>
[Flags]
public enum NeighborFlags : uint
{
    None = 0,

    /// <summary>It replaces an address that is known.</summary>
    Override = 0x2000_0000,

    /// <summary>In answer to a solicitation: the sender can be reached.</summary>
    Solicited = 0x4000_0000,
    Router = 0x8000_0000,
}

/// <summary>A view over a neighbour solicitation or advertisement (RFC 4861 sections 4.3 and 4.4), from the ICMPv6 header on.</summary>
public readonly ref struct NeighborView
{
    private readonly ReadOnlySpan<byte> _bytes;

    private NeighborView(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    /// <summary>False if the bytes are too few.</summary>
    public static bool TryParse(ReadOnlySpan<byte> bytes, out NeighborView view)
    {
        if (bytes.Length < NeighborMessage.MinLength)
        {
            view = default;
            return false;
        }

        view = new NeighborView(bytes);
        return true;
    }

    /// <summary>Of an advertisement.</summary>
    public NeighborFlags Flags => (NeighborFlags)BinaryPrimitives.ReadUInt32BigEndian(_bytes[Icmpv6Header.RestOffset..]);

    public IpAddress Target => IpAddress.Read(_bytes.Slice(NeighborMessage.TargetOffset, 16));

    /// <summary>
    /// Goes through the options: false if one of them has no length, or one beyond the message's end (RFC 4861 section 7.1). <paramref name="hardware"/> is what the option of the given type says, or null.
    /// </summary>
    public bool TryReadOptions(byte type, out EthernetAddress? hardware)
    {
        hardware = null;
        ReadOnlySpan<byte> left = _bytes[NeighborMessage.MinLength..];
        while (left.Length > 0)
        {
            int length = left.Length >= 2 ? left[1] * 8 : 0;
            if (length == 0 || length > left.Length)
            {
                return false;
            }

            if (left[0] == type && length == NeighborMessage.LinkLayerOptionLength)
            {
                hardware = EthernetAddress.Read(left[2..]);
            }

            left = left[length..];
        }

        return true;
    }
}

/// <summary>Layout and writer of neighbour solicitations and advertisements.</summary>
public static class NeighborMessage
{
    /// <summary>Bytes without options.</summary>
    public const int MinLength = 24;

    /// <summary>Bytes with the option that carries a MAC.</summary>
    public const int Length = MinLength + LinkLayerOptionLength;

    /// <summary>Hop limit of all of them: what has it has crossed no router (RFC 4861 section 7.1).</summary>
    public const byte HopLimit = 255;

    public const int TargetOffset = 8;
    public const int LinkLayerOptionLength = 8;

    /// <summary>The option of a solicitation.</summary>
    public const byte SourceLinkLayer = 1;

    /// <summary>The option of an advertisement.</summary>
    public const byte TargetLinkLayer = 2;

    /// <summary>Writes a message with our MAC in its option, checksum included; returns <see cref="Length"/>.</summary>
    public static int Write(Span<byte> bytes, Icmpv6Type type, NeighborFlags flags, IpAddress target, EthernetAddress hardware, IpAddress source, IpAddress destination)
    {
        bytes = bytes[..Length];
        Icmpv6Header.Write(bytes, type, 0, (uint)flags, 0);
        target.Write(bytes.Slice(TargetOffset, 16));
        bytes[MinLength] = type == Icmpv6Type.NeighborSolicitation ? SourceLinkLayer : TargetLinkLayer;
        bytes[MinLength + 1] = LinkLayerOptionLength / 8;
        hardware.Write(bytes[(MinLength + 2)..]);
        ulong sum = InternetChecksum.Add(InternetChecksum.PseudoHeader(source, destination, IpProtocol.Icmpv6, Length), bytes);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[Icmpv6Header.ChecksumOffset..], InternetChecksum.Finish(sum));
        return Length;
    }
}
