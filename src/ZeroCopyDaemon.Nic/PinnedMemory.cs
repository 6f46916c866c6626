using System.Runtime.CompilerServices;

namespace ZeroCopyDaemon.Nic;

/// <summary>
/// Zeroed memory at a fixed address, aligned to cache lines, private to this process. The collector neither moves nor scans it and frees it with its last
/// reference, so whoever keeps the pointer keeps the object.
/// </summary>
internal sealed unsafe class PinnedMemory<T>
    where T : unmanaged
{
    private const int CacheLineBytes = 64;

    private readonly byte[] _bytes;

    public PinnedMemory(int count)
    {
        _bytes = GC.AllocateArray<byte>(checked((count * sizeof(T)) + CacheLineBytes), pinned: true);
        nuint address = (nuint)Unsafe.AsPointer(ref _bytes[0]);
        Pointer = (T*)((address + CacheLineBytes - 1) & ~(nuint)(CacheLineBytes - 1));
    }

    /// <summary>First element.</summary>
    public T* Pointer { get; }
}
