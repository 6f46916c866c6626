using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>
/// Echo replies (RFC 792, RFC 1122 section 3.2.2.6). The data goes back straight out of the pages it came in: the chain is held until the device has read it. A reply that is
/// longer than the MTU goes out in fragments, each a slice of the same pages.
/// </summary>
internal sealed class IcmpEcho(PagePool pool, Ipv4Output output, IFrameDevice device, IpCounters counters)
{
    private const int MaxHeld = 256;
    private const int MaxChunksPerFrame = 32;

    /// <summary>How long until completions are looked at again; they come without an event of their own.</summary>
    private const long RecheckUs = 1_000;

    private readonly (int Chain, long Posted)[] _held = new (int, long)[MaxHeld];
    private int _first;
    private int _count;
    private long _recheckAtUs;

    /// <summary>When <see cref="ReleaseCompleted"/> must be called next.</summary>
    public long NextDeadlineUs => _count == 0 ? long.MaxValue : _recheckAtUs;

    /// <summary>Replies whose pages the device may still read.</summary>
    public int Held => _count;

    /// <summary>Answers an echo request whose checksum is right, and takes its chain over. Says why if it couldn't be sent.</summary>
    public DropReason? Reply(in Ipv4Datagram request, scoped in IcmpView icmp, long nowUs)
    {
        ReleaseCompleted(nowUs);
        int chain = request.Payload;
        FragmentChain.TrimFront(pool, ref chain, IcmpHeader.Length - request.Head.Length);
        DropReason? reason = DropReason.FULL_RING;
        if (_count < MaxHeld)
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

    /// <summary>Gives back the pages of replies that the device has read.</summary>
    public void ReleaseCompleted(long nowUs)
    {
        while (_count > 0 && _held[_first].Posted <= device.TxCompleted)
        {
            pool.ReleaseChain(_held[_first].Chain);
            _first = (_first + 1) % MaxHeld;
            _count--;
        }

        _recheckAtUs = nowUs + RecheckUs;
    }

    [SkipLocalsInit]
    private DropReason? Send(in Ipv4Datagram request, scoped in IcmpView icmp, int chain, long nowUs)
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
        int at = chain, atOffset = 0, offset = 0;
        while (left > 0)
        {
            int length = Math.Min(left, perFrame);
            left -= length;
            ushort flags = (ushort)((offset / 8) | (left > 0 ? Ipv4Header.MoreFragments : 0));
            int headerLength = output.WriteIpHeaders(headers, hardware, request.Destination, request.Source, IpProtocol.Icmp, length, identification, flags);
            int dataLength = length;
            if (offset == 0)
            {
                // Only the type changed, from 8 to 0 (RFC 1624).
                ushort checksum = InternetChecksum.Update(icmp.Checksum, (ushort)((byte)IcmpType.Echo << 8), (byte)IcmpType.EchoReply);
                headerLength += IcmpHeader.Write(headers[headerLength..], IcmpType.EchoReply, 0, icmp.RestOfHeader, checksum);
                dataLength -= IcmpHeader.Length;
            }

            int count = Slice(chunks, dataLength, ref at, ref atOffset);
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
        if (offset == 0 || chain == PagePool.NoFragment)
        {
            pool.ReleaseChain(chain);
        }
        else
        {
            Hold(chain);
        }

        return reason;
    }

    /// <summary>The next <paramref name="bytes"/> of the chain as chunks; -1 if they lie in more pieces than a frame may have.</summary>
    private unsafe int Slice(Span<TxChunk> chunks, int bytes, ref int at, ref int atOffset)
    {
        int count = 0;
        while (bytes > 0)
        {
            if (count == chunks.Length)
            {
                return -1;
            }

            Invariant.That(at != PagePool.NoFragment, "an echo request's chain has all of its data");
            int length = Math.Min(bytes, pool[at].Length - atOffset);
            chunks[count++] = new TxChunk(pool.PayloadAddress(at) + atOffset, length);
            bytes -= length;
            atOffset += length;
            if (atOffset == pool[at].Length)
            {
                at = pool[at].Next;
                atOffset = 0;
            }
        }

        return count;
    }

    private void Hold(int chain)
    {
        FragmentChain.SetState(pool, chain, FragmentState.Transmitting);
        _held[(_first + _count) % MaxHeld] = (chain, device.TxPosted);
        _count++;
    }
}
