using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>
/// Echo replies (RFC 4443 section 4.2), straight out of the pages that the request came in, as <see cref="IcmpEcho"/> does it. One longer than the path's MTU goes out in fragments.
/// </summary>
internal sealed class Icmpv6Echo(Ipv6Addresses addresses, PagePool pool, Ipv6Output output, IFrameDevice device, HeldChains held, Ipv6Counters counters)
{
    private const int MaxChunksPerFrame = 32;

    /// <summary>Answers an echo request whose checksum is right, and takes its chain over. Says why if it couldn't be sent.</summary>
    public DropReason? Reply(in IpDatagram request, scoped in Icmpv6View icmp, long nowUs)
    {
        held.ReleaseCompleted(nowUs);
        int chain = request.Payload;
        FragmentChain.TrimFront(pool, ref chain, Icmpv6Header.Length - request.Head.Length);
        DropReason? reason = DropReason.FULL_RING;
        if (held.IsFull)
        {
            pool.ReleaseChain(chain);
        }
        else
        {
            reason = Send(request, icmp, chain, nowUs);
        }

        if (reason is null)
        {
            counters.IcmpOutMsgs++;
            counters.IcmpOutEchoReplies++;
        }
        else
        {
            counters.IcmpOutErrors++;
        }

        return reason;
    }

    [SkipLocalsInit]
    private DropReason? Send(in IpDatagram request, scoped in Icmpv6View icmp, int chain, long nowUs)
    {
        // What was sent to a group is answered by one of us.
        IpAddress destination = request.Source;
        IpAddress source = addresses.IsLocal(request.Destination) ? request.Destination : addresses.SourceFor(destination);
        IpSendResult route = output.FindRoute(source, destination, nowUs, out EthernetAddress hardware);
        if (route != IpSendResult.Sent)
        {
            pool.ReleaseChain(chain);
            return route == IpSendResult.AwaitingNeighbor ? DropReason.NEIGH_FAILED : DropReason.IP_INADDRERRORS;
        }

        int left = request.Length;
        int perFrame = output.MtuTo(destination, nowUs) - Ipv6Header.Length;
        bool whole = left <= perFrame;
        if (!whole)
        {
            perFrame = (perFrame - Ipv6FragmentHeader.Length) & ~7;
        }

        uint identification = whole ? 0 : output.NextIdentification(source, destination);
        Span<byte> headers = stackalloc byte[EthernetHeader.Length + Ipv6Header.Length + Ipv6FragmentHeader.Length + Icmpv6Header.Length];
        Span<TxChunk> chunks = stackalloc TxChunk[MaxChunksPerFrame];
        chunks = chunks[..Math.Min(MaxChunksPerFrame, device.MaxChunks)];
        DropReason? reason = null;
        var slicer = new ChainSlicer(pool, chain);
        int offset = 0;
        while (left > 0)
        {
            int length = Math.Min(left, perFrame);
            left -= length;
            int headerLength = output.WriteIpHeaders(
                headers, hardware, source, destination, whole ? IpProtocol.Icmpv6 : IpProtocol.Ipv6Fragment, whole ? length : length + Ipv6FragmentHeader.Length, flowLabel: 0);
            if (!whole)
            {
                headerLength += Ipv6FragmentHeader.Write(headers[headerLength..], IpProtocol.Icmpv6, offset, more: left > 0, identification);
            }

            int dataLength = length;
            if (offset == 0)
            {
                headerLength += Icmpv6Header.Write(headers[headerLength..], Icmpv6Type.EchoReply, 0, icmp.RestOfHeader, Checksum(request, icmp, source));
                dataLength -= Icmpv6Header.Length;
            }

            int count = slicer.Next(chunks, dataLength);
            if (count < 0 || !device.TryTransmit(new TxFrame(headers[..headerLength], chunks[..count], dataLength)))
            {
                counters.OutDiscards++;
                reason = DropReason.FULL_RING;
                break;
            }

            offset += length;
            counters.OutRequests++;
            counters.FragCreates += whole ? 0 : 1;
        }

        counters.FragOKs += whole || reason is not null ? 0 : 1;

        // What was posted before the ring became full is read all the same.
        if (offset == 0)
        {
            pool.ReleaseChain(chain);
        }
        else
        {
            held.Hold(chain);
        }

        return reason;
    }

    /// <summary>Only type and code changed (RFC 1624), and the address in the pseudo-header if the request was sent to a group.</summary>
    private static ushort Checksum(in IpDatagram request, scoped in Icmpv6View icmp, IpAddress source)
    {
        ushort checksum = InternetChecksum.Update(icmp.Checksum, (ushort)(((byte)icmp.Type << 8) | icmp.Code), (byte)Icmpv6Type.EchoReply << 8);
        if (source == request.Destination)
        {
            return checksum;
        }

        ushort before = InternetChecksum.Fold(InternetChecksum.PseudoHeader(request.Source, request.Destination, IpProtocol.Icmpv6, 0));
        ushort after = InternetChecksum.Fold(InternetChecksum.PseudoHeader(source, request.Source, IpProtocol.Icmpv6, 0));
        return InternetChecksum.Update(checksum, before, after);
    }
}
