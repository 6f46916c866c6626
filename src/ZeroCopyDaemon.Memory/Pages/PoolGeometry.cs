namespace ZeroCopyDaemon.Memory.Pages;

/// <summary>
/// The sizes that every user of a page pool must agree on. A chunk of AF_XDP's UMEM will be a page, so headroom is part of the geometry,
/// and nobody may assume that payload begins where a page begins.
/// </summary>
/// <param name="PageSize">Bytes per page; a power of two, 2048 to 2 MiB.</param>
/// <param name="PageCount">Pages in the pool, at least 1.</param>
/// <param name="Headroom">Bytes at the start of each page that a NIC leaves free.</param>
public readonly record struct PoolGeometry(int PageSize, int PageCount, int Headroom = 0)
{
    /// <summary>Bytes of the whole pool.</summary>
    public long TotalBytes => (long)PageSize * PageCount;

    /// <summary>
    /// Fragments to a page that a pool should have where frames share pages, and that a page's charge pays for: one per 256 bytes, 16 at least. Smaller ones on end are charged so that fragments are
    /// not used up before pages.
    /// </summary>
    public int FragmentsPerPage => Math.Max(16, PageSize / 256);

    /// <summary>Throws <see cref="ArgumentException"/> with what to change, if the geometry can't be used.</summary>
    public void Validate()
    {
        if (PageSize < 2048 || PageSize > 2 << 20 || (PageSize & (PageSize - 1)) != 0)
        {
            throw new ArgumentException($"The page size must be a power of two from 2048 to 2097152 bytes, not {PageSize}.");
        }

        if (PageCount < 1)
        {
            throw new ArgumentException($"The pool needs at least one page, not {PageCount}.");
        }

        if (Headroom < 0 || Headroom >= PageSize / 2)
        {
            throw new ArgumentException($"The headroom must be from 0 to less than half a page, not {Headroom}.");
        }
    }
}
