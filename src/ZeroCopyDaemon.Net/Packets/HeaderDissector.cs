using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Packets;

/// <summary>What a frame's first bytes say. Nothing in it is verified: a NIC places and steers by it, the stack checks for itself.</summary>
public readonly struct FrameDissection
{
    /// <summary>Bytes of protocol headers from the frame's start: where header/data split cuts. Never more than the bytes given.</summary>
    public int HeaderLength { get; init; }

    /// <summary>
    /// What <see cref="HeaderLength"/> would be with more bytes given, as far as these tell: 0 if they don't. A device that wrote the frame before it looked at it finds out by this how far off it was.
    /// </summary>
    public int FullHeaderLength { get; init; }

    /// <summary>As in the Ethernet header; <see cref="EtherType.None"/> if the frame is too short to have one.</summary>
    public EtherType EtherType { get; init; }

    /// <summary>What follows the IP header and IPv6's extension headers; <see cref="IpProtocol.None"/> if that isn't known.</summary>
    public IpProtocol Protocol { get; init; }

    /// <summary>Where the network header starts; 0 if there is none.</summary>
    public int L3Offset { get; init; }

    /// <summary>Where the transport header (or a fragment's payload, or the extension header that wasn't understood) starts; 0 without IP.</summary>
    public int L4Offset { get; init; }

    /// <summary>IP source, valid if <see cref="IsIp"/>.</summary>
    public IpAddress Source { get; init; }

    /// <summary>IP destination, valid if <see cref="IsIp"/>.</summary>
    public IpAddress Destination { get; init; }

    /// <summary>Valid if <see cref="HasPorts"/>.</summary>
    public ushort SourcePort { get; init; }

    /// <summary>Valid if <see cref="HasPorts"/>.</summary>
    public ushort DestinationPort { get; init; }

    /// <summary>The ports are known: an unfragmented TCP segment or UDP datagram.</summary>
    public bool HasPorts { get; init; }

    /// <summary>Bytes of the IP packet, as its header says; what a frame has beyond <see cref="L3Offset"/> plus this is padding. 0 without IP.</summary>
    public int IpTotalLength { get; init; }

    /// <summary>A fragment of an IP datagram, be it the first.</summary>
    public bool IsFragment { get; init; }

    /// <summary>An IPv4 or IPv6 header was found whole.</summary>
    public bool IsIp => L4Offset != 0;

    /// <summary>An IPv4 header was found whole.</summary>
    public bool IsIpv4 => IsIp && EtherType == EtherType.Ipv4;

    /// <summary>An IPv6 header was found whole.</summary>
    public bool IsIpv6 => IsIp && EtherType == EtherType.Ipv6;
}

/// <summary>
/// Finds the protocol headers at a frame's start, as a NIC's parser does. Never throws, whatever the bytes are. The stack relies on it: a frame that is
/// handed up has at least <see cref="FrameDissection.HeaderLength"/> bytes, and no payload, in its header buffer.
/// </summary>
public static class HeaderDissector
{
    /// <summary>As many bytes of a frame as the dissector ever looks at.</summary>
    public const int MaxHeaderBytes = 160;

