using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Packets;

/// <summary>
/// The Internet checksum (RFC 1071): the ones' complement sum of 16-bit words. A partial sum is a plain number of words in network order, to which more
/// is added in any order; <see cref="Fold"/> and <see cref="Finish"/> end it. No state; any thread.
/// </summary>
public static class InternetChecksum
{
    // Each 32-bit lane takes one 16-bit word per step, so it can't overflow within this many steps.
    private const int StepsPerBlock = 1 << 15;

    /// <summary>Adds bytes to a partial sum.</summary>
    /// <param name="partial">What was summed before; 0 at the start.</param>
    /// <param name="bytes">Any length, any alignment; an odd last byte counts as the upper half of a word (RFC 1071 section 4.1).</param>
    /// <param name="odd">True if an odd number of bytes came before, so that the first byte is the lower half of a word.</param>
    public static ulong Add(ulong partial, ReadOnlySpan<byte> bytes, bool odd = false)
    {
        uint folded = FoldTo16(SumNative(bytes));

        // Summing in the machine's order gives the sum in network order with its halves swapped (RFC 1071 section 2 (B)), and so does an odd start.
        return partial + (BitConverter.IsLittleEndian != odd ? BinaryPrimitives.ReverseEndianness((ushort)folded) : folded);
    }

    /// <summary>The pseudo-header of TCP, UDP (RFC 9293 section 3.1) and their IPv6 forms (RFC 8200 section 8.1), as a partial sum.</summary>
    /// <param name="source">Source; its family decides the form.</param>
    /// <param name="destination">Destination, of the same family.</param>
    /// <param name="protocol">The protocol's number.</param>
    /// <param name="length">Bytes of the protocol's header and payload.</param>
    public static ulong PseudoHeader(IpAddress source, IpAddress destination, IpProtocol protocol, int length)
    {
        ulong sum = (byte)protocol + ((ulong)(uint)length >> 16) + ((uint)length & 0xFFFF);
        return source.IsV4
            ? sum + Halves(source.V4) + Halves(destination.V4)
            : sum + Quarters(source.High) + Quarters(source.Low) + Quarters(destination.High) + Quarters(destination.Low);

        static ulong Halves(uint word) => (word >> 16) + (word & 0xFFFF);
        static ulong Quarters(ulong word) => Halves((uint)(word >> 32)) + Halves((uint)word);
    }

    /// <summary>Folds a partial sum to 16 bits with end-around carry. Not inverted: a received range that includes its right checksum folds to 0xFFFF.</summary>
    public static ushort Fold(ulong partial) => (ushort)FoldTo16(partial);

    /// <summary>The value for a checksum field: the folded sum, inverted.</summary>
    public static ushort Finish(ulong partial) => (ushort)~FoldTo16(partial);

    /// <summary>The checksum of one range.</summary>
    public static ushort Compute(ReadOnlySpan<byte> bytes) => Finish(Add(0, bytes));

    /// <summary>Whether a range that includes its checksum field sums up right. <paramref name="partial"/> is the pseudo-header's sum, if there is one.</summary>
    public static bool IsValid(ReadOnlySpan<byte> bytes, ulong partial = 0) => Fold(Add(partial, bytes)) == 0xFFFF;

    /// <summary>A checksum after one 16-bit word under it changed (RFC 1624 equation 3).</summary>
    public static ushort Update(ushort checksum, ushort oldWord, ushort newWord) =>
        Finish((ulong)(ushort)~checksum + (ushort)~oldWord + newWord);

    /// <summary>A checksum after an aligned 32-bit word under it changed (RFC 1624 equation 3).</summary>
    public static ushort Update(ushort checksum, uint oldWord, uint newWord) =>
        Update(Update(checksum, (ushort)(oldWord >> 16), (ushort)(newWord >> 16)), (ushort)oldWord, (ushort)newWord);

