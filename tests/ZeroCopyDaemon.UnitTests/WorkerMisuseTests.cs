using System.Buffers;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.UnitTests;

public sealed class WorkerMisuseTests
{
    [Fact]
    public async Task A_lease_can_be_released_once_and_not_used_after()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Received received = await ReceiveAsync(kernel, connection, 2);
        Lease lease = received[0];
        Assert.True(lease.IsHeld);
        lease.Release();
        Assert.False(lease.IsHeld);
        Assert.Contains("released", Assert.Throws<InvalidOperationException>(lease.Release).Message, StringComparison.Ordinal);
        Assert.Throws<InvalidOperationException>(() => lease.Span.Length);
        Assert.Throws<InvalidOperationException>(() => lease.Length);
        await Assert.ThrowsAsync<InvalidOperationException>(() => connection.SendAsync(lease).AsTask());
        Assert.Throws<InvalidOperationException>(() => received.AsSequence());
        received.Release();
        Assert.Throws<InvalidOperationException>(received.Release);
        Assert.Equal(2, kernel.TakeOps().Count(op => op == SubmissionOp.Release));
    }

    [Fact]
    public async Task A_lease_that_was_kept_is_found_out_when_its_place_is_used_again()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Received old = await ReceiveAsync(kernel, connection, 1);
        Lease lease = old[0];
        ReadOnlySequence<byte> sequence = old.AsSequence();
        old.Release();
        Received next = await ReceiveAsync(kernel, connection, 1);
        Assert.Throws<InvalidOperationException>(() => lease.Span.Length);
        Assert.Throws<InvalidOperationException>(lease.Release);
        Assert.Throws<InvalidOperationException>(() => old[0].Span.Length);
        Assert.Throws<InvalidOperationException>(old.Release);
        old.Dispose();
        Assert.True(next[0].IsHeld);
        Assert.Throws<InvalidOperationException>(() => sequence.FirstSpan.Length);
        next.Release();
        Assert.Empty(kernel.Leases.Except(kernel.Take().Select(submission => submission.Value)));
    }

    [Fact]
    public async Task Many_threads_that_release_the_same_leases_release_each_once()
    {
        using var kernel = new WorkerFakeKernel(submissionEntries: 1024);
        Connection connection = kernel.Accept();
        for (int round = 0; round < 50; round++)
        {
            Received received = await ReceiveAsync(kernel, connection, 32);
            int refused = 0;
            Parallel.For(0, 4, _ =>
            {
                for (int i = 0; i < 32; i++)
                {
                    try
                    {
                        received[i].Release();
                    }
                    catch (InvalidOperationException)
                    {
                        Interlocked.Increment(ref refused);
                    }
                }
            });
            Assert.Equal(3 * 32, refused);
            Assert.Equal(32, kernel.Take().Count(submission => submission.Op == SubmissionOp.Release));
            Assert.Empty(kernel.Leases);
        }

        Assert.Equal(1, kernel.Core.Holds);
    }

    [Fact]
    public async Task Only_one_receive_may_be_under_way()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        await Assert.ThrowsAsync<InvalidOperationException>(() => connection.ReceiveAsync().AsTask());
        await Assert.ThrowsAsync<InvalidOperationException>(() => connection.ReceiveAsync(new byte[1].AsMemory()).AsTask());
        kernel.Data(1, "x"u8.ToArray());
        Assert.Equal(1, (await receiving).Length);
    }

    [Fact]
    public async Task A_result_is_taken_once()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        ValueTask<Received> receiving = connection.ReceiveAsync();
        ValueTask<Received> same = receiving;
        kernel.Data(1, "x"u8.ToArray());
        _ = await receiving;
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await same);
    }

    [Fact]
    public async Task A_TX_buffer_is_the_callers_until_it_is_sent_or_returned()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Assert.True(connection.TryRentTx(10, out TxBuffer buffer));
        await connection.SendAsync(buffer, 10);
        Assert.Throws<InvalidOperationException>(() => buffer.Span.Length);
        Assert.Throws<InvalidOperationException>(() => buffer.Memory.Length);
        await Assert.ThrowsAsync<InvalidOperationException>(() => connection.SendAsync(buffer, 1).AsTask());
        buffer.Dispose();
        Assert.True(connection.TryRentTx(10, out TxBuffer second));
        second.Dispose();
        second.Dispose();
        Assert.Throws<InvalidOperationException>(() => second.Span.Length);
        Assert.Throws<InvalidOperationException>(() => default(TxBuffer).Span.Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => connection.TryRentTx((1 << 20) + 1, out _));
        Assert.True(connection.TryRentTx(10, out TxBuffer third));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => connection.SendAsync(third, third.Length + 1).AsTask());
        third.Dispose();
        Assert.Single(kernel.Take(), submission => submission.Op == SubmissionOp.SendRange);
    }

    [Fact]
    public async Task Another_clients_leases_and_buffers_are_refused()
    {
        using var kernel = new WorkerFakeKernel();
        using var other = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Connection foreign = other.Accept();
        Received received = await ReceiveAsync(kernel, connection, 1);
        await Assert.ThrowsAsync<ArgumentException>(() => foreign.SendAsync(received).AsTask());
        await Assert.ThrowsAsync<ArgumentException>(() => foreign.SendAsync(received[0]).AsTask());
        await Assert.ThrowsAsync<ArgumentException>(() => foreign.SendAsync(default(Lease)).AsTask());
        Assert.True(connection.TryRentTx(1, out TxBuffer buffer));
        await Assert.ThrowsAsync<ArgumentException>(() => foreign.SendAsync(buffer, 1).AsTask());
        buffer.Dispose();
        received.Release();
    }

    private static async Task<Received> ReceiveAsync(WorkerFakeKernel kernel, Connection connection, int fragments)
    {
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        kernel.Data(connection.Handle, [.. Enumerable.Range(0, fragments).Select(i => new[] { (byte)i })]);
        return await receiving;
    }
}
