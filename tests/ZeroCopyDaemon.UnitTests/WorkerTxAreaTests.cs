using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Worker;
using ZeroCopyDaemon.Worker.Internal;

namespace ZeroCopyDaemon.UnitTests;

public sealed class WorkerTxAreaTests
{
    [Theory]
    [InlineData(1 << 20, 1024, 1 << 20)]
    [InlineData((1 << 20) + 5000, 1024, 1 << 18)]
    [InlineData(3000, 1024, 1 << 20)]
    [InlineData(777_777, 1024, 1 << 16)]
    public void All_memory_can_be_handed_out_and_joins_again(int bytes, int unit, int max)
    {
        var blocks = new BuddyAllocator(bytes, unit, max);
        long usable = bytes / unit * unit;
        Assert.Equal(usable, blocks.FreeBytes);
        var taken = new List<int>();
        while (blocks.TryAllocate(1, out int block))
        {
            taken.Add(block);
        }

        Assert.Equal(usable / unit, taken.Distinct().Count());
        Assert.Equal(0, blocks.FreeBytes);
        foreach (int block in taken)
        {
            blocks.Free(block);
        }

        Assert.Equal(usable, blocks.FreeBytes);
        Assert.True(blocks.TryAllocate(blocks.MaxBytes, out int largest));
        Assert.Equal(blocks.MaxBytes, blocks.BlockBytes(largest));
    }

    [Fact]
    public void Random_use_never_hands_the_same_memory_out_twice()
    {
        const int Size = 256 * 1024;
        for (int seed = 0; seed < 50; seed++)
        {
            var random = new Random(seed);
            var blocks = new BuddyAllocator(Size, 1024, 64 * 1024);
            byte[] owners = new byte[Size / 1024];
            var held = new List<int>();
            for (int step = 0; step < 2000; step++)
            {
                if (random.Next(2) == 0 && blocks.TryAllocate(1 + random.Next(random.Next(2) == 0 ? 3000 : 65_536), out int block))
                {
                    Assert.Equal(0, blocks.Offset(block) % blocks.BlockBytes(block));
                    Span<byte> units = owners.AsSpan(block, blocks.BlockBytes(block) / 1024);
                    Assert.Equal(-1, units.IndexOf((byte)1));
                    units.Fill(1);
                    held.Add(block);
                }
                else if (held.Count > 0)
                {
                    int index = random.Next(held.Count);
                    owners.AsSpan(held[index], blocks.BlockBytes(held[index]) / 1024).Clear();
                    blocks.Free(held[index]);
                    held.RemoveAt(index);
                }

                Assert.Equal(owners.Count(owner => owner == 0) * 1024L, blocks.FreeBytes);
            }

            held.ForEach(blocks.Free);
            Assert.True(blocks.TryAllocate(64 * 1024, out _));
            Assert.Equal(Size - (64 * 1024), blocks.FreeBytes);
        }
    }

    [Fact]
    public void A_block_that_is_free_cannot_be_freed()
    {
        var blocks = new BuddyAllocator(4096, 1024, 4096);
        Assert.True(blocks.TryAllocate(1, out int block));
        blocks.Free(block);
        Assert.Throws<Memory.InvariantViolationException>(() => blocks.Free(block));
    }

    [Fact]
    public async Task Who_finds_the_memory_used_up_waits_and_is_served_in_order()
    {
        using var kernel = new WorkerFakeKernel(txBytes: 64 * 1024, maxSends: 100);
        Connection connection = kernel.Accept();
        kernel.Take();
        for (int i = 0; i < 4; i++)
        {
            Assert.True(connection.TryRentTx(16 * 1024, out TxBuffer buffer));
            await connection.SendAsync(buffer, 1);
        }

        Assert.False(connection.TryRentTx(1, out _));
        Task<TxBuffer> large = connection.RentTxAsync(32 * 1024).AsTask();
        Task<TxBuffer> small = connection.RentTxAsync(1).AsTask();
        Submission[] sends = kernel.Take();
        kernel.Sent(sends[0]);

        // There is room for the small one, but it came later.
        Assert.False(small.IsCompleted);
        Assert.False(connection.TryRentTx(1, out _));
        kernel.Sent(sends[1]);
        Assert.Equal(32 * 1024, (await large).Length);
        Assert.False(small.IsCompleted);
        kernel.Sent(sends[2]);
        (await small).Dispose();
        (await large).Dispose();
        Assert.Equal(48 * 1024, kernel.Core.Tx.FreeBytes);
    }

