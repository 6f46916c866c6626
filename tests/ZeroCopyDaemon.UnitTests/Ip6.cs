using System.Buffers.Binary;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Ip;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>An <see cref="IpHost"/> with IPv6, and a peer's way to write IPv6 frames.</summary>
internal static class Ip6
{
    public static readonly IpAddress Local = IpAddress.Parse("fd00::1"), Peer = IpAddress.Parse("fd00::2"), Gateway = IpAddress.Parse("fd00::fe"), Far = IpAddress.Parse("2001:db8::9");
    public static readonly IpAddress LinkLocal = IpAddress.LinkLocalOf(IpHost.LocalMac), PeerLinkLocal = IpAddress.LinkLocalOf(IpHost.PeerMac);

    public static IpHost Host(Func<NetStackOptions, NetStackOptions>? configure = null, int pageSize = 4096) =>
        new(options => (configure ?? (o => o))(options with { Address6 = Local, Gateway6 = Gateway }), pageSize: pageSize);

    /// <summary>Makes peer and gateway known without a trace on the device.</summary>
    public static IpHost KnowNeighbors(this IpHost host)
    {
        foreach (IpAddress neighbor in new[] { Peer, Gateway, PeerLinkLocal })
        {
            host.Receive(Solicitation(neighbor, Local));
            host.Receive(Advertisement(neighbor, NeighborFlags.Solicited | NeighborFlags.Override, IpHost.PeerMac));
        }

        host.Device.TakeAll();
        return host;
    }

    /// <summary>A frame from the peer with an IPv6 packet: <paramref name="payload"/> is all that follows the IPv6 header, extension headers included.</summary>
    public static byte[] Frame(
        IpProtocol next, ReadOnlySpan<byte> payload, IpAddress? source = null, IpAddress? destination = null, byte hopLimit = 64, EthernetAddress? destinationMac = null)
    {
        IpAddress to = destination ?? Local;
        byte[] frame = new byte[Math.Max(60, 54 + payload.Length)];
        EthernetHeader.Write(frame, destinationMac ?? (to.IsMulticast ? EthernetAddress.ForGroup(to) : IpHost.LocalMac), IpHost.PeerMac, EtherType.Ipv6);
        Ipv6Header.Write(frame.AsSpan(14), source ?? Peer, to, next, payload.Length, hopLimit);
        payload.CopyTo(frame.AsSpan(54));
        return frame;
    }

    /// <summary>A fragment: its header and its bytes.</summary>
    public static byte[] Fragment(IpProtocol next, ReadOnlySpan<byte> part, int offset, bool more, uint id = 7, byte[]? before = null)
    {
        byte[] bytes = new byte[8 + part.Length];
        Ipv6FragmentHeader.Write(bytes, next, offset, more, id);
        part.CopyTo(bytes.AsSpan(8));
        return before is null ? Frame(IpProtocol.Ipv6Fragment, bytes) : Frame((IpProtocol)before[0], [.. before[1..], .. bytes]);
    }

    /// <summary>Options as they stand in a hop-by-hop or destination options header, padded.</summary>
    public static byte[] Options(IpProtocol next, params byte[] options)
    {
        byte[] header = new byte[(2 + options.Length + 7) & ~7];
        header[0] = (byte)next;
        header[1] = (byte)((header.Length / 8) - 1);
        options.CopyTo(header, 2);
        return header;
    }

    public static byte[] Tcp(
        ReadOnlySpan<byte> payload, ushort sourcePort = 1000, ushort destinationPort = 80, uint seq = 1, uint ack = 2, TcpFlags flags = TcpFlags.Ack, byte[]? options = null,
        IpAddress? source = null, IpAddress? destination = null) =>
        IpHost.TcpBytes(payload, sourcePort, destinationPort, seq, ack, flags, options, source ?? Peer, destination ?? Local);

    /// <summary>An ICMPv6 message, checksum included.</summary>
    public static byte[] Icmp(Icmpv6Type type, byte code, uint rest, ReadOnlySpan<byte> body, IpAddress? source = null, IpAddress? destination = null)
    {
        byte[] bytes = new byte[8 + body.Length];
        body.CopyTo(bytes.AsSpan(8));
        Icmpv6Header.Write(bytes, type, code, rest, 0);
        FixIcmp(bytes, source ?? Peer, destination ?? Local);
        return bytes;
    }

    public static void FixIcmp(Span<byte> message, IpAddress source, IpAddress destination)
    {
        message[2] = message[3] = 0;
        ulong sum = InternetChecksum.PseudoHeader(source, destination, IpProtocol.Icmpv6, message.Length);
        BinaryPrimitives.WriteUInt16BigEndian(message[2..], InternetChecksum.Finish(InternetChecksum.Add(sum, message)));
    }

    /// <summary>Asks, as <paramref name="source"/>, who has <paramref name="target"/>.</summary>
    public static byte[] Solicitation(IpAddress source, IpAddress target, IpAddress? destination = null, byte hopLimit = 255, EthernetAddress? hardware = null, byte[]? body = null)
    {
        IpAddress to = destination ?? target.SolicitedNode;
        byte[] message = new byte[32];
        NeighborMessage.Write(message, Icmpv6Type.NeighborSolicitation, NeighborFlags.None, target, hardware ?? IpHost.PeerMac, source, to);
        if (source.IsAny)
        {
            message = message[..24];
        }

        message = body ?? message;
        FixIcmp(message, source, to);
        return Frame(IpProtocol.Icmpv6, message, source, to, hopLimit);
    }

    /// <summary>Says, as the peer, who has <paramref name="target"/>.</summary>
    public static byte[] Advertisement(
        IpAddress target, NeighborFlags flags, EthernetAddress? hardware, IpAddress? destination = null, byte hopLimit = 255)
    {
        IpAddress to = destination ?? Local;
        byte[] message = new byte[32];
        NeighborMessage.Write(message, Icmpv6Type.NeighborAdvertisement, flags, target, hardware ?? default, target, to);
        if (hardware is null)
        {
            message = message[..24];
        }

        FixIcmp(message, target, to);
        return Frame(IpProtocol.Icmpv6, message, target, to, hopLimit);
    }

    /// <summary>Hands a segment without payload to output, as TCP would.</summary>
    public static IpSendResult Send(IpHost host, IpAddress destination, IpAddress? source = null) => host.Ip.Output.SendTcp(
        new TcpHeaderToSend { Source = new IpEndpoint(source ?? Local, 80), Destination = new IpEndpoint(destination, 1000), Flags = TcpFlags.Ack }, default, 0, 0, host.NowUs);

    /// <summary>Asserts that the transport checksum of an IPv6 frame without extension headers is right.</summary>
    public static void AssertChecksum(ReadOnlySpan<byte> frame)
    {
        Assert.True(Ipv6View.TryParse(frame[14..], out Ipv6View ip));
        Assert.Equal(ip.TotalLength + 14, frame.Length);
        Assert.True(InternetChecksum.IsValid(frame[54..], InternetChecksum.PseudoHeader(ip.Source, ip.Destination, ip.NextHeader, ip.PayloadLength)));
    }
}
