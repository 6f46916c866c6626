namespace ZeroCopyDaemon.Memory.Pages;

/// <summary>One line of the ledger: a live fragment and who holds it.</summary>
public readonly record struct LedgerEntry(
    int Slot, uint Generation, int Page, int Offset, int Length, FragmentState State, int Connection, int Worker, long StreamOffset);

/// <summary>
/// Names the holder of each fragment: the answer to "who still has my page?". Reads the pool, so call it on the pool's thread.
/// </summary>
public static class PoolLedger
{
    /// <summary>Every live fragment; with <paramref name="page"/> given, only that page's.</summary>
    public static List<LedgerEntry> Entries(PagePool pool, int page = -1)
    {
        var entries = new List<LedgerEntry>();
        for (int slot = 0; slot < pool.FragmentCapacity; slot++)
        {
            ref Fragment fragment = ref pool[slot];
            if (fragment.State != FragmentState.Free && (page < 0 || fragment.Page == page))
            {
                entries.Add(new LedgerEntry(
                    slot, fragment.Generation, fragment.Page, fragment.Offset, fragment.Length, fragment.State, fragment.Connection, fragment.Worker, fragment.StreamOffset));
            }
        }

        return entries;
    }

    /// <summary>Truesize bytes charged, by connection (those that are gone too): pages that are charged whole, and fragments that are charged for themselves.</summary>
    public static IReadOnlyDictionary<int, long> Charges(PagePool pool) => pool.SumCharges();

    /// <summary>Live fragments by state, indexed by <see cref="FragmentState"/>; element 0 (free) stays 0.</summary>
    public static int[] CountByState(PagePool pool)
    {
        int[] counts = new int[Enum.GetValues<FragmentState>().Length];
        for (int slot = 0; slot < pool.FragmentCapacity; slot++)
        {
            if (pool[slot].State != FragmentState.Free)
            {
                counts[(int)pool[slot].State]++;
            }
        }

        return counts;
    }

    /// <summary>The ledger as text, a line a fragment, for an error message: at most <paramref name="limit"/> lines and how many more there are.</summary>
    public static string Describe(PagePool pool, int limit = 20)
    {
        List<LedgerEntry> entries = Entries(pool);
        var lines = entries.Take(limit).Select(e =>
            $"fragment {e.Slot}.{e.Generation}: page {e.Page} [{e.Offset}, +{e.Length}] {e.State}" +
            $"{(e.Worker != 0 ? $" by worker {e.Worker}" : "")}{(e.Connection >= 0 ? $" of connection {e.Connection}" : "")}");
        string more = entries.Count > limit ? $"{Environment.NewLine}... and {entries.Count - limit} more" : "";
        return $"{entries.Count} fragments in {pool.PagesInUse} pages in use{Environment.NewLine}{string.Join(Environment.NewLine, lines)}{more}";
    }
}
