using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.UnitTests.IpHost;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Good IPv6 frames, for <see cref="FrameMutator"/> to make bad ones of.</summary>
internal static class FrameSeeds6
{
    public static byte[][] Make()
    {
        byte[] synOptions = [2, 4, 5, 0xA0, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];
        byte[] stamps = [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 1];
        byte[] echo = Ip6.Icmp(Icmpv6Type.EchoRequest, 0, 0x1234_0001, Pattern(56));
        byte[] quote = new byte[60];
        Ipv6Header.Write(quote, Ip6.Local, Ip6.Peer, IpProtocol.Tcp, 1440);
        Ip6.Tcp([]).AsSpan(0, 20).CopyTo(quote.AsSpan(40));
        byte[] bigSegment = Ip6.Tcp(Pattern(2500), options: stamps);
        byte[] withOptions = [.. Ip6.Options(IpProtocol.Tcp, 0x1E, 4, 0, 0, 0, 0), .. Ip6.Tcp(Pattern(700), seq: 3)];
        return
        [
            Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp([], flags: TcpFlags.Syn, options: synOptions)),
            Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp([], seq: 2, flags: TcpFlags.Ack, options: stamps)),
            Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp(Pattern(1), seq: 2, flags: TcpFlags.Ack | TcpFlags.Psh, options: stamps)),
            Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp(Pattern(1440), seq: 3)),
            Ip6.Frame(0, [.. Ip6.Options(IpProtocol.Ipv6Options, 5, 2, 0, 0), .. withOptions]),
            Ip6.Frame(IpProtocol.Ipv6Options, [.. Ip6.Options(IpProtocol.Ipv6Options, [1, 180, .. new byte[180]]), .. withOptions]),
            Ip6.Frame(IpProtocol.Ipv6Route, [6, 2, 0, 0, .. new byte[20], .. Ip6.Tcp(Pattern(10), seq: 9, flags: TcpFlags.Fin | TcpFlags.Ack)]),
            Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp([], seq: 9, flags: TcpFlags.Rst)),
            Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp([], destinationPort: 81, flags: TcpFlags.Syn)),
            Ip6.Solicitation(Ip6.Peer, Ip6.Local),
            Ip6.Solicitation(Ip6.PeerLinkLocal, Ip6.LinkLocal),
            Ip6.Solicitation(IpAddress.Any, Ip6.Local),
            Ip6.Advertisement(Ip6.Peer, NeighborFlags.Solicited | NeighborFlags.Override, PeerMac),
            Ip6.Advertisement(Ip6.Gateway, NeighborFlags.Override, PeerMac, destination: IpAddress.AllNodes),
            Ip6.Frame(IpProtocol.Icmpv6, echo),
            Ip6.Frame(IpProtocol.Icmpv6, Ip6.Icmp(Icmpv6Type.EchoRequest, 0, 7, Pattern(1400))),
            Ip6.Frame(IpProtocol.Icmpv6, Ip6.Icmp(Icmpv6Type.PacketTooBig, 0, 1280, quote, Ip6.Gateway), Ip6.Gateway),
            Ip6.Frame(IpProtocol.Icmpv6, Ip6.Icmp(Icmpv6Type.DestinationUnreachable, 1, 0, quote)),
            Ip6.Frame(IpProtocol.Udp, Pattern(30)),
            Ip6.Frame((IpProtocol)132, Pattern(60)),
            Ip6.Fragment(IpProtocol.Tcp, bigSegment.AsSpan(0, 1448), 0, more: true, id: 1),
            Ip6.Fragment(IpProtocol.Tcp, bigSegment.AsSpan(1448), 1448, more: false, id: 1),
            Ip6.Fragment(IpProtocol.Icmpv6, echo.AsSpan(0, 16), 0, more: true, id: 2),
            Ip6.Fragment(IpProtocol.Icmpv6, echo.AsSpan(16, 40), 16, more: true, id: 2),
            Ip6.Fragment(IpProtocol.Icmpv6, echo.AsSpan(56), 56, more: false, id: 2),
            Ip6.Fragment(IpProtocol.Ipv6Options, withOptions.AsSpan(0, 400), 0, more: true, id: 3),
            Ip6.Fragment(IpProtocol.Ipv6Options, withOptions.AsSpan(400), 400, more: false, id: 3),
        ];
    }
}
