using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Net.Packets;

/// <summary>A view over the bytes of a TCP header (RFC 9293 section 3.1), options included.</summary>
public readonly ref struct TcpView
{
    private readonly ReadOnlySpan<byte> _bytes;

    private TcpView(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    /// <summary>False unless the data offset is at least 5 and the header with its options lies within <paramref name="bytes"/>.</summary>
    public static bool TryParse(ReadOnlySpan<byte> bytes, out TcpView view)
    {
        view = default;
        if (bytes.Length < TcpHeader.MinLength)
        {
            return false;
        }

        int headerLength = (bytes[TcpHeader.DataOffsetOffset] >> 4) * 4;
        if (headerLength < TcpHeader.MinLength || headerLength > bytes.Length)
        {
            return false;
        }

        view = new TcpView(bytes);
        return true;
    }

    public ushort SourcePort => BinaryPrimitives.ReadUInt16BigEndian(_bytes);

    public ushort DestinationPort => BinaryPrimitives.ReadUInt16BigEndian(_bytes[TcpHeader.DestinationPortOffset..]);

    public SeqNumber Seq => new(BinaryPrimitives.ReadUInt32BigEndian(_bytes[TcpHeader.SequenceOffset..]));

    public SeqNumber Ack => new(BinaryPrimitives.ReadUInt32BigEndian(_bytes[TcpHeader.AcknowledgmentOffset..]));

    /// <summary>Bytes of the header, options included: 20 to 60.</summary>
    public int HeaderLength => (_bytes[TcpHeader.DataOffsetOffset] >> 4) * 4;

    public TcpFlags Flags => (TcpFlags)_bytes[TcpHeader.FlagsOffset];

    public ushort Window => BinaryPrimitives.ReadUInt16BigEndian(_bytes[TcpHeader.WindowOffset..]);

    public ushort Checksum => BinaryPrimitives.ReadUInt16BigEndian(_bytes[TcpHeader.ChecksumOffset..]);

    public ushort UrgentPointer => BinaryPrimitives.ReadUInt16BigEndian(_bytes[TcpHeader.UrgentPointerOffset..]);

    /// <summary>The header's bytes.</summary>
    public ReadOnlySpan<byte> Header => _bytes[..HeaderLength];

    /// <summary>The options' raw bytes, for those that <see cref="TcpOptionReader"/> is asked for one by one.</summary>
    public ReadOnlySpan<byte> Options => _bytes[TcpHeader.MinLength..HeaderLength];
}

/// <summary>Layout and writer of the TCP header.</summary>
public static class TcpHeader
{
    /// <summary>Bytes without options.</summary>
    public const int MinLength = 20;

    /// <summary>Bytes with as many options as fit.</summary>
    public const int MaxLength = 60;

    /// <summary>Most bytes of options.</summary>
    public const int MaxOptionsLength = MaxLength - MinLength;

    public const int SourcePortOffset = 0;
    public const int DestinationPortOffset = 2;
    public const int SequenceOffset = 4;
    public const int AcknowledgmentOffset = 8;
    public const int DataOffsetOffset = 12;
    public const int FlagsOffset = 13;
    public const int WindowOffset = 14;
    public const int ChecksumOffset = 16;
    public const int UrgentPointerOffset = 18;

    /// <summary>Writes the header with its options (a multiple of four bytes); returns its length.</summary>
    public static int Write(
        Span<byte> bytes,
        ushort sourcePort,
        ushort destinationPort,
        SeqNumber seq,
        SeqNumber ack,
        TcpFlags flags,
        ushort window,
        ReadOnlySpan<byte> options = default,
        ushort checksum = 0,
        ushort urgentPointer = 0)
    {
        int length = MinLength + options.Length;
        bytes = bytes[..length];
        BinaryPrimitives.WriteUInt16BigEndian(bytes[UrgentPointerOffset..], urgentPointer);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[ChecksumOffset..], checksum);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[WindowOffset..], window);
        bytes[FlagsOffset] = (byte)flags;
        bytes[DataOffsetOffset] = (byte)((length / 4) << 4);
        BinaryPrimitives.WriteUInt32BigEndian(bytes[AcknowledgmentOffset..], ack.Value);
        BinaryPrimitives.WriteUInt32BigEndian(bytes[SequenceOffset..], seq.Value);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[DestinationPortOffset..], destinationPort);
        BinaryPrimitives.WriteUInt16BigEndian(bytes, sourcePort);
        options.CopyTo(bytes[MinLength..]);
        return length;
    }
}
