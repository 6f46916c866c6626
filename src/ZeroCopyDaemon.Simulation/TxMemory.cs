using System.Runtime.InteropServices;

namespace ZeroCopyDaemon.Simulation;

/// <summary>
/// Memory that writes are made from, used as a ring. What came back as sent is overwritten at once: a stack that still transmits from there gives itself away. Owns native memory.
/// </summary>
internal sealed unsafe class TxMemory(int bytes) : IDisposable
{
    private const byte Poison = 0xEE;

    private readonly byte* _memory = (byte*)NativeMemory.Alloc((nuint)bytes);
    private int _head;
    private int _used;

    /// <summary>Bytes that can be taken in one piece.</summary>
    public int Free => Math.Min(bytes - _used, bytes - ((_head + _used) % bytes));

    public bool IsEmpty => _used == 0;

    public byte* Take(int length)
    {
        SimFailureException.Unless(length > 0 && length <= Free, "only free TX memory is taken");
        byte* start = _memory + ((_head + _used) % bytes);
        _used += length;
        return start;
    }

    /// <summary>The oldest piece comes back.</summary>
    public void GiveBack(byte* start, int length)
    {
        SimFailureException.Unless(start == _memory + _head && length <= _used, "send items come back oldest first, as they were given");
        new Span<byte>(start, length).Fill(Poison);
        _head = (_head + length) % bytes;
        _used -= length;
    }

    public void Dispose() => NativeMemory.Free(_memory);
}
