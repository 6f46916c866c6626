using System.Buffers.Binary;
using ZeroCopyDaemon.Packetdrill.Language;

namespace ZeroCopyDaemon.Packetdrill.Packets;

/// <summary>TCP options as bytes, and back.</summary>
internal static class TcpOptionCodec
{
    /// <summary>The options' bytes in the script's order, padded with end-of-list to a multiple of four.</summary>
    public static byte[] Encode(IEnumerable<TcpOptionSpec> options)
    {
        var bytes = new List<byte>();
        foreach (TcpOptionSpec option in options)
        {
            if (option.IsPadding)
            {
                bytes.Add((byte)option.Kind);
                continue;
            }

            int length = bytes.Count + 1;
            bytes.Add((byte)option.Kind);
            bytes.Add(0);
            foreach (uint value in option.Values)
            {
                int size = option.Kind switch
                {
                    TcpOptionNumber.MaximumSegmentSize or TcpOptionNumber.UserTimeout => 2,
                    TcpOptionNumber.WindowScale => 1,
                    _ => 4,
                };
                for (int shift = 8 * (size - 1); shift >= 0; shift -= 8)
                {
                    bytes.Add((byte)(value >> shift));
                }
            }

            bytes.AddRange(option.Raw);
            bytes[length] = (byte)(bytes.Count - length + 1);
        }

        while (bytes.Count % 4 != 0)
        {
            bytes.Add(0);
        }

        return [.. bytes];
    }

    /// <summary>The options, padding included. Null if they are malformed: a stack under test that sends such a thing has failed.</summary>
    public static IReadOnlyList<TcpOptionSpec>? Decode(ReadOnlySpan<byte> bytes)
    {
        var options = new List<TcpOptionSpec>();
        while (bytes.Length > 0)
        {
            var kind = (TcpOptionNumber)bytes[0];
            if (kind is TcpOptionNumber.NoOperation or TcpOptionNumber.EndOfList)
            {
                options.Add(new TcpOptionSpec(kind, []));
                bytes = bytes[1..];
                continue;
            }

            if (bytes.Length < 2 || bytes[1] < 2 || bytes[1] > bytes.Length)
            {
                return null;
            }

            options.Add(DecodeOne(kind, bytes[2..bytes[1]]));
            bytes = bytes[bytes[1]..];
        }

        return options;
    }

    private static TcpOptionSpec DecodeOne(TcpOptionNumber kind, ReadOnlySpan<byte> data)
    {
        switch (kind)
        {
            case TcpOptionNumber.MaximumSegmentSize or TcpOptionNumber.UserTimeout when data.Length == 2:
                return new TcpOptionSpec(kind, [BinaryPrimitives.ReadUInt16BigEndian(data)]);
            case TcpOptionNumber.WindowScale when data.Length == 1:
                return new TcpOptionSpec(kind, [data[0]]);
            case TcpOptionNumber.SackPermitted when data.Length == 0:
                return new TcpOptionSpec(kind, []);
            case TcpOptionNumber.Timestamps when data.Length == 8:
            case TcpOptionNumber.Sack when data.Length is > 0 and <= 32 && data.Length % 8 == 0:
                var values = new uint[data.Length / 4];
                for (int i = 0; i < values.Length; i++)
                {
                    values[i] = BinaryPrimitives.ReadUInt32BigEndian(data[(i * 4)..]);
                }

                return new TcpOptionSpec(kind, values);
            default:
                return new TcpOptionSpec(kind, []) { Raw = data.ToArray() };
        }
    }
}
