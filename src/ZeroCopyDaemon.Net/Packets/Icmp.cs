using System.Buffers.Binary;

namespace ZeroCopyDaemon.Net.Packets;

/// <summary>A view over the eight-byte header that all ICMP messages start with (RFC 792).</summary>
public readonly ref struct IcmpView
{
    private readonly ReadOnlySpan<byte> _bytes;

    private IcmpView(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    /// <summary>False if the bytes are shorter than the header.</summary>
    public static bool TryParse(ReadOnlySpan<byte> bytes, out IcmpView view)
    {
        if (bytes.Length < IcmpHeader.Length)
        {
            view = default;
            return false;
        }

        view = new IcmpView(bytes);
        return true;
    }

    public IcmpType Type => (IcmpType)_bytes[0];

    public byte Code => _bytes[1];

    public ushort Checksum => BinaryPrimitives.ReadUInt16BigEndian(_bytes[IcmpHeader.ChecksumOffset..]);

    /// <summary>The second word: identifier and sequence number of an echo, unused in most errors.</summary>
    public uint RestOfHeader => BinaryPrimitives.ReadUInt32BigEndian(_bytes[IcmpHeader.RestOffset..]);

    /// <summary>Of a "fragmentation needed" (RFC 1191 section 4).</summary>
    public ushort NextHopMtu => BinaryPrimitives.ReadUInt16BigEndian(_bytes[(IcmpHeader.RestOffset + 2)..]);

    /// <summary>Whether the message tells of an error (RFC 1122 section 3.2.2), and must not be answered by one.</summary>
    public bool IsError => Type is IcmpType.DestinationUnreachable or IcmpType.SourceQuench or IcmpType.Redirect or IcmpType.TimeExceeded or IcmpType.ParameterProblem;
}

/// <summary>Layout and writer of the ICMP header.</summary>
public static class IcmpHeader
{
    public const int Length = 8;
    public const int ChecksumOffset = 2;
    public const int RestOffset = 4;

    /// <summary>Writes the header; returns <see cref="Length"/>. The checksum covers header and body, so the caller who has the body gives it.</summary>
    public static int Write(Span<byte> bytes, IcmpType type, byte code, uint restOfHeader, ushort checksum)
    {
        bytes = bytes[..Length];
        bytes[0] = (byte)type;
        bytes[1] = code;
        BinaryPrimitives.WriteUInt16BigEndian(bytes[ChecksumOffset..], checksum);
        BinaryPrimitives.WriteUInt32BigEndian(bytes[RestOffset..], restOfHeader);
        return Length;
    }
}
