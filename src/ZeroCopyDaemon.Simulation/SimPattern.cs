using System.Buffers.Binary;
using System.Runtime.InteropServices;
using ZeroCopyDaemon.Wires.Sim;

namespace ZeroCopyDaemon.Simulation;

/// <summary>
/// An endless stream of bytes that follow from a seed and their position alone, so that any piece of it can be written, and checked where it lies, without keeping it. No piece is
/// like another: a byte skipped, repeated or misplaced shows within a few bytes.
/// </summary>
public sealed class SimPattern(ulong seed)
{
    /// <summary>Writes the stream's bytes from <paramref name="position"/> on.</summary>
    public void Fill(Span<byte> destination, long position)
    {
        int offset = (int)(position & 7);
        while (!destination.IsEmpty)
        {
            ulong word = Word(position);
            if (offset == 0 && destination.Length >= 8)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(destination, word);
                destination = destination[8..];
                position += 8;
                continue;
            }

            destination[0] = (byte)(word >> (8 * offset));
            destination = destination[1..];
            position++;
            offset = (int)(position & 7);
        }
    }

    /// <summary>Where the first byte is that is not the stream's, counted from the start of <paramref name="bytes"/>; -1 if all are right.</summary>
    public int FindMismatch(ReadOnlySpan<byte> bytes, long position)
    {
        int index = 0;
        while (index < bytes.Length)
        {
            int offset = (int)(position & 7);
            ulong word = Word(position);
            if (offset == 0 && bytes.Length - index >= 8 && MemoryMarshal.Read<ulong>(bytes[index..]) == Native(word))
            {
                index += 8;
                position += 8;
                continue;
            }

            if (bytes[index] != (byte)(word >> (8 * offset)))
            {
                return index;
            }

            index++;
            position++;
        }

        return -1;
    }

    private static ulong Native(ulong word) => BitConverter.IsLittleEndian ? word : BinaryPrimitives.ReverseEndianness(word);

    private ulong Word(long position) => SimRandom.Mix(seed + ((ulong)(position >> 3) * 0x9E37_79B9_7F4A_7C15));
}
