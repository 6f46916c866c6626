using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Who pays for a page, and until when.</summary>
public sealed class PageChargeTests
{
    [Fact]
    public void The_first_fragment_pays_for_the_page_and_the_others_of_its_connection_nothing()
    {
        using var bench = new ChargeBench();
        int page = bench.Post();
        int[] slots = [bench.Add(page, 0, 1460), bench.Add(page, 1460, 1460), bench.Add(page, 2920, 1176)];
        Assert.Equal([4096, 0, 0], slots.Select(slot => bench.Charge(slot, 7)));
        bench.Pool.EndPosting(page);
        bench.Pool.Release(slots[0]);
        bench.Pool.Release(slots[2]);
        bench.Expect(7, 4096);
        bench.Pool.Release(slots[1]);
        bench.Expect(7, 0);
    }

    [Fact]
    public void A_page_without_fragments_is_paid_for_by_nobody_though_the_NIC_is_not_done_with_it()
    {
        using var bench = new ChargeBench();
        int page = bench.Post();
        int slot = bench.Add(page, 0, 100);
        bench.Charge(slot, 7);
        bench.Pool.Release(slot);
        bench.Expect(7, 0);
        Assert.Equal((PageState.Posted, true), (bench.Pool.DescribePage(page).State, bench.Pool.DescribePage(page).NicHold));
        int next = bench.Add(page, 100, 100);
        Assert.Equal(4096, bench.Charge(next, 8));
        bench.Pool.EndPosting(page);
        bench.Pool.Release(next);
        bench.Expect(8, 0);
        Assert.Equal(bench.Pool.Geometry.PageCount, bench.Pool.FreePages);
    }

    [Theory]
    [InlineData(1, 256)]
    [InlineData(256, 256)]
    [InlineData(257, 320)]
    [InlineData(1460, 1472)]
    [InlineData(4096, 4096)]
    public void In_a_shared_page_each_pays_for_its_lines_and_a_sixteenth_at_least(int length, int cost)
    {
        using var bench = new ChargeBench();
        int page = bench.Post(shared: true);
        int slot = bench.Add(page, 0, length);
        Assert.Equal(cost, bench.Pool.ChargeFor(slot, 7));
        Assert.Equal(cost, bench.Charge(slot, 7));
        bench.Expect(7, cost);
        bench.Pool.Release(slot);
        bench.Expect(7, 0);
        bench.Pool.EndPosting(page);
    }

    [Fact]
    public void Each_charge_of_a_shared_page_ends_with_its_own_fragment()
    {
        using var bench = new ChargeBench();
        int page = bench.Post(shared: true);
        int a = bench.Add(page, 0, 1000), b = bench.Add(page, 1024, 1000), again = bench.Add(page, 2048, 10);
        Assert.Equal([1024, 1024, 256], new[] { bench.Charge(a, 1), bench.Charge(b, 2), bench.Charge(again, 1) });
        bench.Pool.EndPosting(page);
        bench.Pool.Release(a);
        bench.Expect(1, 256);
        bench.Expect(2, 1024);
        bench.Pool.Release(again);
        bench.Expect(1, 0);
        bench.Pool.Release(b);
        bench.Expect(2, 0);
        Assert.Equal(bench.Pool.Geometry.PageCount, bench.Pool.FreePages);
    }

    [Fact]
    public void In_a_page_that_another_connection_pays_for_a_fragment_pays_for_itself()
    {
        using var bench = new ChargeBench();
        int page = bench.Post();
        int first = bench.Add(page, 0, 100), second = bench.Add(page, 100, 1460);
        Assert.Equal((4096, 1472), (bench.Charge(first, 1), bench.Charge(second, 2)));
        bench.Pool.EndPosting(page);
        bench.Pool.Release(first);
        bench.Expect(1, 4096);
        bench.Pool.Release(second);
        bench.Expect(1, 0);
        bench.Expect(2, 0);
    }

