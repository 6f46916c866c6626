using System.Numerics;

namespace ZeroCopyDaemon.Memory.Rings;

/// <summary>What both ends of a ring check before they use it.</summary>
internal static unsafe class RingGeometry
{
    public static void Check(int capacity, byte* entries, byte* ownIndex, byte* peerIndex)
    {
        if (capacity < 1 || !BitOperations.IsPow2(capacity) || capacity > 1 << 30)
        {
            throw new ArgumentOutOfRangeException(nameof(capacity), capacity, "A ring's capacity must be a power of two from 1 to 2^30.");
        }

        if (entries is null || ownIndex is null || peerIndex is null)
        {
            throw new ArgumentException("A ring needs the addresses of its entries and of both indices.");
        }

        // An index that isn't aligned may be torn: a peer could then be seen at a place where it never was.
        if ((((nuint)ownIndex | (nuint)peerIndex) & 3) != 0)
        {
            throw new ArgumentException("A ring's indices must be aligned to 4 bytes.");
        }
    }
}
