using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>Frames what TCP and ICMPv6 send, and puts it on the TX ring. Keeps no payload: what doesn't fit now is the sender's to keep.</summary>
internal sealed class Ipv6Output(Ipv6Addresses addresses, NdpLayer ndp, IFrameDevice device, Ipv6Counters counters, IpCounters shared, UInt128 secret)
{
    private const ulong FlowLabelPurpose = 7;
    private const ulong IdentificationPurpose = 8;

    private readonly SipHash _hash = new(secret);
    private uint _identification;

    /// <summary>What is known of paths.</summary>
    public PathMtuTable PathMtu { get; } = new();

    /// <summary>Longest packet towards a destination that needs no fragments.</summary>
    public int MtuTo(IpAddress destination, long nowUs) => PathMtu.MtuTo(destination, device.Mtu, nowUs);

    /// <summary>As <see cref="IIpOutput.SendTcp"/>, between two IPv6 addresses.</summary>
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
        Span<byte> headers = stackalloc byte[EthernetHeader.Length + Ipv6Header.Length + TcpHeader.MaxLength];
        uint label = FlowLabel(new FlowKey(header.Source, header.Destination));
        int at = WriteIpHeaders(headers, hardware, source, destination, IpProtocol.Tcp, segmentLength, label);
        TcpFraming.Write(headers.Slice(at, tcpHeaderLength), header, payload, segmentLength, partial);
        if (!device.TryTransmit(new TxFrame(headers[..(at + tcpHeaderLength)], payload, payloadLength, mss, partial)))
        {
            return IpSendResult.RingFull;
        }

        if (!partial)
        {
            shared.TxChecksumSoftwareBytes += segmentLength;
        }

        counters.OutRequests++;
        return IpSendResult.Sent;
    }

    /// <summary>Where a packet's frames go: <see cref="IpSendResult.Sent"/> with the next hop's MAC, or why there is none.</summary>
    public IpSendResult FindRoute(IpAddress source, IpAddress destination, long nowUs, out EthernetAddress hardware)
    {
        hardware = default;
        if (!addresses.TryGetNextHop(destination, out IpAddress nextHop))
        {
            counters.OutNoRoutes++;
            return IpSendResult.Unreachable;
        }

        switch (ndp.Resolve(nextHop, source, nowUs, out hardware))
        {
            case NeighborLookup.Resolved:
                return IpSendResult.Sent;
            case NeighborLookup.Awaiting:
                return IpSendResult.AwaitingNeighbor;
            default:
                counters.OutDiscards++;
                return IpSendResult.Unreachable;
        }
    }

    /// <summary>An identification for a packet that is sent in fragments: successive for one pair of addresses, and no help in guessing those of another (RFC 7739 section 5.3).</summary>
    public uint NextIdentification(IpAddress source, IpAddress destination) =>
        (uint)_hash.Hash(new FlowKey(source, destination, 0, 0), IdentificationPurpose) + _identification++;

    /// <summary>The label of a flow's packets: the same for all of them, and not to be guessed (RFC 6437 section 3).</summary>
    public uint FlowLabel(in FlowKey flow) => Math.Max(1, (uint)_hash.Hash(flow, FlowLabelPurpose) & Ipv6Header.FlowLabelMask);

    /// <summary>Writes the Ethernet and IPv6 headers; returns their length.</summary>
    public int WriteIpHeaders(Span<byte> headers, EthernetAddress hardware, IpAddress source, IpAddress destination, IpProtocol nextHeader, int length, uint flowLabel)
    {
        int at = EthernetHeader.Write(headers, hardware, addresses.Hardware, EtherType.Ipv6);

        // As with IPv4, a TSO super-segment can be longer than the field; the device writes each segment's own length.
        return at + Ipv6Header.Write(
            headers[at..], source, destination, nextHeader, length > Ipv6Header.MaxPayloadLength ? 0 : length, Ipv6Header.DefaultHopLimit, flowLabel);
    }
}
