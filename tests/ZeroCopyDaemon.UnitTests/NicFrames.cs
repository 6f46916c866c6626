using System.Buffers.Binary;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Frames built byte by byte for NIC tests, with a checksum loop of their own, so that they're an oracle independent of the code under test.</summary>
internal static class NicFrames
{
    public const int Ethernet = 14;
    public const int Ipv4 = 20;
    public const int Tcp = 20;
    public const int TcpHeaders = Ethernet + Ipv4 + Tcp;

    public const byte Fin = 1, Syn = 2, Psh = 8, Ack = 16, Cwr = 128;

    /// <summary>A TCP segment over IPv4 in an Ethernet frame, checksums right.</summary>
    public static byte[] TcpFrame(
        ReadOnlySpan<byte> payload, int ipOptions = 0, int tcpOptions = 0, byte flags = Ack, uint sequence = 1000, ushort id = 7, ushort sourcePort = 1234)
    {
        int ipHeader = Ipv4 + ipOptions, tcpHeader = Tcp + tcpOptions;
        byte[] frame = new byte[Ethernet + ipHeader + tcpHeader + payload.Length];
        WriteIpv4(frame, ipOptions, 6, frame.Length - Ethernet, id);
        Span<byte> tcp = frame.AsSpan(Ethernet + ipHeader);
        BinaryPrimitives.WriteUInt16BigEndian(tcp, sourcePort);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[2..], 80);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[4..], sequence);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[8..], 0x01020304);
        tcp[12] = (byte)(tcpHeader / 4 << 4);
        tcp[13] = flags;
        BinaryPrimitives.WriteUInt16BigEndian(tcp[14..], 0xffff);
        tcp.Slice(Tcp, tcpOptions).Fill(1);
        payload.CopyTo(tcp[tcpHeader..]);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[16..], TransportChecksum(frame));
        return frame;
    }

    /// <summary>A UDP datagram over IPv4 in an Ethernet frame.</summary>
    public static byte[] UdpFrame(ReadOnlySpan<byte> payload, bool checksum = true)
    {
        byte[] frame = new byte[Ethernet + Ipv4 + 8 + payload.Length];
        WriteIpv4(frame, 0, 17, frame.Length - Ethernet, 7);
        Span<byte> udp = frame.AsSpan(Ethernet + Ipv4);
        BinaryPrimitives.WriteUInt16BigEndian(udp, 5000);
        BinaryPrimitives.WriteUInt16BigEndian(udp[2..], 53);
        BinaryPrimitives.WriteUInt16BigEndian(udp[4..], (ushort)udp.Length);
        payload.CopyTo(udp[8..]);
        if (checksum)
        {
            ushort sum = TransportChecksum(frame);
            BinaryPrimitives.WriteUInt16BigEndian(udp[6..], sum == 0 ? (ushort)0xffff : sum);
        }

        return frame;
    }

    /// <summary>Of an IPv4 frame: Ethernet, and an IPv4 header with a right checksum.</summary>
    public static void WriteIpv4(Span<byte> frame, int options, byte protocol, int totalLength, ushort id, ushort flagsAndOffset = 0x4000)
    {
        "\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0"u8.CopyTo(frame);
        Span<byte> ip = frame.Slice(Ethernet, Ipv4 + options);
        ip.Clear();
        ip[0] = (byte)(0x40 | (ip.Length / 4));
        BinaryPrimitives.WriteUInt16BigEndian(ip[2..], (ushort)totalLength);
        BinaryPrimitives.WriteUInt16BigEndian(ip[4..], id);
        BinaryPrimitives.WriteUInt16BigEndian(ip[6..], flagsAndOffset);
        ip[8] = 64;
        ip[9] = protocol;
        "\x0a\0\0\x02\x0a\0\0\x01"u8.CopyTo(ip[12..]);
        ip[Ipv4..].Fill(1);
        BinaryPrimitives.WriteUInt16BigEndian(ip[10..], (ushort)~Sum(ip, 0));
    }

    /// <summary>What the TCP or UDP checksum field ought to hold, its present content counted as 0.</summary>
    public static ushort TransportChecksum(ReadOnlySpan<byte> frame)
    {
        int ipHeader = (frame[Ethernet] & 15) * 4;
        byte protocol = frame[Ethernet + 9];
        byte[] transport = frame[(Ethernet + ipHeader)..(Ethernet + BinaryPrimitives.ReadUInt16BigEndian(frame[(Ethernet + 2)..]))].ToArray();
        transport.AsSpan(protocol == 6 ? 16 : 6, 2).Clear();
        return (ushort)~Sum(transport, PseudoHeaderSum(frame, transport.Length));
    }

    /// <summary>The pseudo-header's folded sum, for a transport header and payload of <paramref name="length"/> bytes.</summary>
    public static ushort PseudoHeaderSum(ReadOnlySpan<byte> frame, int length) =>
        Sum(frame.Slice(Ethernet + 12, 8), (uint)(frame[Ethernet + 9] + (length >> 16) + (length & 0xffff)));

    public static ushort Sum(ReadOnlySpan<byte> bytes, ulong sum)
    {
        for (int i = 0; i < bytes.Length; i++)
        {
            sum += (ulong)bytes[i] << ((i & 1) == 0 ? 8 : 0);
        }

        while (sum > 0xffff)
        {
            sum = (sum & 0xffff) + (sum >> 16);
        }

        return (ushort)sum;
    }

    /// <summary>Asserts that IPv4's and the transport's checksum of a frame are right.</summary>
    public static void AssertChecksums(ReadOnlySpan<byte> frame)
    {
        Assert.Equal(0xffff, Sum(frame.Slice(Ethernet, (frame[Ethernet] & 15) * 4), 0));
        int offset = Ethernet + ((frame[Ethernet] & 15) * 4) + (frame[Ethernet + 9] == 6 ? 16 : 6);
        Assert.Equal(TransportChecksum(frame), BinaryPrimitives.ReadUInt16BigEndian(frame[offset..]));
    }

    /// <summary>Bytes that differ from place to place and repeat at no power of two.</summary>
    public static byte[] Pattern(int length, int seed = 0)
    {
        byte[] bytes = new byte[length];
        for (int i = 0; i < length; i++)
        {
            bytes[i] = (byte)(((i + seed) * 31) + ((i + seed) / 251));
        }

        return bytes;
    }
}
