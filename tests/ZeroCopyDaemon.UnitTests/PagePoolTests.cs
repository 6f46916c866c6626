using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;

namespace ZeroCopyDaemon.UnitTests;

public sealed class PagePoolTests
{
    [Fact]
    public void A_page_goes_from_free_to_posted_to_in_use_and_back()
    {
        using var native = new NativePool(pages: 4);
        PagePool pool = native.Pool;
        Assert.True(pool.TryPost(out int page));
        Assert.Equal(PageState.Posted, pool.DescribePage(page).State);
        int slot = pool.AddFragment(page, 0, 100);
        pool.EndPosting(page);
        Assert.Equal((PageState.InUse, 1), (pool.DescribePage(page).State, pool.DescribePage(page).References));
        pool.Release(slot);
        Assert.Equal(PageState.Free, pool.DescribePage(page).State);
        Assert.Equal(4, pool.FreePages);
        pool.CheckInvariants();
    }

    [Fact]
    public void Splitting_a_fragment_keeps_its_page_until_both_parts_are_released()
    {
        using var native = new NativePool(pages: 1);
        PagePool pool = native.Pool;
        Assert.True(pool.TryPost(out int page));
        int first = pool.AddFragment(page, 10, 100);
        pool.EndPosting(page);
        int rest = pool.Split(first, 30);
        Assert.Equal((10, 30), (pool[first].Offset, pool[first].Length));
        Assert.Equal((40, 70), (pool[rest].Offset, pool[rest].Length));
        pool.Release(first);
        Assert.Equal(1, pool.PagesInUse);
        pool.Release(rest);
        Assert.Equal(1, pool.FreePages);
        pool.CheckInvariants();
    }

    [Fact]
    public void A_lease_is_valid_once_and_only_for_its_worker()
    {
        using var native = new NativePool(pages: 1);
        PagePool pool = native.Pool;
        Assert.True(pool.TryPost(out int page));
        int slot = pool.AddFragment(page, 0, 1);
        pool.EndPosting(page);
        ulong lease = pool.Lease(slot, worker: 3);
        Assert.Equal(LeaseStatus.Foreign, pool.TryResolve(lease, 4, out _));
        Assert.Equal(LeaseStatus.Unknown, pool.TryResolve(lease + (5UL << 32), 3, out _));
        Assert.Equal(LeaseStatus.Unknown, pool.TryResolve(ulong.MaxValue, 3, out _));
        Assert.Equal(LeaseStatus.Valid, pool.TryResolve(lease, 3, out int found));
        Assert.Equal(slot, found);
        pool.Release(found);
        Assert.Equal(LeaseStatus.Stale, pool.TryResolve(lease, 3, out _));
    }

    [Fact]
    public void Releasing_twice_is_a_broken_invariant()
    {
        using var native = new NativePool(pages: 1);
        PagePool pool = native.Pool;
        Assert.True(pool.TryPost(out int page));
        int slot = pool.AddFragment(page, 0, 1);
        pool.EndPosting(page);
        pool.Release(slot);
        Assert.Throws<InvariantViolationException>(() => pool.Release(slot));
    }

    [Fact]
    public void An_empty_pool_says_so_and_counts_it()
    {
        using var native = new NativePool(pages: 1);
        Assert.True(native.Pool.TryPost(out int page));
        Assert.False(native.Pool.TryPost(out _));
        native.Pool.EndPosting(page);
        Assert.True(native.Pool.TryPost(out _));
    }
}
