using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Packetdrill.Language;

namespace ZeroCopyDaemon.Packetdrill.Packets;

/// <summary>A frame for the stack under test: all headers, and payload.</summary>
internal readonly record struct InboundFrame(byte[] Headers, byte[] Payload);

/// <summary>Builds the frames that the peer, or a router on the way, sends. Checksums are right.</summary>
internal static class FrameBuilder
{
    public static readonly EthernetAddress PeerHardware = new(0x02_00_00_00_00_02), LocalHardware = new(0x02_00_00_00_00_01);

    /// <summary>A TCP segment; sequence and acknowledgment numbers as they go over the wire.</summary>
    public static InboundFrame Tcp(IpEndpoint source, IpEndpoint destination, TcpSpec packet, uint seq, uint ack, byte[] options, byte[] payload)
    {
        byte[] headers = Begin(source.Address, destination.Address, packet.Ip, IpProtocol.Tcp, TcpHeader.MinLength + options.Length, payload.Length);
        Span<byte> tcp = headers.AsSpan(headers.Length - TcpHeader.MinLength - options.Length);
        WriteTcp(tcp, source.Port, destination.Port, seq, ack, packet.Flags, (ushort)(packet.Window ?? 0), packet.Urgent ?? 0, options);
        ulong sum = InternetChecksum.PseudoHeader(source.Address, destination.Address, IpProtocol.Tcp, tcp.Length + payload.Length);
        sum = InternetChecksum.Add(InternetChecksum.Add(sum, tcp), payload);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[TcpHeader.ChecksumOffset..], InternetChecksum.Finish(sum));
        return new InboundFrame(headers, payload);
    }

    /// <summary>An ICMP error from a router, about a segment from <paramref name="local"/> to <paramref name="remote"/> that begins at <paramref name="seq"/> on the wire.</summary>
    public static InboundFrame Icmp(IpAddress router, IpEndpoint local, IpEndpoint remote, IcmpSpec packet, uint seq)
    {
        bool v4 = local.Address.IsV4;
        byte[] quotedIp = IpHeader(local.Address, remote.Address, new IpSpec(), IpProtocol.Tcp, TcpHeader.MinLength + packet.Length);
        byte[] message = new byte[8 + quotedIp.Length + TcpHeader.MinLength];
        message[0] = packet.Type;
        message[1] = packet.Code;
        BinaryPrimitives.WriteUInt32BigEndian(message.AsSpan(4), packet.Rest);
        quotedIp.CopyTo(message, 8);
        WriteTcp(message.AsSpan(8 + quotedIp.Length), local.Port, remote.Port, seq, 0, TcpFlags.Ack, 0, 0, []);
        ulong sum = v4 ? 0 : InternetChecksum.PseudoHeader(router, local.Address, Icmpv6, message.Length);
        BinaryPrimitives.WriteUInt16BigEndian(message.AsSpan(2), InternetChecksum.Finish(InternetChecksum.Add(sum, message)));
        byte[] headers = Begin(router, local.Address, packet.Ip, v4 ? IpProtocol.Icmp : Icmpv6, message.Length, 0);
        message.CopyTo(headers, headers.Length - message.Length);
        return new InboundFrame(headers, []);
    }

    private const IpProtocol Icmpv6 = (IpProtocol)58;

    /// <summary>Ethernet and IP headers, and room for what follows.</summary>
    private static byte[] Begin(IpAddress source, IpAddress destination, IpSpec ip, IpProtocol protocol, int headerBytes, int payloadBytes)
    {
        byte[] header = IpHeader(source, destination, ip, protocol, headerBytes + payloadBytes);
        byte[] frame = new byte[EthernetHeader.Length + header.Length + headerBytes];
        EthernetHeader.Write(frame, LocalHardware, PeerHardware, source.IsV4 ? EtherType.Ipv4 : EtherType.Ipv6);
        header.CopyTo(frame, EthernetHeader.Length);
        return frame;
    }

    private static byte[] IpHeader(IpAddress source, IpAddress destination, IpSpec ip, IpProtocol protocol, int payload)
    {
        byte traffic = ip.TrafficClass ?? (byte)(ip.Ecn switch { EcnMark.Unspecified => 0, EcnMark.AnyEct => (int)EcnMark.Ect0, EcnMark mark => (int)mark });
        if (source.IsV4)
        {
            byte[] v4 = new byte[Ipv4Header.MinLength];
            Ipv4Header.Write(v4, source, destination, protocol, Ipv4Header.MinLength + payload, 0, Ipv4Header.DontFragment);
            v4[1] = traffic;
            v4[Ipv4Header.TimeToLiveOffset] = ip.HopLimit ?? 255;
            BinaryPrimitives.WriteUInt16BigEndian(v4.AsSpan(Ipv4Header.ChecksumOffset), 0);
            BinaryPrimitives.WriteUInt16BigEndian(v4.AsSpan(Ipv4Header.ChecksumOffset), InternetChecksum.Compute(v4));
            return v4;
        }

        byte[] v6 = new byte[40];
        BinaryPrimitives.WriteUInt32BigEndian(v6, 0x6000_0000u | ((uint)traffic << 20));
        BinaryPrimitives.WriteUInt16BigEndian(v6.AsSpan(4), (ushort)payload);
        v6[6] = (byte)protocol;
        v6[7] = ip.HopLimit ?? 255;
        source.Write(v6.AsSpan(8, 16));
        destination.Write(v6.AsSpan(24, 16));
        return v6;
    }

    private static void WriteTcp(Span<byte> bytes, ushort source, ushort destination, uint seq, uint ack, TcpFlags flags, ushort window, ushort urgent, ReadOnlySpan<byte> options)
    {
        BinaryPrimitives.WriteUInt16BigEndian(bytes, source);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[TcpHeader.DestinationPortOffset..], destination);
        BinaryPrimitives.WriteUInt32BigEndian(bytes[TcpHeader.SequenceOffset..], seq);
        BinaryPrimitives.WriteUInt32BigEndian(bytes[TcpHeader.AcknowledgmentOffset..], ack);
        bytes[TcpHeader.DataOffsetOffset] = (byte)((TcpHeader.MinLength + options.Length) / 4 << 4);
        bytes[TcpHeader.FlagsOffset] = (byte)flags;
        BinaryPrimitives.WriteUInt16BigEndian(bytes[TcpHeader.WindowOffset..], window);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[TcpHeader.UrgentPointerOffset..], urgent);
        options.CopyTo(bytes[TcpHeader.MinLength..]);
    }
}
