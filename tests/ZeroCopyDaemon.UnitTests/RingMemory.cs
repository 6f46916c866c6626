using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory.Rings;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>The memory of one ring, with guard words around its entries that must never change.</summary>
internal sealed unsafe class RingMemory : IDisposable
{
    private const ulong Guard = 0xFEED_FACE_CAFE_BEEF;
    private const int GuardWords = 8;
    private readonly byte* _memory;
    private readonly int _entryBytes;

    public RingMemory(int capacity, int entryBytes = sizeof(ulong), uint start = 0)
    {
        Capacity = capacity;
        _entryBytes = capacity * entryBytes;
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)(128 + (2 * GuardWords * sizeof(ulong)) + _entryBytes), 64);
        NativeMemory.Clear(_memory, (nuint)(128 + (2 * GuardWords * sizeof(ulong)) + _entryBytes));
        for (int i = 0; i < GuardWords; i++)
        {
            ((ulong*)(Entries - (GuardWords * sizeof(ulong))))[i] = Guard;
            ((ulong*)(Entries + _entryBytes))[i] = Guard;
        }

        Tail = start;
        Head = start;
    }

    public int Capacity { get; }

    public byte* Entries => _memory + 128 + (GuardWords * sizeof(ulong));

    public byte* TailAddress => _memory;

    public byte* HeadAddress => _memory + 64;

    public uint Tail
    {
        get => Volatile.Read(ref *(uint*)TailAddress);
        set => Volatile.Write(ref *(uint*)TailAddress, value);
    }

    public uint Head
    {
        get => Volatile.Read(ref *(uint*)HeadAddress);
        set => Volatile.Write(ref *(uint*)HeadAddress, value);
    }

    public RingProducer<ulong> Producer() => new(Entries, Capacity, TailAddress, HeadAddress);

    public RingConsumer<ulong> Consumer() => new(Entries, Capacity, HeadAddress, TailAddress);

    public void CheckGuards()
    {
        for (int i = 0; i < GuardWords; i++)
        {
            Assert.Equal(Guard, ((ulong*)(Entries - (GuardWords * sizeof(ulong))))[i]);
            Assert.Equal(Guard, ((ulong*)(Entries + _entryBytes))[i]);
        }
    }

    public void Dispose() => NativeMemory.AlignedFree(_memory);
}
