using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory;

namespace ZeroCopyDaemon.Wires.Gateway;

/// <summary>
/// A client's bytes on their way to the kernel: the real socket writes at the tail, the client-side stack transmits (and retransmits) from the middle, and what was acknowledged is
/// freed at the head. Native memory, owned by a <see cref="SendRingStore"/>.
/// </summary>
internal sealed unsafe class SendRing
{
    private readonly byte* _memory;
    private readonly int _capacity;
    private int _tail;
    private int _used;

    public SendRing(int capacity)
    {
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)capacity, 4096);
        _capacity = capacity;
    }

    public bool IsEmpty => _used == 0;

    /// <summary>Where the next bytes go: free and contiguous; empty when the ring is full.</summary>
    public Span<byte> Free => new(_memory + _tail, Math.Min(_capacity - _used, _capacity - _tail));

    /// <summary>The first <paramref name="length"/> bytes of <see cref="Free"/> were written; returns where they lie.</summary>
    public byte* Commit(int length)
    {
        Invariant.That(length > 0 && length <= Free.Length, "only free bytes of a send ring are written");
        byte* written = _memory + _tail;
        _tail = (_tail + length) % _capacity;
        _used += length;
        return written;
    }

    /// <summary>The oldest bytes were acknowledged.</summary>
    public void Release(int length)
    {
        Invariant.That(length > 0 && length <= _used, "only bytes in a send ring are released");
        _used -= length;
        if (_used == 0)
        {
            // The next bytes find the longest contiguous room, and memory that is warm in the cache.
            _tail = 0;
        }
    }

    /// <summary>Frees the memory.</summary>
    public void FreeMemory() => NativeMemory.AlignedFree(_memory);
}

/// <summary>Send rings to lend: as many are made as were ever in use at once, and kept until the end.</summary>
internal sealed class SendRingStore(int ringBytes, int limit) : IDisposable
{
    private readonly Stack<SendRing> _free = new(limit);
    private readonly List<SendRing> _all = new(limit);

    public SendRing Rent()
    {
        if (!_free.TryPop(out SendRing? ring))
        {
            _all.Add(ring = new SendRing(ringBytes));
        }

        return ring;
    }

    public void Return(SendRing ring)
    {
        Invariant.That(ring.IsEmpty, "a send ring comes back empty");
        _free.Push(ring);
    }

    /// <summary>Frees every ring, lent ones too: no stack may transmit from them any more.</summary>
    public void Dispose()
    {
        foreach (SendRing ring in _all)
        {
            ring.FreeMemory();
        }

        _all.Clear();
        _free.Clear();
    }
}
