using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>
/// Echo replies (RFC 792, RFC 1122 section 3.2.2.6). The data goes back straight out of the pages it came in: the chain is held until the device has read it. A reply that is
/// longer than the MTU goes out in fragments, each a slice of the same pages.
/// </summary>
internal sealed class IcmpEcho(PagePool pool, Ipv4Output output, IFrameDevice device, HeldChains held, IpCounters counters)
{
    private const int MaxChunksPerFrame = 32;

    /// <summary>Answers an echo request whose checksum is right, and takes its chain over. Says why if it couldn't be sent.</summary>
    public DropReason? Reply(in IpDatagram request, scoped in IcmpView icmp, long nowUs)
    {
        held.ReleaseCompleted(nowUs);
        int chain = request.Payload;
        FragmentChain.TrimFront(pool, ref chain, IcmpHeader.Length - request.Head.Length);
        DropReason? reason = DropReason.FULL_RING;
        if (!held.IsFull)
        {
            reason = Send(request, icmp, chain, nowUs);
        }
        else
        {
            pool.ReleaseChain(chain);
        }

        if (reason is null)
        {
            counters.IcmpOutMsgs++;
            counters.IcmpOutEchoReps++;
        }
        else
        {
            counters.IcmpOutErrors++;
        }

        return reason;
    }

    [SkipLocalsInit]
    private DropReason? Send(in IpDatagram request, scoped in IcmpView icmp, int chain, long nowUs)
    {
        IpSendResult route = output.FindRoute(request.Destination, request.Source, nowUs, out EthernetAddress hardware);
        if (route != IpSendResult.Sent)
        {
            pool.ReleaseChain(chain);
            return route == IpSendResult.AwaitingNeighbor ? DropReason.NEIGH_FAILED : DropReason.IP_INADDRERRORS;
        }

        int left = request.Length;
        int perFrame = output.Mtu - Ipv4Header.MinLength;
        bool whole = left <= perFrame;
        if (!whole)
        {
            perFrame &= ~7;
        }

        ushort identification = output.NextIdentification();
        Span<byte> headers = stackalloc byte[EthernetHeader.Length + Ipv4Header.MinLength + IcmpHeader.Length];
        Span<TxChunk> chunks = stackalloc TxChunk[MaxChunksPerFrame];
        chunks = chunks[..Math.Min(MaxChunksPerFrame, device.MaxChunks)];
        DropReason? reason = null;
        var slicer = new ChainSlicer(pool, chain);
        int offset = 0;
        while (left > 0)
        {
            int length = Math.Min(left, perFrame);
            left -= length;
            ushort flags = (ushort)((offset / 8) | (left > 0 ? Ipv4Header.MoreFragments : 0));
            int headerLength = output.WriteIpHeaders(headers, hardware, request.Destination, request.Source, IpProtocol.Icmp, length, identification, flags);
            int dataLength = length;
            if (offset == 0)
            {
                // Only type and code changed (RFC 1624).
                ushort checksum = InternetChecksum.Update(icmp.Checksum, (ushort)(((byte)icmp.Type << 8) | icmp.Code), (byte)IcmpType.EchoReply);
                headerLength += IcmpHeader.Write(headers[headerLength..], IcmpType.EchoReply, 0, icmp.RestOfHeader, checksum);
                dataLength -= IcmpHeader.Length;
            }

            int count = slicer.Next(chunks, dataLength);
            if (count < 0 || !device.TryTransmit(new TxFrame(headers[..headerLength], chunks[..count], dataLength)))
            {
                counters.IpOutDiscards++;
                reason = DropReason.FULL_RING;
                break;
            }

            offset += length;
            counters.IpOutRequests++;
            if (!whole)
            {
                counters.IpFragCreates++;
            }
        }

        if (!whole && reason is null)
        {
            counters.IpFragOKs++;
        }

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
}
