using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Wires.Impaired;

/// <summary>The bits that are flipped in a range of bytes: one to three within 15 successive ones, no two of them the same, so that no flip undoes another.</summary>
/// <param name="random">64 random bits: they decide all.</param>
/// <param name="bytes">Bytes of the range, at least 1.</param>
public readonly struct BitFlips(ulong random, int bytes)
{
    /// <summary>Most that are flipped.</summary>
    public const int Most = 3;

    /// <summary>
    /// From which byte of a frame on an Internet checksum covers everything, so that flips there don't go unnoticed; 0 = from none. The fragments of a datagram share one, and flips in several can make up
    /// for each other: they don't count as covered. In an IPv6 packet it is the transport's, by way of the pseudo-header: nothing covers what stands before the addresses, nor extension headers.
    /// </summary>
    public static int NoticedFrom(ReadOnlySpan<byte> headers, int frameLength)
    {
        if (frameLength <= EthernetHeader.Length || !EthernetView.TryParse(headers, out EthernetView ethernet))
        {
            return 0;
        }

        switch (ethernet.EtherType)
        {
            case EtherType.Ipv4:
                return Ipv4View.TryParse(ethernet.Payload, out Ipv4View ip) && ip.IsFragment ? 0 : EthernetHeader.Length;
            case EtherType.Ipv6:
                return Ipv6View.TryParse(ethernet.Payload, out Ipv6View ip6) && ip6.NextHeader is IpProtocol.Tcp or IpProtocol.Icmpv6
                    ? EthernetHeader.Length + Ipv6Header.SourceOffset
                    : 0;
            default:
                return 0;
        }
    }

    /// <summary>Whether flips in a frame, in the part that <see cref="NoticedFrom"/> says, are noticed.</summary>
    public static bool AreNoticed(ReadOnlySpan<byte> headers, int frameLength) => NoticedFrom(headers, frameLength) > 0;

    /// <summary>Flips bits of a whole frame, where that is noticed.</summary>
    public static void Apply(ulong random, Span<byte> frame)
    {
        Span<byte> noticed = frame[NoticedFrom(frame, frame.Length)..];
        new BitFlips(random, noticed.Length).Apply(noticed);
    }

    /// <summary>Flips them in the range itself.</summary>
    public void Apply(Span<byte> range)
    {
        Span<int> bits = stackalloc int[Most];
        foreach (int bit in bits[..Fill(bits)])
        {
            Flip(range, bit);
        }
    }

    /// <summary>Flips one bit, counted from the first byte's most significant one.</summary>
    public static void Flip(Span<byte> range, int bit) => range[bit >> 3] ^= (byte)(0x80 >> (bit & 7));

    /// <summary>Writes the bits' numbers, counted from the range's first, and returns how many.</summary>
    public int Fill(Span<int> bits)
    {
        long range = (long)bytes * 8;
        long start = (long)((random >> 20) % (ulong)range);
        int flips = (int)(random & 3) % 3 + 1;
        int count = 0;
        for (int i = 0; i < flips; i++)
        {
            // The first bit is always flipped and the others lie at distinct distances.
            int distance = i == 0 ? 0 : (int)((random >> (4 * i)) & 0xF) % 7 + 1 + (7 * (i - 1));
            if (start + distance < range)
            {
                bits[count++] = (int)(start + distance);
            }
        }

        return count;
    }
}
