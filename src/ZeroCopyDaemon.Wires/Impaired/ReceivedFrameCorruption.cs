using System.Buffers.Binary;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Wires.Impaired;

/// <summary>
/// Flips bits of a frame that has been received already, so that it looks as if the wire had done it: the stack finds the checksum wrong. What a device vouched for need not have a checksum in it at
/// all (Linux leaves it unfinished in what it hands to a TAP), so it is written first, and the device's verdict becomes that of one that found it wrong.
/// </summary>
internal static class ReceivedFrameCorruption
{
    private const int UdpHeaderBytes = 8;
    private const int UdpChecksumOffset = 6;

    /// <summary>Harms a frame whose bit flips are noticed.</summary>
    /// <param name="frame">Its header bytes are private; its payload lies in pages.</param>
    /// <param name="pool">Of the pages.</param>
    /// <param name="flips">Random bits.</param>
    /// <param name="headersOnly">Leaves the payload alone, since another frame shares it.</param>
    public static void Apply(HeldFrame frame, PagePool pool, ulong flips, bool headersOnly)
    {
        FrameDissection before = HeaderDissector.Dissect(frame.Headers);
        if (frame.Checksum == RxChecksum.Unnecessary)
        {
            WriteChecksums(frame, pool, before);
            frame.Checksum = RxChecksum.Bad;
        }

        int from = BitFlips.NoticedFrom(frame.Headers, frame.Headers.Length + frame.PayloadLength);
        int covered = frame.Headers.Length - from + (headersOnly ? 0 : frame.PayloadLength);
        Span<int> bits = stackalloc int[BitFlips.Most];
        bits = bits[..new BitFlips(flips, covered).Fill(bits)];
        Flip(frame, pool, from, bits);

        // The device has split the frame by now. Had these bits been others before, it would have split it elsewhere, which can't be had any more: harm a field that doesn't matter for that.
        if (HeaderDissector.Dissect(frame.Headers).HeaderLength < before.HeaderLength)
        {
            Flip(frame, pool, from, bits);
            frame.Headers[EthernetHeader.Length + (before.IsIpv6 ? Ipv6Header.SourceOffset + 15 : Ipv4Header.TimeToLiveOffset)] ^= 1;
        }
    }

    private static void Flip(HeldFrame frame, PagePool pool, int from, ReadOnlySpan<int> bits)
    {
        Span<byte> headers = frame.Headers[from..];
        foreach (int bit in bits)
        {
            int inPages = bit - (headers.Length * 8);
            if (inPages < 0)
            {
                BitFlips.Flip(headers, bit);
                continue;
            }

            for (int slot = frame.Payload; slot != PagePool.NoFragment; slot = pool[slot].Next)
            {
                int here = pool[slot].Length * 8;
                if (inPages < here)
                {
                    BitFlips.Flip(pool.Payload(slot), inPages);
                    break;
                }

                inPages -= here;
            }
        }
    }

    private static void WriteChecksums(HeldFrame frame, PagePool pool, in FrameDissection found)
    {
        if (!found.IsIp)
        {
            return;
        }

        if (found.IsIpv4)
        {
            Span<byte> ip = frame.Headers[found.L3Offset..found.L4Offset];
            BinaryPrimitives.WriteUInt16BigEndian(ip[Ipv4Header.ChecksumOffset..], 0);
            BinaryPrimitives.WriteUInt16BigEndian(ip[Ipv4Header.ChecksumOffset..], InternetChecksum.Compute(ip));
        }

        int length = found.L3Offset + found.IpTotalLength - found.L4Offset;
        int field = found.Protocol switch
        {
            IpProtocol.Tcp when length >= TcpHeader.MinLength => TcpHeader.ChecksumOffset,
            IpProtocol.Udp when length >= UdpHeaderBytes => UdpChecksumOffset,
            _ => -1,
        };
        if (found.IsFragment || field < 0)
        {
            return;
        }

        // Padding beyond the datagram's end is not summed up.
        Span<byte> transport = frame.Headers[found.L4Offset..];
        transport = transport[..Math.Min(transport.Length, length)];
        BinaryPrimitives.WriteUInt16BigEndian(transport[field..], 0);
        var sum = new ChecksumAccumulator(InternetChecksum.PseudoHeader(found.Source, found.Destination, found.Protocol, length));
        sum.Add(transport);
        int left = length - transport.Length;
        for (int slot = frame.Payload; slot != PagePool.NoFragment && left > 0; slot = pool[slot].Next)
        {
            Span<byte> bytes = pool.Payload(slot);
            bytes = bytes[..Math.Min(bytes.Length, left)];
            sum.Add(bytes);
            left -= bytes.Length;
        }

        BinaryPrimitives.WriteUInt16BigEndian(transport[field..], sum.Finish());
    }
}
