using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.UnitTests.IpHost;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Makes hostile frames out of good ones: bits flipped, lengths changed, cut short, padded; often with checksums put right again, so that they get past the first check.</summary>
/// <param name="seed">Decides what comes.</param>
/// <param name="ipv6">Frames of both families.</param>
internal sealed class FrameMutator(int seed, bool ipv6 = false)
{
    private static readonly byte[][] Seeds = MakeSeeds();
    private static readonly byte[][] BothSeeds = [.. Seeds, .. FrameSeeds6.Make()];
    private readonly Random _random = new(seed);
    private readonly byte[][] _seeds = ipv6 ? BothSeeds : Seeds;

    /// <summary>Fields that say how long something is, or what follows: where parsers go wrong.</summary>
    private static readonly int[] TellingOffsets = [12, 13, 14, 16, 17, 18, 19, 20, 21, 23, 34, 35, 46, 47, 54, 55, 56, 57, 66, 67];

    private static readonly int[] TellingOffsets6 = [12, 13, 14, 18, 19, 20, 21, 22, 38, 54, 55, 56, 57, 58, 62, 63, 64, 65, 66, 67, 78, 79];

    /// <param name="live">What the stack expects next and has sent so far, so that mutated segments also meet a live connection.</param>
    public byte[] Next((uint Seq, uint Ack)? live = null)
    {
        byte[] frame = [.. _seeds[_random.Next(_seeds.Length)]];
        bool is6 = frame[12] == 0x86;
        if (live is { } numbers && _random.Next(4) != 0)
        {
            JoinConnection(frame, numbers);
        }

        int mutations = _random.Next(4);
        for (int i = 0; i < mutations && frame.Length > 0; i++)
        {
            switch (_random.Next(8))
            {
                case 0:
                    frame[_random.Next(frame.Length)] ^= (byte)(1 << _random.Next(8));
                    break;
                case 1:
                    frame[_random.Next(Math.Min(frame.Length, 80))] = (byte)_random.Next(256);
                    break;
                case 2:
                    Array.Resize(ref frame, _random.Next(frame.Length + 1));
                    break;
                case 3:
                    Array.Resize(ref frame, frame.Length + _random.Next(200));
                    break;
                case 4 when is6 && frame.Length > 61:
                    BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(56), (ushort)((_random.Next(300) << 3) | _random.Next(2)));
                    frame[61] = (byte)_random.Next(8);
                    break;
                case 5 when is6 && frame.Length > 20:
                    BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(18), (ushort)_random.Next(frame.Length + 40));
                    break;
                case 4 when frame.Length > 24:
                    // Another place in another datagram, or one that is under way.
                    BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(20), (ushort)(_random.Next(300) | (_random.Next(3) << 12 & 0x2000)));
                    frame[19] = (byte)_random.Next(8);
                    break;
                case 5 when frame.Length > 18:
                    BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(16), (ushort)_random.Next(frame.Length + 40));
                    break;
                default:
                    int[] telling = is6 ? TellingOffsets6 : TellingOffsets;
                    int offset = telling[_random.Next(telling.Length)];
                    if (offset < frame.Length)
                    {
                        frame[offset] = (byte)_random.Next(256);
                    }

                    break;
            }
        }

        if (_random.Next(4) != 0)
        {
            MendChecksums(frame);
        }

        return frame;
    }

    private void JoinConnection(byte[] frame, (uint Seq, uint Ack) live)
    {
        FrameDissection dissection = HeaderDissector.Dissect(frame);
        if (!dissection.HasPorts || dissection.Protocol != IpProtocol.Tcp || (frame[dissection.L4Offset + TcpHeader.FlagsOffset] & (byte)TcpFlags.Syn) != 0)
        {
            return;
        }

        Span<byte> tcp = frame.AsSpan(dissection.L4Offset);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[TcpHeader.SequenceOffset..], live.Seq + Jitter());
        BinaryPrimitives.WriteUInt32BigEndian(tcp[TcpHeader.AcknowledgmentOffset..], live.Ack + (_random.Next(8) == 0 ? Jitter() : 0));
        MendChecksums(frame);
    }

    private uint Jitter() => _random.Next(4) switch
    {
        0 => (uint)_random.Next(3000),
        1 => (uint)-_random.Next(3000),
        _ => 0,
    };

    private static void MendChecksums(byte[] frame)
    {
        FrameDissection dissection = HeaderDissector.Dissect(frame);
        if (!dissection.IsIp)
        {
            return;
        }

        if (dissection.IsIpv4)
        {
            FixIpChecksum(frame);
        }

        int length = Math.Min(dissection.IpTotalLength - (dissection.L4Offset - 14), frame.Length - dissection.L4Offset);
        int field = dissection.Protocol == IpProtocol.Tcp ? TcpHeader.ChecksumOffset : IcmpHeader.ChecksumOffset;
        if (dissection.IsFragment || length < field + 2 || dissection.Protocol is not (IpProtocol.Tcp or IpProtocol.Icmp or IpProtocol.Icmpv6))
        {
            return;
        }

        Span<byte> l4 = frame.AsSpan(dissection.L4Offset, length);
        BinaryPrimitives.WriteUInt16BigEndian(l4[field..], 0);
        ulong sum = dissection.Protocol == IpProtocol.Icmp ? 0 : InternetChecksum.PseudoHeader(dissection.Source, dissection.Destination, dissection.Protocol, length);
        BinaryPrimitives.WriteUInt16BigEndian(l4[field..], InternetChecksum.Finish(InternetChecksum.Add(sum, l4)));
    }

    private static byte[][] MakeSeeds()
    {
        byte[] synOptions = [2, 4, 5, 0xB4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];
        byte[] stamps = [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 1];
        byte[] echo = IcmpBytes(IcmpType.Echo, 0, 0x1234_0001, Pattern(56));
        byte[] quote = new byte[36];
        Ipv4Header.Write(quote, Local, Peer, IpProtocol.Tcp, 1500, 0, Ipv4Header.DontFragment);
        TcpBytes([]).AsSpan(0, 16).CopyTo(quote.AsSpan(20));
        byte[] bigSegment = TcpBytes(Pattern(2500), options: stamps);
        return
        [
            Ipv4(IpProtocol.Tcp, TcpBytes([], flags: TcpFlags.Syn, options: synOptions)),
            Ipv4(IpProtocol.Tcp, TcpBytes([], seq: 2, flags: TcpFlags.Ack, options: stamps)),
            Ipv4(IpProtocol.Tcp, TcpBytes(Pattern(1), seq: 2, flags: TcpFlags.Ack | TcpFlags.Psh, options: stamps)),
            Ipv4(IpProtocol.Tcp, TcpBytes(Pattern(1460), seq: 3)),
            Ipv4(IpProtocol.Tcp, TcpBytes(Pattern(3000), seq: 900), options: [1, 7, 7, 4, 0, 0, 0, 0]),
            Ipv4(IpProtocol.Tcp, TcpBytes(Pattern(10), seq: 9, flags: TcpFlags.Fin | TcpFlags.Ack)),
            Ipv4(IpProtocol.Tcp, TcpBytes([], seq: 9, flags: TcpFlags.Rst)),
            Ipv4(IpProtocol.Tcp, TcpBytes([], destinationPort: 81, flags: TcpFlags.Syn)),
            Ipv4(IpProtocol.Tcp, TcpBytes([], seq: 2, flags: TcpFlags.Ack, options: [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2])),
            Arp(ArpOperation.Request, PeerMac, Peer, Local),
            Arp(ArpOperation.Reply, PeerMac, Peer, Local, LocalMac),
            Arp(ArpOperation.Request, PeerMac, Peer, Peer),
            Ipv4(IpProtocol.Icmp, echo),
            Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.Echo, 0, 7, Pattern(1400))),
            Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.DestinationUnreachable, 4, 1280, quote), source: Gateway),
            Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.TimeExceeded, 1, 0, quote)),
            Ipv4(IpProtocol.Udp, Pattern(30)),
            Ipv4((IpProtocol)132, Pattern(60)),
            Ipv4(IpProtocol.Tcp, bigSegment.AsSpan(0, 1480), id: 1, more: true),
            Ipv4(IpProtocol.Tcp, bigSegment.AsSpan(1480), id: 1, offset: 1480),
            Ipv4(IpProtocol.Icmp, echo.AsSpan(0, 16), id: 2, more: true),
            Ipv4(IpProtocol.Icmp, echo.AsSpan(16, 40), id: 2, offset: 16, more: true),
            Ipv4(IpProtocol.Icmp, echo.AsSpan(56), id: 2, offset: 56),
        ];
    }
}
