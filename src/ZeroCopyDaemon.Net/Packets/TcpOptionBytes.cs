using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Net.Packets;

/// <summary>TCP option kinds.</summary>
public enum TcpOptionKind : byte
{
    EndOfList = 0,
    NoOperation = 1,

    /// <summary>RFC 9293 section 3.7.1.</summary>
    MaximumSegmentSize = 2,

    /// <summary>RFC 7323 section 2.</summary>
    WindowScale = 3,

    /// <summary>RFC 2018 section 2.</summary>
    SackPermitted = 4,

    /// <summary>RFC 2018 section 3.</summary>
    Sack = 5,

    /// <summary>RFC 7323 section 3.</summary>
    Timestamps = 8,
}

/// <summary>
/// Walks the options of a TCP header. An option whose length is below 2 or runs beyond the header ends the walk, as nothing after it can be told apart
/// (RFC 9293 section 3.1, MUST-7: be prepared for an illegal length).
/// </summary>
public ref struct TcpOptionReader
{
    private ReadOnlySpan<byte> _left;

    /// <param name="options">The options' bytes: <see cref="TcpView.Options"/>.</param>
    public TcpOptionReader(ReadOnlySpan<byte> options) => _left = options;

    /// <summary>The next option that is neither padding nor the end; its data without kind and length.</summary>
    public bool TryNext(out TcpOptionKind kind, out ReadOnlySpan<byte> data)
    {
        while (_left.Length > 0)
        {
            kind = (TcpOptionKind)_left[0];
            if (kind == TcpOptionKind.NoOperation)
            {
                _left = _left[1..];
                continue;
            }

            if (kind == TcpOptionKind.EndOfList || _left.Length < 2 || _left[1] < 2 || _left[1] > _left.Length)
            {
                break;
            }

            int length = _left[1];
            data = _left[2..length];
            _left = _left[length..];
            return true;
        }

        _left = default;
        kind = TcpOptionKind.EndOfList;
        data = default;
        return false;
    }

    /// <summary>The options that every segment is looked at for. One of a wrong length counts as absent (RFC 9293 section 3.1, MUST-68), of repeated ones the last is taken.</summary>
    public static TcpSegmentOptions Parse(ReadOnlySpan<byte> options)
    {
        ushort mss = 0;
        sbyte windowScale = -1;
        bool sackPermitted = false, hasTimestamp = false;
        uint timestampValue = 0, timestampEcho = 0;
        SackBlocks sack = default;

        // Nearly every segment of a connection has just this (RFC 7323 appendix A).
        if (options.Length == 12 && BinaryPrimitives.ReadUInt32BigEndian(options) == 0x0101_080A)
        {
            hasTimestamp = true;
            timestampValue = BinaryPrimitives.ReadUInt32BigEndian(options[4..]);
            timestampEcho = BinaryPrimitives.ReadUInt32BigEndian(options[8..]);
            options = default;
        }

        var reader = new TcpOptionReader(options);
        while (reader.TryNext(out TcpOptionKind kind, out ReadOnlySpan<byte> data))
        {
            switch (kind)
            {
                case TcpOptionKind.MaximumSegmentSize when data.Length == 2:
                    mss = BinaryPrimitives.ReadUInt16BigEndian(data);
                    break;
                case TcpOptionKind.WindowScale when data.Length == 1:
                    // RFC 7323 section 2.3: a shift above 14 is used as 14.
                    windowScale = (sbyte)Math.Min(data[0], MaxWindowScale);
                    break;
                case TcpOptionKind.SackPermitted when data.Length == 0:
                    sackPermitted = true;
                    break;
                case TcpOptionKind.Timestamps when data.Length == 8:
                    hasTimestamp = true;
                    timestampValue = BinaryPrimitives.ReadUInt32BigEndian(data);
                    timestampEcho = BinaryPrimitives.ReadUInt32BigEndian(data[4..]);
                    break;
                case TcpOptionKind.Sack when data.Length % 8 == 0:
                    sack = default;
                    for (; data.Length > 0; data = data[8..])
                    {
                        sack.Add(new SeqNumber(BinaryPrimitives.ReadUInt32BigEndian(data)), new SeqNumber(BinaryPrimitives.ReadUInt32BigEndian(data[4..])));
                    }

                    break;
            }
        }

        return new TcpSegmentOptions
        {
            Mss = mss,
            WindowScale = windowScale,
            SackPermitted = sackPermitted,
            HasTimestamp = hasTimestamp,
            TimestampValue = timestampValue,
            TimestampEcho = timestampEcho,
            Sack = sack,
        };
    }

    /// <summary>Largest window shift (RFC 7323 section 2.3).</summary>
    public const byte MaxWindowScale = 14;
}

/// <summary>Writes TCP options into a buffer of <see cref="TcpHeader.MaxOptionsLength"/> bytes, each padded so that the whole stays a multiple of four.</summary>
public ref struct TcpOptionWriter
{
    private readonly Span<byte> _buffer;
    private int _length;

    public TcpOptionWriter(Span<byte> buffer) => _buffer = buffer;

    /// <summary>What was written, for <see cref="TcpHeader.Write"/>.</summary>
    public readonly ReadOnlySpan<byte> Written => _buffer[.._length];

    /// <summary>Maximum segment size; SYN only.</summary>
    public void MaximumSegmentSize(ushort mss)
    {
        Span<byte> at = Take(4);
        at[0] = (byte)TcpOptionKind.MaximumSegmentSize;
        at[1] = 4;
        BinaryPrimitives.WriteUInt16BigEndian(at[2..], mss);
    }

    /// <summary>Window scale; SYN only.</summary>
    public void WindowScale(byte shift)
    {
        Span<byte> at = Take(4);
        at[0] = (byte)TcpOptionKind.NoOperation;
        at[1] = (byte)TcpOptionKind.WindowScale;
        at[2] = 3;
        at[3] = shift;
    }

    /// <summary>SACK permitted; SYN only.</summary>
    public void SackPermitted()
    {
        Span<byte> at = Take(4);
        at[0] = (byte)TcpOptionKind.NoOperation;
        at[1] = (byte)TcpOptionKind.NoOperation;
        at[2] = (byte)TcpOptionKind.SackPermitted;
        at[3] = 2;
    }

    /// <summary>Timestamps, laid out as RFC 7323 appendix A recommends.</summary>
    public void Timestamps(uint value, uint echo)
    {
        Span<byte> at = Take(12);
        BinaryPrimitives.WriteUInt32BigEndian(at, 0x0101_080A);
        BinaryPrimitives.WriteUInt32BigEndian(at[4..], value);
        BinaryPrimitives.WriteUInt32BigEndian(at[8..], echo);
    }

    private Span<byte> Take(int bytes)
    {
        Span<byte> at = _buffer.Slice(_length, bytes);
        _length += bytes;
        return at;
    }
}
