namespace ZeroCopyDaemon.Nic.Rss;

/// <summary>Which RX queue a hash goes to: its low bits choose one of 128 entries. Set from the driver's thread only.</summary>
internal sealed class IndirectionTable
{
    public const int Size = 128;

    private readonly byte[] _queues = new byte[Size];
    private readonly int _queueCount;

    /// <summary>Spreads over all queues evenly, as drivers do unless told otherwise (ethtool -X equal).</summary>
    public IndirectionTable(int queueCount)
    {
        _queueCount = queueCount;
        for (int entry = 0; entry < Size; entry++)
        {
            _queues[entry] = (byte)(entry % queueCount);
        }
    }

    public ReadOnlySpan<byte> Entries => _queues;

    public int QueueFor(uint hash) => _queues[hash & (Size - 1)];

    /// <summary>Replaces all entries, or none if one of them names a queue that isn't there.</summary>
    public void Set(ReadOnlySpan<byte> queues)
    {
        if (queues.Length != Size)
        {
            throw new ArgumentException($"The indirection table has {Size} entries, not {queues.Length}.");
        }

        foreach (byte queue in queues)
        {
            if (queue >= _queueCount)
            {
                throw new ArgumentException($"The indirection table names queue {queue}, but there are only {_queueCount} (from 0).");
            }
        }

        queues.CopyTo(_queues);
    }
}
