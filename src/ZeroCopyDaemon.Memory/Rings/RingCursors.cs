using System.Runtime.InteropServices;

namespace ZeroCopyDaemon.Memory.Rings;

/// <summary>
/// One side's private cursors, on cache lines of their own: in a process that has both ends of a ring, the ends' objects may lie side by side on the heap.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 192)]
internal struct RingCursors
{
    /// <summary>Next entry to be written or read.</summary>
    [FieldOffset(64)]
    public uint Next;

    /// <summary>What was last stored to the word that the peer reads.</summary>
    [FieldOffset(68)]
    public uint Published;

    /// <summary>The peer's index as last seen and found good.</summary>
    [FieldOffset(72)]
    public uint Peer;

    /// <summary>The peer's index was out of range once.</summary>
    [FieldOffset(76)]
    public bool Corrupt;
}
