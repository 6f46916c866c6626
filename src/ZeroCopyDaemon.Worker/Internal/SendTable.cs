namespace ZeroCopyDaemon.Worker.Internal;

/// <summary>
/// Sends that the kernel has and that were not acknowledged yet, by the mark each of them carries. A mark is a slot and a generation, so one that is not outstanding is noticed. Any thread.
/// It grows to the most that ever were outstanding: connections times the sends that one may have.
/// </summary>
internal sealed class SendTable
{
    private const int SlotBits = 20;
    private const uint SlotMask = (1u << SlotBits) - 1;

    private readonly Lock _gate = new();
    private Slot[] _slots = new Slot[256];
    private int _free = -1;
    private int _used;

    private struct Slot
    {
        public Connection? Connection;
        public int Block;
        public uint Generation;
        public int NextFree;
    }

    public int Outstanding { get; private set; }

    /// <param name="connection">Whose send.</param>
    /// <param name="block">The TX block that ends with it, or -1 for a lease.</param>
    public uint Add(Connection connection, int block)
    {
        lock (_gate)
        {
            int index = _free;
            if (index >= 0)
            {
                _free = _slots[index].NextFree;
            }
            else
            {
                index = _used++;
                if (index == _slots.Length)
                {
                    Memory.Invariant.That(index <= (int)(SlotMask / 2), "the sends outstanding can be numbered");
                    Array.Resize(ref _slots, index * 2);
                }
            }

            ref Slot slot = ref _slots[index];
            slot.Connection = connection;
            slot.Block = block;
            Outstanding++;
            return (slot.Generation << SlotBits) | (uint)index;
        }
    }

    /// <summary>Takes a send out. False: there is none with that mark.</summary>
    public bool TryRemove(uint tag, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out Connection? connection, out int block)
    {
        lock (_gate)
        {
            int index = (int)(tag & SlotMask);
            connection = index < _used ? _slots[index].Connection : null;
            block = -1;
            if (connection is null || (_slots[index].Generation << SlotBits) != (tag & ~SlotMask))
            {
                connection = null;
                return false;
            }

            ref Slot slot = ref _slots[index];
            block = slot.Block;
            slot.Connection = null;
            slot.Generation++;
            slot.NextFree = _free;
            _free = index;
            Outstanding--;
            return true;
        }
    }
}
