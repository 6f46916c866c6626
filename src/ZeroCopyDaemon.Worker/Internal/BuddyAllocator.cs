using System.Numerics;
using ZeroCopyDaemon.Memory;

namespace ZeroCopyDaemon.Worker.Internal;

/// <summary>
/// Hands out contiguous blocks of a power-of-two size, each aligned to its size, and joins free neighbours again. Only numbers: it never touches the memory. Not thread-safe.
/// All bookkeeping is taken at the start.
/// </summary>
internal sealed class BuddyAllocator
{
    private const byte FreeFlag = 0x80;
    private const byte Inside = 0x7F;
    private const int None = -1;
    private readonly int[] _heads;
    private readonly int[] _next;
    private readonly int[] _previous;
    private readonly byte[] _marks;
    private readonly int _unitShift;

    /// <param name="bytes">Size of the memory; what doesn't fill a unit at its end is not used.</param>
    /// <param name="unitBytes">Smallest block, a power of two.</param>
    /// <param name="maxBytes">Largest block, a power of two.</param>
    public BuddyAllocator(long bytes, int unitBytes, int maxBytes)
    {
        _unitShift = BitOperations.Log2((uint)unitBytes);
        int units = checked((int)(bytes >> _unitShift));
        int maxOrder = Math.Min(BitOperations.Log2((uint)maxBytes) - _unitShift, BitOperations.Log2((uint)Math.Max(units, 1)));
        _heads = new int[maxOrder + 1];
        Array.Fill(_heads, None);
        _next = new int[units];
        _previous = new int[units];
        _marks = new byte[units];
        Array.Fill(_marks, Inside);
        MaxBytes = units == 0 ? 0 : unitBytes << maxOrder;

        // From the highest address down, so that the lowest block is on top of its list.
        for (int order = 0, end = units; end > 0;)
        {
            int size = 1 << order;
            if (order < maxOrder && (end & size) == 0)
            {
                order++;
                continue;
            }

            end -= size;
            Push(end, order);
        }

        FreeBytes = (long)units << _unitShift;
        TotalBytes = FreeBytes;
    }

    /// <summary>Largest block there can be.</summary>
    public int MaxBytes { get; }

    public long TotalBytes { get; }

    public long FreeBytes { get; private set; }

    /// <summary>Units, which number the blocks: a block goes by its first.</summary>
    public int Units => _marks.Length;

    public long Offset(int unit) => (long)unit << _unitShift;

    /// <summary>Bytes of an allocated block.</summary>
    public int BlockBytes(int unit) => 1 << (_marks[unit] + _unitShift);

    /// <summary>False: no free block is large enough.</summary>
    public bool TryAllocate(int bytes, out int unit)
    {
        int wanted = Math.Max(0, BitOperations.Log2((uint)Math.Max(1, bytes - 1)) + 1 - _unitShift);
        for (int order = wanted; order < _heads.Length; order++)
        {
            unit = _heads[order];
            if (unit == None)
            {
                continue;
            }

            Remove(unit, order);
            while (order > wanted)
            {
                order--;
                Push(unit + (1 << order), order);
            }

            _marks[unit] = (byte)wanted;
            FreeBytes -= 1L << (wanted + _unitShift);
            return true;
        }

        unit = None;
        return false;
    }

    public void Free(int unit)
    {
        int order = _marks[unit];
        Invariant.That(order < _heads.Length, "a block that is freed is an allocated one");
        FreeBytes += 1L << (order + _unitShift);
        while (order < _heads.Length - 1)
        {
            int buddy = unit ^ (1 << order);
            if (buddy >= _marks.Length || _marks[buddy] != (FreeFlag | order))
            {
                break;
            }

            Remove(buddy, order);
            _marks[Math.Max(unit, buddy)] = Inside;
            unit = Math.Min(unit, buddy);
            order++;
        }

        Push(unit, order);
    }

    private void Push(int unit, int order)
    {
        int head = _heads[order];
        _next[unit] = head;
        _previous[unit] = None;
        if (head != None)
        {
            _previous[head] = unit;
        }

        _heads[order] = unit;
        _marks[unit] = (byte)(FreeFlag | order);
    }

    private void Remove(int unit, int order)
    {
        int next = _next[unit];
        int previous = _previous[unit];
        if (previous == None)
        {
            _heads[order] = next;
        }
        else
        {
            _next[previous] = next;
        }

        if (next != None)
        {
            _previous[next] = previous;
        }

        _marks[unit] = Inside;
    }
}