    private static uint FoldTo16(ulong sum)
    {
        sum = (sum & 0xFFFF_FFFF) + (sum >> 32);
        sum = (sum & 0xFFFF_FFFF) + (sum >> 32);
        uint folded = (uint)sum;
        folded = (folded & 0xFFFF) + (folded >> 16);
        return (folded & 0xFFFF) + (folded >> 16);
    }

    private static ulong SumNative(ReadOnlySpan<byte> bytes)
    {
        ref byte at = ref MemoryMarshal.GetReference(bytes);
        nuint left = (nuint)bytes.Length;
        ulong sum = 0;
        if (left >= (nuint)(4 * Vector<byte>.Count))
        {
            sum = SumVectors(ref at, ref left);
            at = ref Unsafe.Add(ref at, (nuint)bytes.Length - left);
        }

        // At most a few hundred bytes: 32-bit halves into 64 bits can't overflow.
        while (left >= 8)
        {
            ulong word = Unsafe.ReadUnaligned<ulong>(ref at);
            sum += (word & 0xFFFF_FFFF) + (word >> 32);
            at = ref Unsafe.Add(ref at, 8);
            left -= 8;
        }

        if ((left & 4) != 0)
        {
            sum += Unsafe.ReadUnaligned<uint>(ref at);
            at = ref Unsafe.Add(ref at, 4);
        }

        if ((left & 2) != 0)
        {
            sum += Unsafe.ReadUnaligned<ushort>(ref at);
            at = ref Unsafe.Add(ref at, 2);
        }

        if ((left & 1) != 0)
        {
            sum += BitConverter.IsLittleEndian ? at : (uint)at << 8;
        }

        return sum;
    }

    private static ulong SumVectors(ref byte at, ref nuint left)
    {
        nuint size = (nuint)Vector<byte>.Count;
        var lowMask = new Vector<uint>(0xFFFF);
        ulong sum = 0;
        while (left >= 2 * size)
        {
            nuint steps = Math.Min(left / (2 * size), (nuint)StepsPerBlock);
            left -= steps * 2 * size;
            Vector<uint> low0 = Vector<uint>.Zero, high0 = low0, low1 = low0, high1 = low0;
            for (; steps != 0; steps--)
            {
                Vector<uint> first = Unsafe.ReadUnaligned<Vector<uint>>(ref at);
                Vector<uint> second = Unsafe.ReadUnaligned<Vector<uint>>(ref Unsafe.Add(ref at, size));
                low0 += first & lowMask;
                high0 += first >>> 16;
                low1 += second & lowMask;
                high1 += second >>> 16;
                at = ref Unsafe.Add(ref at, 2 * size);
            }

            sum += Lanes(low0) + Lanes(high0) + Lanes(low1) + Lanes(high1);
        }

        return sum;

        static ulong Lanes(Vector<uint> lanes)
        {
            Vector.Widen(lanes, out Vector<ulong> lower, out Vector<ulong> upper);
            return Vector.Sum(lower + upper);
        }
    }
}

/// <summary>
/// Sums up a payload that lies in several pieces, each of any length: remembers whether the next byte is the upper or the lower half of a word.
/// A mutable value; <c>default</c> is an empty sum.
/// </summary>
public struct ChecksumAccumulator
{
    private ulong _partial;
    private bool _odd;

    /// <param name="partial">A sum to start from, such as <see cref="InternetChecksum.PseudoHeader"/>.</param>
    public ChecksumAccumulator(ulong partial) => _partial = partial;

    /// <summary>Adds the next piece.</summary>
    public void Add(ReadOnlySpan<byte> bytes)
    {
        _partial = InternetChecksum.Add(_partial, bytes, _odd);
        _odd ^= (bytes.Length & 1) != 0;
    }

    /// <summary>The folded sum, not inverted; 0xFFFF for a range that includes its right checksum.</summary>
    public readonly ushort Fold() => InternetChecksum.Fold(_partial);

    /// <summary>The value for a checksum field.</summary>
    public readonly ushort Finish() => InternetChecksum.Finish(_partial);
}
