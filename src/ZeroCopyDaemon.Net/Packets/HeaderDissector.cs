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

    /// <summary>The IP protocol, as in the IP header; <see cref="IpProtocol.None"/> without one.</summary>
    public IpProtocol Protocol { get; init; }

    /// <summary>Where the network header starts; 0 if there is none.</summary>
    public int L3Offset { get; init; }

    /// <summary>Where the transport header (or a fragment's payload) starts; 0 if there is none.</summary>
    public int L4Offset { get; init; }

    /// <summary>IP source, valid if <see cref="IsIpv4"/>.</summary>
    public IpAddress Source { get; init; }

    /// <summary>IP destination, valid if <see cref="IsIpv4"/>.</summary>
    public IpAddress Destination { get; init; }

    /// <summary>Valid if <see cref="HasPorts"/>.</summary>
    public ushort SourcePort { get; init; }

    /// <summary>Valid if <see cref="HasPorts"/>.</summary>
    public ushort DestinationPort { get; init; }

    /// <summary>The ports are known: an unfragmented TCP segment or UDP datagram.</summary>
    public bool HasPorts { get; init; }

    /// <summary>The IP header's total length; what a frame has beyond <see cref="L3Offset"/> plus this is padding. 0 without IP.</summary>
    public int IpTotalLength { get; init; }

    /// <summary>A fragment of an IP datagram, be it the first.</summary>
    public bool IsFragment { get; init; }

    /// <summary>An IPv4 header was found whole.</summary>
    public bool IsIpv4 => L4Offset != 0;
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
    /// <para>The header length is: Ethernet, IPv4 with options and TCP with options; the same with UDP or ICMP (8 bytes); Ethernet and IPv4 for fragments and for any
    /// other protocol; all the given bytes for ARP; else Ethernet.</para>
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

        if (etherType != EtherType.Ipv4 || !Ipv4View.TryParse(ethernet.Payload, out Ipv4View ip))
        {
            return new FrameDissection
            {
                HeaderLength = EthernetHeader.Length,
                FullHeaderLength = etherType == EtherType.Ipv4 ? 0 : EthernetHeader.Length,
                EtherType = etherType,
            };
        }

        int l4Offset = EthernetHeader.Length + ip.HeaderLength;
        bool isFragment = ip.IsFragment;
        IpProtocol protocol = ip.Protocol;
        ReadOnlySpan<byte> l4 = ip.AfterHeader;

        // Padding is no header: what the datagram doesn't have isn't looked for.
        if (l4.Length > ip.TotalLength - ip.HeaderLength)
        {
            l4 = l4[..(ip.TotalLength - ip.HeaderLength)];
        }

        int l4HeaderLength = 0;
        bool isKnown = true;
        bool hasPorts = false;
        if (!isFragment)
        {
            switch (protocol)
            {
                case IpProtocol.Tcp:
                    l4HeaderLength = l4.Length > TcpHeader.DataOffsetOffset
                        ? Math.Max((l4[TcpHeader.DataOffsetOffset] >> 4) * 4, TcpHeader.MinLength)
                        : TcpHeader.MinLength;
                    isKnown = l4.Length > TcpHeader.DataOffsetOffset;
                    hasPorts = l4.Length >= 4;
                    break;
                case IpProtocol.Udp:
                    l4HeaderLength = 8;
                    hasPorts = l4.Length >= 4;
                    break;
                case IpProtocol.Icmp:
                    l4HeaderLength = IcmpHeader.Length;
                    break;
            }
        }

        return new FrameDissection
        {
            HeaderLength = l4Offset + Math.Min(l4HeaderLength, l4.Length),
            FullHeaderLength = isKnown ? l4Offset + Math.Min(l4HeaderLength, ip.TotalLength - ip.HeaderLength) : 0,
            EtherType = etherType,
            Protocol = protocol,
            L3Offset = EthernetHeader.Length,
            L4Offset = l4Offset,
            Source = ip.Source,
            Destination = ip.Destination,
            SourcePort = hasPorts ? BinaryPrimitives.ReadUInt16BigEndian(l4) : (ushort)0,
            DestinationPort = hasPorts ? BinaryPrimitives.ReadUInt16BigEndian(l4[2..]) : (ushort)0,
            HasPorts = hasPorts,
            IpTotalLength = ip.TotalLength,
            IsFragment = isFragment,
        };
    }
}
