using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace ZeroCopyDaemon.Cli.TestClient;

/// <summary>
/// An endless stream of bytes that follows from a seed alone, where each byte depends on its position, so that a byte that is wrong, lost, repeated or moved is found where it stands.
/// Random words of one block, xored with a word that is another one for each block; both ways it is little more than a pass over memory, so that it doesn't limit who measures with it.
/// Any thread; nothing is written after construction.
/// </summary>
internal sealed class Pattern
{
    /// <summary>Bytes after which the block's words repeat under another mask. Small enough to stay in a core's own cache.</summary>
    internal const int BlockBytes = 64 * 1024;

    private readonly byte[] _block;
    private readonly ulong _seed;

    public Pattern(ulong seed)
    {
        _seed = Mix(seed + 0x9E3779B97F4A7C15);
        // A vector's width more than a block: loads near its end stay inside.
        _block = new byte[BlockBytes + 64];
        for (int i = 0; i < BlockBytes / 8; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(_block.AsSpan(i * 8), Mix(_seed + ((ulong)i * 0xD1342543DE82EF95)));
        }

        _block.AsSpan(0, 64).CopyTo(_block.AsSpan(BlockBytes));
    }

    /// <summary>The stream's bytes from <paramref name="position"/>.</summary>
    public void Fill(long position, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            int length = RunAt(position, destination.Length, out ReadOnlySpan<byte> source, out ulong mask);
            FillRun(source, mask, destination[..length]);
            destination = destination[length..];
            position += length;
        }
    }

    /// <summary>Index of the first byte of <paramref name="actual"/> that isn't the stream's from <paramref name="position"/>; -1 if all are.</summary>
    public int FirstDifference(long position, ReadOnlySpan<byte> actual)
    {
        int done = 0;
        while (done < actual.Length)
        {
            int length = RunAt(position + done, actual.Length - done, out ReadOnlySpan<byte> source, out ulong mask);
            int index = CompareRun(source, mask, actual.Slice(done, length));
            if (index >= 0)
            {
                return done + index;
            }

            done += length;
        }

        return -1;
    }

    /// <summary>The stream's byte at <paramref name="position"/>.</summary>
    public byte At(long position)
    {
        RunAt(position, 1, out ReadOnlySpan<byte> source, out ulong mask);
        return (byte)(source[0] ^ (byte)mask);
    }

    /// <summary>How far one mask goes from a position, the block's words from there, and the mask turned so that its lowest byte belongs to the position's.</summary>
    private int RunAt(long position, int wanted, out ReadOnlySpan<byte> source, out ulong mask)
    {
        int within = (int)(position & (BlockBytes - 1));
        source = _block.AsSpan(within);
        mask = BitOperations.RotateRight(Mix(_seed ^ ((ulong)(position / BlockBytes) * 0x9E3779B97F4A7C15)), (within & 7) * 8);
        return Math.Min(wanted, BlockBytes - within);
    }

    private static void FillRun(ReadOnlySpan<byte> source, ulong mask, Span<byte> destination)
    {
        int i = 0;
        if (destination.Length >= Vector256<byte>.Count)
        {
            Vector256<byte> masks = Vector256.Create(mask).AsByte();
            ref byte from = ref MemoryMarshal.GetReference(source);
            ref byte to = ref MemoryMarshal.GetReference(destination);
            for (; i <= destination.Length - Vector256<byte>.Count; i += Vector256<byte>.Count)
            {
                (Vector256.LoadUnsafe(ref from, (nuint)i) ^ masks).StoreUnsafe(ref to, (nuint)i);
            }
        }

        for (; i < destination.Length; i++)
        {
            destination[i] = (byte)(source[i] ^ (byte)(mask >> ((i & 7) * 8)));
        }
    }

    private static int CompareRun(ReadOnlySpan<byte> source, ulong mask, ReadOnlySpan<byte> actual)
    {
        int i = 0;
        if (actual.Length >= Vector256<byte>.Count)
        {
            Vector256<byte> masks = Vector256.Create(mask).AsByte();
            ref byte expected = ref MemoryMarshal.GetReference(source);
            ref byte got = ref MemoryMarshal.GetReference(actual);
            for (; i <= actual.Length - Vector256<byte>.Count; i += Vector256<byte>.Count)
            {
                if ((Vector256.LoadUnsafe(ref expected, (nuint)i) ^ masks) != Vector256.LoadUnsafe(ref got, (nuint)i))
                {
                    break;
                }
            }
        }

        for (; i < actual.Length; i++)
        {
            if (actual[i] != (byte)(source[i] ^ (byte)(mask >> ((i & 7) * 8))))
            {
                return i;
            }
        }

        return -1;
    }

    // The finalizer of SplitMix64: every bit of the input reaches every bit of the output.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
        return value ^ (value >> 31);
    }
}
