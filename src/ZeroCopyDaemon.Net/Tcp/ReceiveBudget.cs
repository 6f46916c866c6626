namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>
/// How much page memory (truesize bytes) a group of connections may hold: one for the whole pool, below it one per worker; each connection has its own
/// limit besides. What a connection is charged counts in its budget and all of that budget's parents. Single-threaded.
/// </summary>
public sealed class ReceiveBudget(string name, long limitBytes, ReceiveBudget? parent = null)
{
    /// <summary>For messages and the inspector.</summary>
    public string Name { get; } = name;

    /// <summary>Most truesize bytes charged at once; may change while in use.</summary>
    public long LimitBytes { get; set; } = limitBytes;

    /// <summary>The budget that this one is a part of.</summary>
    public ReceiveBudget? Parent { get; } = parent;

    /// <summary>Truesize bytes charged now.</summary>
    public long ChargedBytes { get; private set; }

    /// <summary>Connections that charge to this budget (directly).</summary>
    public int Connections { get; set; }

    /// <summary>Bytes that may still be charged, in this budget and all above it; never negative.</summary>
    public long AvailableBytes
    {
        get
        {
            long available = long.MaxValue;
            for (ReceiveBudget? budget = this; budget is not null; budget = budget.Parent)
            {
                available = Math.Min(available, budget.LimitBytes - budget.ChargedBytes);
            }

            return Math.Max(0, available);
        }
    }

    /// <summary>
    /// Bytes that a connection which holds so much may still be charged; never negative. The last eighth of each budget is for those that hold little (a 64th at most), or a few that hold much would
    /// keep all others from getting on.
    /// </summary>
    /// <param name="heldBytes">What the connection is charged now.</param>
    /// <param name="overcommittedBytes">What shared pages hold of the pool beyond what anybody is charged for them: taken off the outermost budget, so that no charges, however small, can use up the pages that the NIC needs.</param>
    public long AvailableFor(long heldBytes, long overcommittedBytes = 0)
    {
        long available = long.MaxValue;
        for (ReceiveBudget? budget = this; budget is not null; budget = budget.Parent)
        {
            long reserve = heldBytes > budget.LimitBytes / 64 ? budget.LimitBytes / 8 : 0;
            long overcommitted = budget.Parent is null ? overcommittedBytes : 0;
            available = Math.Min(available, budget.LimitBytes - budget.ChargedBytes - reserve - overcommitted);
        }

        return Math.Max(0, available);
    }

    /// <summary>Charges here and in all parents; <paramref name="bytes"/> is negative to take a charge off.</summary>
    public void Charge(long bytes)
    {
        for (ReceiveBudget? budget = this; budget is not null; budget = budget.Parent)
        {
            budget.ChargedBytes += bytes;
        }
    }
}