    [Fact]
    public void A_page_is_shared_no_longer_than_it_is_in_use()
    {
        using var bench = new ChargeBench(pages: 1);
        int page = bench.Post(shared: true);
        bench.Pool.EndPosting(page);
        page = bench.Post();
        int slot = bench.Add(page, 0, 1);
        Assert.Equal(4096, bench.Charge(slot, 1));
        bench.Pool.EndPosting(page);
        bench.Pool.Release(slot);
        Assert.Throws<InvariantViolationException>(() => bench.Pool.MarkShared(page));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_split_fragments_charge_is_neither_lost_nor_doubled_whichever_piece_goes_last(bool firstGoesLast)
    {
        foreach (bool shared in new[] { true, false })
        {
            using var bench = new ChargeBench();
            int page = bench.Post(shared);
            int slot = bench.Add(page, 0, 1460);
            int cost = bench.Charge(slot, 3);
            bench.Pool.EndPosting(page);
            int middle = bench.Pool.Split(slot, 1), last = bench.Pool.Split(middle, 1000);
            Assert.Equal(0, bench.Charge(middle, 3));
            bench.Expect(3, cost);
            bench.Pool.Release(middle);
            bench.Pool.Release(firstGoesLast ? last : slot);
            bench.Expect(3, cost);
            bench.Pool.Release(firstGoesLast ? slot : last);
            bench.Expect(3, 0);
        }
    }

    [Fact]
    public void Charging_a_fragment_twice_costs_nothing_more()
    {
        using var bench = new ChargeBench();
        int page = bench.Post(shared: true);
        int slot = bench.Add(page, 0, 10);
        Assert.Equal((256, 0), (bench.Charge(slot, 1), bench.Charge(slot, 1)));
        bench.Pool.Release(slot);
        bench.Expect(1, 0);
        bench.Pool.EndPosting(page);
    }

    [Fact]
    public void A_page_pays_for_sixteen_fragments_and_more_pay_for_themselves()
    {
        using var bench = new ChargeBench();
        int page = bench.Post();
        int[] slots = [.. Enumerable.Range(0, 20).Select(i => bench.Add(page, i, 1))];
        Chain(bench.Pool, slots);
        Assert.Equal(4096 + (4 * 256), bench.Pool.ChargeFor(slots[0], 1));
        Assert.Equal([4096, .. Enumerable.Repeat(0, 15), .. Enumerable.Repeat(256, 4)], slots.Select(slot => bench.Charge(slot, 1)));
        bench.Pool.EndPosting(page);
        bench.Pool.Release(slots[19]);
        bench.Expect(1, 4096 + (3 * 256));

        // The first ones' places are free again once they are gone.
        bench.Pool.Release(slots[0]);
        bench.Expect(1, 4096 + (3 * 256));
        bench.Pool.ReleaseChain(slots[1] == slots[0] ? -1 : Unlink(bench.Pool, slots[1..19]));
        bench.Expect(1, 0);
    }

    [Fact]
    public void What_shared_pages_hold_beyond_the_charges_is_known_and_the_NICs_own_hold_does_not_count()
    {
        using var bench = new ChargeBench();
        int page = bench.Post(shared: true);
        int a = bench.Add(page, 0, 1000), b = bench.Add(page, 1024, 1), c = bench.Add(page, 2048, 2048);
        bench.Charge(a, 1);
        bench.Charge(b, 2);
        Assert.Equal(0, bench.Pool.OvercommittedBytes);
        bench.Pool.EndPosting(page);
        Assert.Equal(4096 - 1024 - 256, bench.Pool.OvercommittedBytes);
        bench.Charge(c, 1);
        Assert.Equal(4096 - 1024 - 256 - 2048, bench.Pool.OvercommittedBytes);
        bench.Pool.Release(a);
        bench.Pool.Release(c);
        Assert.Equal(4096 - 256, bench.Pool.OvercommittedBytes);
        bench.Pool.Release(b);
        Assert.Equal(0, bench.Pool.OvercommittedBytes);
    }

    [Fact]
    public void Whatever_is_charged_split_and_released_the_sums_are_right_and_cover_every_page_in_use()
    {
        for (int seed = 0; seed < 200; seed++)
        {
            using var bench = new ChargeBench(pages: 8, fragments: 100);
            var random = new Random(seed);
            var posted = new Dictionary<int, int>();
            var live = new List<(int Slot, bool Charged)>();
            for (int step = 0; step < 400; step++)
            {
                switch (random.Next(8))
                {
                    case 0 when bench.Pool.FreePages > 0:
                        posted.Add(bench.Post(shared: random.Next(2) == 0), 0);
                        break;
                    case 1 or 2 or 3 when posted.Count > 0:
                        int page = posted.Keys.ElementAt(random.Next(posted.Count));
                        int length = Math.Min(random.Next(1, random.Next(2) == 0 ? 50 : 3000), 4096 - posted[page]);
                        if (length > 0 && bench.Pool.FragmentsInUse < 90)
                        {
                            live.Add((bench.Add(page, posted[page], length), false));
                            posted[page] += length;
                        }

                        break;
                    case 4 when posted.Count > 0:
                        int finished = posted.Keys.ElementAt(random.Next(posted.Count));
                        posted.Remove(finished);
                        bench.Pool.EndPosting(finished);
                        break;
                    case 5 when live.Count > 0:
                        int at = random.Next(live.Count);
                        int slot = live[at].Slot;
                        int connection = random.Next(3);
                        bench.Pool[slot].Next = PagePool.NoFragment;
                        long cost = bench.Pool.ChargeFor(slot, connection);
                        int charged = bench.Charge(slot, connection);
                        Assert.True(live[at].Charged ? charged == 0 : charged == cost);
                        live[at] = (slot, true);
                        break;
                    case 6 when live.Count > 0 && bench.Pool.FragmentsInUse < 90:
                        (int Slot, bool Charged) whole = live[random.Next(live.Count)];
                        if (bench.Pool[whole.Slot].Length > 1)
                        {
                            live.Add((bench.Pool.Split(whole.Slot, random.Next(1, bench.Pool[whole.Slot].Length)), whole.Charged));
                        }

                        break;
                    case 7 when live.Count > 0:
                        int gone = random.Next(live.Count);
                        bench.Pool.Release(live[gone].Slot);
                        live.RemoveAt(gone);
                        break;
                }

                bench.Pool.CheckInvariants();
                bench.CheckSums();
                int held = Enumerable.Range(0, 8).Count(page => !bench.Pool.DescribePage(page).NicHold && live.Exists(f => f.Charged && bench.Pool[f.Slot].Page == page));
                Assert.True(PoolLedger.Charges(bench.Pool).Values.Sum() + bench.Pool.OvercommittedBytes >= held * 4096L, $"seed {seed}, step {step}");
            }

            live.ForEach(f => bench.Pool.Release(f.Slot));
            posted.Keys.ToList().ForEach(bench.Pool.EndPosting);
            bench.Pool.CheckInvariants();
            bench.CheckSums();
            Assert.Equal((8, 0L, 0), (bench.Pool.FreePages, bench.Pool.OvercommittedBytes, PoolLedger.Charges(bench.Pool).Count));
        }
    }

    [Fact]
    public void The_estimate_for_a_chain_is_what_charging_it_costs()
    {
        for (int seed = 0; seed < 500; seed++)
        {
            using var bench = new ChargeBench(pages: 8, fragments: 200);
            var random = new Random(seed);
            var slots = new List<int>();
            int pages = random.Next(1, 5);
            for (int i = 0; i < pages; i++)
            {
                int page = bench.Post(shared: random.Next(3) == 0);
                int fragments = random.Next(1, random.Next(4) == 0 ? 30 : 4);
                if (random.Next(2) == 0)
                {
                    bench.Charge(bench.Add(page, 4000, 10), random.Next(2));
                }

                slots.AddRange(Enumerable.Range(0, fragments).Select(f => bench.Add(page, f * 100, random.Next(1, 100))));
            }

            Chain(bench.Pool, slots);
            long estimate = bench.Pool.ChargeFor(slots[0], 1);
            Assert.Equal(slots.Sum(slot => (long)bench.Charge(slot, 1)), estimate);
            bench.CheckSums();
        }
    }

    private static void Chain(PagePool pool, IReadOnlyList<int> slots)
    {
        for (int i = 0; i < slots.Count; i++)
        {
            pool[slots[i]].Next = i + 1 < slots.Count ? slots[i + 1] : PagePool.NoFragment;
        }
    }

    private static int Unlink(PagePool pool, int[] slots)
    {
        Chain(pool, slots);
        return slots[0];
    }

    /// <summary>A pool, and a sink that adds up what it is told.</summary>
    private sealed class ChargeBench : IPageChargeSink, IDisposable
    {
        private readonly NativePool _native;
        private readonly Dictionary<int, long> _charged = [];

        public ChargeBench(int pages = 4, int fragments = 0)
        {
            _native = new NativePool(pages, fragments: fragments == 0 ? pages * 40 : fragments);
            _native.Pool.ChargeSink = this;
        }

        public PagePool Pool => _native.Pool;

        public int Post(bool shared = false)
        {
            Assert.True(Pool.TryPost(out int page));
            if (shared)
            {
                Pool.MarkShared(page);
            }

            return page;
        }

        public int Add(int page, int offset, int length) => Pool.AddFragment(page, offset, length);

        public int Charge(int slot, int connection)
        {
            int bytes = Pool.Charge(slot, connection);
            _charged[connection] = _charged.GetValueOrDefault(connection) + bytes;
            return bytes;
        }

        public void Uncharge(int connection, int bytes)
        {
            _charged[connection] -= bytes;
            Assert.True(bytes > 0 && _charged[connection] >= 0);
        }

        public void Expect(int connection, long bytes)
        {
            Pool.CheckInvariants();
            CheckSums();
            Assert.Equal(bytes, _charged.GetValueOrDefault(connection));
        }

        public void CheckSums() => Assert.Equal(
            _charged.Where(pair => pair.Value > 0).OrderBy(pair => pair.Key), PoolLedger.Charges(Pool).OrderBy(pair => pair.Key));

        public void Dispose() => _native.Dispose();
    }
}
