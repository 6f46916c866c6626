namespace ZeroCopyDaemon.Worker.Internal;

/// <summary>
/// Counts who may still touch the mappings: the client itself, each receive whose leases are out, each TX buffer that the application holds. The last one to let go unmaps, so that a lease
/// that outlives its client is an exception, never a crash.
/// </summary>
internal sealed class MappingHold(Action? unmap)
{
    private int _count = 1;

    public int Count => Volatile.Read(ref _count);

    public void Take() => Interlocked.Increment(ref _count);

    /// <summary>A hold for someone who doesn't have one. False: all is unmapped.</summary>
    public bool TryTake()
    {
        int count = Volatile.Read(ref _count);
        while (count > 0)
        {
            int seen = Interlocked.CompareExchange(ref _count, count + 1, count);
            if (seen == count)
            {
                return true;
            }

            count = seen;
        }

        return false;
    }

    public void Release()
    {
        if (Interlocked.Decrement(ref _count) == 0)
        {
            unmap?.Invoke();
        }
    }
}