    /// <summary>
    /// Dissects a frame by its first bytes: at least <see cref="MaxHeaderBytes"/> of them, or the whole frame if it is shorter.
    /// <para>The header length is: Ethernet, IPv4 with options or IPv6 with extension headers, and TCP with options; the same with UDP or ICMP (8 bytes); Ethernet and IP for fragments (their own
    /// header included) and for any other protocol, or as many of the extension headers as were understood; all the given bytes for ARP; else Ethernet.</para>
    /// </summary>
    public static FrameDissection Dissect(ReadOnlySpan<byte> frame)
    {
        if (frame.Length > MaxHeaderBytes)
        {
            frame = frame[..MaxHeaderBytes];
        }

        if (!EthernetView.TryParse(frame, out EthernetView ethernet))
        {
            return new FrameDissection { HeaderLength = frame.Length };
        }

        EtherType etherType = ethernet.EtherType;
        if (etherType == EtherType.Arp)
        {
            return new FrameDissection { HeaderLength = frame.Length, EtherType = etherType, L3Offset = EthernetHeader.Length };
        }

        if (etherType == EtherType.Ipv4 && Ipv4View.TryParse(ethernet.Payload, out Ipv4View ip))
        {
            return DissectTransport(
                frame,
                new FrameDissection
                {
                    EtherType = etherType,
                    Protocol = ip.Protocol,
                    L3Offset = EthernetHeader.Length,
                    L4Offset = EthernetHeader.Length + ip.HeaderLength,
                    Source = ip.Source,
                    Destination = ip.Destination,
                    IpTotalLength = ip.TotalLength,
                    IsFragment = ip.IsFragment,
                },
                isKnown: true);
        }

        if (etherType == EtherType.Ipv6 && Ipv6View.TryParse(ethernet.Payload, out Ipv6View ip6))
        {
            Ipv6Layout layout = Ipv6Extensions.Walk(ethernet.Payload, ip6.TotalLength);
            return DissectTransport(
                frame,
                new FrameDissection
                {
                    EtherType = etherType,
                    Protocol = layout.Protocol,
                    L3Offset = EthernetHeader.Length,
                    L4Offset = EthernetHeader.Length + layout.Offset,
                    Source = ip6.Source,
                    Destination = ip6.Destination,
                    IpTotalLength = ip6.TotalLength,
                    IsFragment = layout.End == Ipv6WalkEnd.Fragment,
                },
                isKnown: layout.End != Ipv6WalkEnd.Incomplete);
        }

        return new FrameDissection
        {
            HeaderLength = EthernetHeader.Length,
            FullHeaderLength = etherType is EtherType.Ipv4 or EtherType.Ipv6 ? 0 : EthernetHeader.Length,
            EtherType = etherType,
        };
    }

    /// <summary>Adds what the transport header says. <paramref name="isKnown"/>: where it begins was found out.</summary>
    private static FrameDissection DissectTransport(ReadOnlySpan<byte> frame, in FrameDissection ip, bool isKnown)
    {
        ReadOnlySpan<byte> l4 = frame[ip.L4Offset..];
        int left = ip.L3Offset + ip.IpTotalLength - ip.L4Offset;

        // Padding is no header: what the datagram doesn't have isn't looked for.
        if (l4.Length > left)
        {
            l4 = l4[..left];
        }

        int l4HeaderLength = 0;
        bool hasPorts = false;
        if (!ip.IsFragment)
        {
            switch (ip.Protocol)
            {
                case IpProtocol.Tcp:
                    l4HeaderLength = l4.Length > TcpHeader.DataOffsetOffset
                        ? Math.Max((l4[TcpHeader.DataOffsetOffset] >> 4) * 4, TcpHeader.MinLength)
                        : TcpHeader.MinLength;
                    isKnown &= l4.Length > TcpHeader.DataOffsetOffset;
                    hasPorts = l4.Length >= 4;
                    break;
                case IpProtocol.Udp:
                    l4HeaderLength = 8;
                    hasPorts = l4.Length >= 4;
                    break;
                case IpProtocol.Icmp or IpProtocol.Icmpv6:
                    l4HeaderLength = IcmpHeader.Length;
                    break;
            }
        }

        return ip with
        {
            HeaderLength = ip.L4Offset + Math.Min(l4HeaderLength, l4.Length),
            FullHeaderLength = isKnown ? ip.L4Offset + Math.Min(l4HeaderLength, left) : 0,
            SourcePort = hasPorts ? BinaryPrimitives.ReadUInt16BigEndian(l4) : (ushort)0,
            DestinationPort = hasPorts ? BinaryPrimitives.ReadUInt16BigEndian(l4[2..]) : (ushort)0,
            HasPorts = hasPorts,
        };
    }
}