    [Fact]
    public async Task Who_gives_up_waiting_lets_the_next_go_first()
    {
        using var kernel = new WorkerFakeKernel(txBytes: 64 * 1024);
        Connection connection = kernel.Accept();
        Assert.True(connection.TryRentTx(64 * 1024, out TxBuffer all));
        using var cancellation = new CancellationTokenSource();
        Task<TxBuffer> first = connection.RentTxAsync(64 * 1024, cancellation.Token).AsTask();
        Task<TxBuffer> second = connection.RentTxAsync(1024).AsTask();
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);
        Assert.False(second.IsCompleted);
        all.Dispose();
        Assert.Equal(1024, (await second).Length);

        // The waiter that gave up is used again.
        Task<TxBuffer> third = connection.RentTxAsync(64 * 1024).AsTask();
        (await second).Dispose();
        (await third).Dispose();
        Assert.Equal(64 * 1024, kernel.Core.Tx.FreeBytes);
        Assert.Equal(1, kernel.Core.Holds);
    }

    [Fact]
    public async Task A_long_send_of_copied_bytes_waits_for_memory_and_loses_nothing()
    {
        using var kernel = new WorkerFakeKernel(txBytes: 64 * 1024, maxSends: 2);
        Connection connection = kernel.Accept();
        kernel.Take();
        byte[] data = new byte[500_000];
        new Random(1).NextBytes(data);
        Task sending = connection.SendAsync(data.AsMemory()).AsTask();
        var arrived = new MemoryStream();
        for (int turn = 0; turn < 1000 && arrived.Length < data.Length; turn++)
        {
            foreach (Submission send in kernel.Take())
            {
                arrived.Write(kernel.TxBytes(send));
                kernel.Sent(send);
            }
        }

        await sending;
        Assert.Equal(data, arrived.ToArray());
        Assert.Equal(data.Length, kernel.Core.Counter(WorkerCounter.TxPayloadCopiedBytes));
        Assert.Equal(64 * 1024, kernel.Core.Tx.FreeBytes);
    }

    [Fact]
    public async Task Threads_that_rent_and_return_at_once_leave_all_memory_free()
    {
        using var kernel = new WorkerFakeKernel(txBytes: 64 * 1024, scheduling: WorkerScheduling.ThreadPool);
        Task[] users = [.. Enumerable.Range(0, 8).Select(user => Task.Run(async () =>
        {
            var random = new Random(user);
            for (int i = 0; i < 3000; i++)
            {
                using var cancellation = new CancellationTokenSource();
                ValueTask<TxBuffer> renting = kernel.Core.Tx.RentAsync(1 + random.Next(40_000), cancellation.Token);
                if (random.Next(8) == 0)
                {
                    await cancellation.CancelAsync();
                }

                try
                {
                    using TxBuffer buffer = await renting;
                    buffer.Span[0] = (byte)user;
                    if (random.Next(4) == 0)
                    {
                        await Task.Yield();
                    }

                    Assert.Equal((byte)user, buffer.Span[0]);
                }
                catch (OperationCanceledException)
                {
                }
            }
        }))];
        await Task.WhenAll(users).WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Equal(64 * 1024, kernel.Core.Tx.FreeBytes);
        Assert.Equal(1, kernel.Core.Holds);
    }
}
