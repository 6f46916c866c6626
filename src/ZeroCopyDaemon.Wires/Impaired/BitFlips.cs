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
    /// Whether an Internet checksum covers what follows a frame's Ethernet header, so that flips there don't go unnoticed. The fragments of a datagram share one, and flips in several can make up
    /// for each other: they don't count as covered.
    /// </summary>
    public static bool AreNoticed(ReadOnlySpan<byte> headers, int frameLength) =>
        frameLength > EthernetHeader.Length && EthernetView.TryParse(headers, out EthernetView ethernet) && ethernet.EtherType == EtherType.Ipv4
        && !(Ipv4View.TryParse(ethernet.Payload, out Ipv4View ip) && ip.IsFragment);

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
