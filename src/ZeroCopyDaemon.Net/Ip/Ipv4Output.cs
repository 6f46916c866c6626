using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>Frames what TCP and ICMP send, and puts it on the TX ring. Keeps nothing: what doesn't fit now is the sender's to keep.</summary>
internal sealed class Ipv4Output(AddressPlan addresses, ArpLayer arp, IFrameDevice device, IpCounters counters, ushort firstIdentification)
{
    private ushort _identification = firstIdentification;

    /// <summary>Longest IP datagram that goes out in one frame.</summary>
    public int Mtu => device.Mtu;

    /// <summary>As <see cref="IIpOutput.SendTcp"/>, between two IPv4 addresses.</summary>
    [SkipLocalsInit]
    public IpSendResult SendTcp(in TcpHeaderToSend header, ReadOnlySpan<TxChunk> payload, int payloadLength, int mss, long nowUs)
    {
        IpAddress source = header.Source.Address, destination = header.Destination.Address;
        IpSendResult route = FindRoute(source, destination, nowUs, out EthernetAddress hardware);
        if (route != IpSendResult.Sent)
        {
            return route;
        }

        int tcpHeaderLength = TcpHeader.MinLength + header.Options.Length;
        int segmentLength = tcpHeaderLength + payloadLength;
        bool partial = mss > 0 || device.TxChecksumOffload;

        Span<byte> headers = stackalloc byte[EthernetHeader.Length + Ipv4Header.MinLength + TcpHeader.MaxLength];
        WriteIpHeaders(headers, hardware, source, destination, IpProtocol.Tcp, segmentLength, 0, Ipv4Header.DontFragment);
        Span<byte> tcp = headers.Slice(EthernetHeader.Length + Ipv4Header.MinLength, tcpHeaderLength);
        TcpFraming.Write(tcp, header, payload, segmentLength, partial);
        headers = headers[..(EthernetHeader.Length + Ipv4Header.MinLength + tcpHeaderLength)];
        if (!device.TryTransmit(new TxFrame(headers, payload, payloadLength, mss, partial)))
        {
            return IpSendResult.RingFull;
        }

        if (!partial)
        {
            counters.TxChecksumSoftwareBytes += segmentLength;
        }

        counters.IpOutRequests++;
        return IpSendResult.Sent;
    }

    /// <summary>Where a datagram's frames go: <see cref="IpSendResult.Sent"/> with the next hop's MAC, or why there is none.</summary>
    public IpSendResult FindRoute(IpAddress source, IpAddress destination, long nowUs, out EthernetAddress hardware)
    {
        hardware = default;
        if (!addresses.TryGetNextHop(destination, out IpAddress nextHop))
        {
            counters.IpOutNoRoutes++;
            return IpSendResult.Unreachable;
        }

        switch (arp.Resolve(nextHop, source, nowUs, out hardware))
        {
            case NeighborLookup.Resolved:
                return IpSendResult.Sent;
            case NeighborLookup.Awaiting:
                return IpSendResult.AwaitingNeighbor;
            default:
                counters.IpOutDiscards++;
                return IpSendResult.Unreachable;
        }
    }

    /// <summary>An identification for a datagram that may be fragmented (RFC 6864 section 4.3).</summary>
    public ushort NextIdentification() => _identification++;

    /// <summary>Writes the Ethernet and IPv4 headers; returns their length.</summary>
    public int WriteIpHeaders(
        Span<byte> headers,
        EthernetAddress hardware,
        IpAddress source,
        IpAddress destination,
        IpProtocol protocol,
        int length,
        ushort identification,
        ushort flagsAndOffset)
    {
        int at = EthernetHeader.Write(headers, hardware, addresses.HardwareOf(source), EtherType.Ipv4);

        // A TSO super-segment can be longer than the field; the device writes each segment's own length, so 0 is as good (as with Linux's BIG TCP).
        int totalLength = Ipv4Header.MinLength + length;
        return at + Ipv4Header.Write(
            headers[at..], source, destination, protocol, totalLength > Ipv4Header.MaxTotalLength ? 0 : totalLength, identification, flagsAndOffset);
    }
}
