using ZeroCopyDaemon.Memory;

namespace ZeroCopyDaemon.Nic;

/// <summary>
/// A ring of descriptors between a NIC and its driver: one side adds at the tail, the other takes from the head. All memory is taken at the start. The
/// model and its driver run on one thread, so there's no fence in it.
/// </summary>
internal sealed unsafe class DescriptorRing<T>
    where T : unmanaged
{
    private readonly PinnedMemory<T> _memory;
    private readonly T* _slots;
    private readonly uint _mask;
    private uint _head;
    private uint _tail;

    /// <param name="capacity">Slots; a power of two.</param>
    public DescriptorRing(int capacity)
    {
        Invariant.That(capacity > 0 && (capacity & (capacity - 1)) == 0, "a ring's size is a power of two");
        _memory = new PinnedMemory<T>(capacity);
        _slots = _memory.Pointer;
        _mask = (uint)capacity - 1;
    }

    public int Capacity => (int)_mask + 1;

    /// <summary>Descriptors on the ring.</summary>
    public int Count => (int)(_tail - _head);

    /// <summary>Slots left.</summary>
    public int Free => Capacity - Count;

    /// <summary>The descriptor <paramref name="index"/> places behind the head; it must be on the ring.</summary>
    public ref T this[int index]
    {
        get
        {
            Invariant.That((uint)index < _tail - _head, "only what is on the ring is read");
            return ref _slots[(_head + (uint)index) & _mask];
        }
    }

    /// <summary>
    /// A free slot, <paramref name="index"/> places behind the tail: to be written before <see cref="Publish"/> makes it and those in front of it visible.
    /// </summary>
    public ref T Reserve(int index)
    {
        Invariant.That((uint)index < (uint)Free, "only a free slot is written");
        return ref _slots[(_tail + (uint)index) & _mask];
    }

    /// <summary>Makes <paramref name="count"/> reserved slots visible to the other side.</summary>
    public void Publish(int count)
    {
        Invariant.That((uint)count <= (uint)Free, "a ring never holds more than its size");
        _tail += (uint)count;
    }

    /// <summary>Adds one; the ring must have room.</summary>
    public void Push(in T descriptor)
    {
        Reserve(0) = descriptor;
        _tail++;
    }

    /// <summary>Takes the first one off; the ring must not be empty.</summary>
    public T Pop()
    {
        T descriptor = this[0];
        _head++;
        return descriptor;
    }

    /// <summary>Takes <paramref name="count"/> off unread.</summary>
    public void Skip(int count)
    {
        Invariant.That((uint)count <= _tail - _head, "only what is on the ring is taken off");
        _head += (uint)count;
    }
}
