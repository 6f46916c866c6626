using CsCheck;
using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.UnitTests;

public sealed class PacketsFragmentChainTests
{
    [Fact]
    public void Trimming_both_ends_leaves_the_middle_and_frees_emptied_pages() =>
        Gen.Select(Gen.Int[1, 40].Array[1, 8], Gen.Int[0, 400], Gen.Int[0, 400]).Sample((lengths, front, keep) =>
        {
            using var native = new NativePool(pages: 8, pageSize: 2048);
            PagePool pool = native.Pool;
            int total = lengths.Sum();
            byte[] all = Enumerable.Range(1, total).Select(i => (byte)i).ToArray();
            int head = TestFrames.Chain(pool, all, lengths);
            front = Math.Min(front, total);
            FragmentChain.TrimFront(pool, ref head, front);
            FragmentChain.TrimBack(pool, ref head, keep);
            byte[] expected = all.Skip(front).Take(keep).ToArray();
            Assert.Equal(expected, TestFrames.Bytes(pool, head));
            Assert.Equal(expected.Length, FragmentChain.Length(pool, head));
            Assert.Equal(FragmentChain.Count(pool, head), pool.FragmentsInUse);
            byte[] copied = new byte[20];
            Assert.Equal(Math.Min(20, expected.Length), FragmentChain.CopyHeader(pool, head, copied));
            var sum = new ChecksumAccumulator(0);
            FragmentChain.AddTo(ref sum, pool, head);
            Assert.Equal(InternetChecksum.Compute(expected), sum.Finish());
            pool.ReleaseChain(head);
            pool.CheckInvariants();
            Assert.Equal(8, pool.FreePages);
        });

    [Fact]
    public void Trimming_the_front_moves_sequence_numbers_along()
    {
        using var native = new NativePool(pages: 2);
        int head = TestFrames.Chain(native.Pool, new byte[100], [60, 40]);
        native.Pool[head].Sequence = uint.MaxValue - 1;
        FragmentChain.TrimFront(native.Pool, ref head, 10);
        Assert.Equal(8u, native.Pool[head].Sequence);
        Assert.Equal(10, native.Pool[head].StreamOffset);
    }

    [Fact]
    public void Trimming_more_than_there_is_breaks_an_invariant()
    {
        using var native = new NativePool(pages: 1);
        int head = TestFrames.Chain(native.Pool, new byte[10], [10]);
        Assert.Throws<InvariantViolationException>(() => FragmentChain.TrimFront(native.Pool, ref head, 11));
    }
}
