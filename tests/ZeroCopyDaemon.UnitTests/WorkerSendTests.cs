using System.Text;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.UnitTests;

public sealed class WorkerSendTests
{
    [Fact]
    public async Task A_TX_buffer_is_sent_where_it_lies_and_is_free_when_acknowledged()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        kernel.Take();
        long free = kernel.Core.Tx.FreeBytes;
        Assert.True(connection.TryRentTx(1500, out TxBuffer buffer));
        Assert.Equal(2048, buffer.Length);
        "in place"u8.CopyTo(buffer.Span);
        await connection.SendAsync(buffer, 8, more: true);
        Submission send = Assert.Single(kernel.Take());
        Assert.Equal((SubmissionOp.SendRange, SubmissionFlags.More, 1u, 8u), (send.Op, send.Flags, send.Connection, send.Length));
        Assert.Equal("in place", Encoding.ASCII.GetString(kernel.TxBytes(send)));
        Assert.Equal(free - 2048, kernel.Core.Tx.FreeBytes);
        Task flushed = connection.FlushAsync().AsTask();
        Assert.False(flushed.IsCompleted);
        kernel.Sent(send);
        await flushed;
        Assert.Equal(free, kernel.Core.Tx.FreeBytes);
        Assert.Equal(0, connection.SendsOutstanding);
        Assert.Equal(0, kernel.Core.Counter(WorkerCounter.TxPayloadCopiedBytes));
    }

    [Fact]
    public async Task An_echo_sends_the_leases_themselves()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        kernel.Data(1, "ab"u8.ToArray(), "cd"u8.ToArray(), "ef"u8.ToArray());
        ulong[] leases = [.. kernel.Leases.Order()];
        Received received = await receiving;
        kernel.Take();
        await connection.SendAsync(received);
        Submission[] sends = kernel.Take();
        Assert.Equal(leases, sends.Select(send => send.Value));
        Assert.All(sends, send => Assert.Equal((SubmissionOp.SendLease, 2u), (send.Op, send.Length)));
        Assert.Equal([SubmissionFlags.More, SubmissionFlags.More, SubmissionFlags.None], sends.Select(send => send.Flags));
        Assert.Empty(kernel.Leases);

        // Passed on, it is no longer the caller's to release.
        received.Dispose();
        Assert.Throws<InvalidOperationException>(received.Release);
        Assert.Throws<InvalidOperationException>(() => received[0].Span.Length);
        Assert.Empty(kernel.Take());
        foreach (Submission send in sends)
        {
            kernel.Sent(send);
        }

        await connection.FlushAsync();
        Assert.Equal(0, kernel.Core.SendsOutstanding);
    }

    [Fact]
    public async Task Leases_that_were_released_before_are_not_sent_and_the_last_one_sent_waits_for_nothing()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Connection other = kernel.Accept(2);
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        kernel.Data(1, "ab"u8.ToArray(), "cd"u8.ToArray(), "ef"u8.ToArray());
        Received received = await receiving;
        received[2].Release();
        kernel.Take();
        await other.SendAsync(received);
        Assert.Equal([(2u, SubmissionFlags.More), (2u, SubmissionFlags.None)], kernel.Take().Select(send => (send.Connection, send.Flags)));
    }

    [Fact]
    public async Task Bytes_of_the_callers_own_are_copied_and_counted()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        kernel.Take();
        byte[] data = new byte[200_000];
        Random.Shared.NextBytes(data);
        await connection.SendAsync(data.AsMemory());
        Submission[] sends = kernel.Take();
        Assert.Equal(data, sends.SelectMany(send => kernel.TxBytes(send).ToArray()));
        Assert.Equal(data.Length, kernel.Core.Counter(WorkerCounter.TxPayloadCopiedBytes));
        Assert.All(sends[..^1], send => Assert.Equal(SubmissionFlags.More, send.Flags));
        Assert.Equal(SubmissionFlags.None, sends[^1].Flags);
    }

    [Fact]
    public async Task No_more_sends_are_outstanding_than_the_kernel_allows_and_the_rest_follows_in_order()
    {
        using var kernel = new WorkerFakeKernel(maxSends: 3);
        Connection connection = kernel.Accept();
        kernel.Take();
        for (byte i = 0; i < 3; i++)
        {
            Task sent = Send(connection, i);
            Assert.True(sent.IsCompletedSuccessfully);
        }

        Task waiting = Send(connection, 3);
        Assert.False(waiting.IsCompleted);
        await Assert.ThrowsAsync<InvalidOperationException>(() => Send(connection, 4));
        connection.ShutdownSend();
        Submission[] first = kernel.Take();
        Assert.Equal(3, first.Length);
        kernel.Sent(first[0]);
        await waiting;
        Submission[] rest = kernel.Take();
        Assert.Equal([SubmissionOp.SendRange, SubmissionOp.Shutdown], rest.Select(submission => submission.Op));
        Assert.Equal(3, kernel.TxBytes(rest[0])[0]);
        Task flushed = connection.FlushAsync().AsTask();
        kernel.Sent(first[1]);
        kernel.Sent(first[2]);
        Assert.False(flushed.IsCompleted);
        kernel.Sent(rest[0]);
        await flushed;
        await Assert.ThrowsAsync<InvalidOperationException>(() => Send(connection, 5));
    }

    [Fact]
    public async Task Closing_sends_everything_first_and_ends_when_all_is_published()
    {
        using var kernel = new WorkerFakeKernel(maxSends: 2);
        Connection connection = kernel.Accept();
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        kernel.Data(1, [.. Enumerable.Range(0, 5).Select(i => new[] { (byte)i })]);
        Received received = await receiving;
        kernel.Take();
        Task sending = connection.SendAsync(received).AsTask();
        Task closing = connection.DisposeAsync().AsTask();
        Assert.False(closing.IsCompleted);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => connection.FlushAsync().AsTask());
        int sends = 0;
        for (Submission[] taken = kernel.Take(); taken is [{ Op: SubmissionOp.SendLease } send, ..]; taken = kernel.Take())
        {
            foreach (Submission one in taken.Where(one => one.Op == SubmissionOp.SendLease))
            {
                sends++;
                kernel.Sent(one);
            }

            if (sends >= 4)
            {
                break;
            }
        }

        await sending;
        await closing;
        Assert.Equal([SubmissionOp.SendLease, SubmissionOp.Close], kernel.TakeOps()[^2..]);
        await connection.DisposeAsync();
        Assert.Empty(kernel.Take());
    }

    [Fact]
    public async Task A_failed_connection_gives_everything_back()
    {
        using var kernel = new WorkerFakeKernel(maxSends: 1);
        Connection connection = kernel.Accept();
        long free = kernel.Core.Tx.FreeBytes;
        await Send(connection, 1);
        Submission inFlight = kernel.Take().Single(submission => submission.Op == SubmissionOp.SendRange);
        Task waiting = Send(connection, 2);
        Task flushing = connection.FlushAsync().AsTask();
        kernel.Sent(inFlight, CompletionStatus.ConnectionReset);
        Submission second = kernel.Take().Single();
        kernel.Tell(CompletionKind.Failed, 1, CompletionStatus.ConnectionReset);
        kernel.Sent(second, CompletionStatus.ConnectionReset);
        await waiting;
        await Assert.ThrowsAsync<ConnectionResetException>(() => flushing);
        Assert.Equal(free, kernel.Core.Tx.FreeBytes);

        // What is sent from now on fails, and is the library's nevertheless.
        await Assert.ThrowsAsync<ConnectionResetException>(() => Send(connection, 3));
        Assert.Equal(free, kernel.Core.Tx.FreeBytes);
        Assert.Equal(1, kernel.Core.Holds);
    }

    [Fact]
    public async Task An_aborted_connection_drops_what_waits_and_releases_its_leases()
    {
        using var kernel = new WorkerFakeKernel(maxSends: 1);
        Connection connection = kernel.Accept();
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        kernel.Data(1, "a"u8.ToArray(), "b"u8.ToArray(), "c"u8.ToArray());
        Received received = await receiving;
        Task sending = connection.SendAsync(received).AsTask();
        receiving = connection.ReceiveAsync().AsTask();
        kernel.Take();
        connection.Abort();
        connection.Abort();
        await Assert.ThrowsAsync<ConnectionAbortedException>(() => sending);
        await Assert.ThrowsAsync<ConnectionAbortedException>(() => receiving);
        Assert.Equal([SubmissionOp.Abort, SubmissionOp.Release, SubmissionOp.Release], kernel.TakeOps());
        await connection.DisposeAsync();
        Assert.Empty(kernel.Take());
        Assert.Empty(kernel.Leases);
    }

    [Fact]
    public async Task A_refused_send_aborts_the_connection_as_the_stream_would_have_a_hole()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        long free = kernel.Core.Tx.FreeBytes;
        await Send(connection, 1);
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        Submission send = kernel.Take().Single(submission => submission.Op == SubmissionOp.SendRange);
        kernel.Write(new Completion { Kind = CompletionKind.Refused, Connection = 1, Tag = send.Tag, Status = CompletionStatus.QueueFull });
        kernel.Deliver();
        Assert.Equal(CompletionStatus.QueueFull, (await Assert.ThrowsAsync<ConnectionFailedException>(() => receiving)).Status);
        Assert.Equal([SubmissionOp.Abort], kernel.TakeOps());
        Assert.Equal(free, kernel.Core.Tx.FreeBytes);
    }

    [Fact]
    public async Task TX_memory_of_a_closed_connection_comes_back_with_its_acknowledgement()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        long free = kernel.Core.Tx.FreeBytes;
        await Send(connection, 1);
        await connection.DisposeAsync();
        Submission[] taken = kernel.Take();
        Assert.Equal([SubmissionOp.SendRange, SubmissionOp.Close], taken[^2..].Select(submission => submission.Op));
        Assert.True(kernel.Core.Tx.FreeBytes < free);
        kernel.Sent(taken[^2]);
        Assert.Equal(free, kernel.Core.Tx.FreeBytes);
    }

    private static Task Send(Connection connection, byte value)
    {
        Assert.True(connection.TryRentTx(1, out TxBuffer buffer));
        buffer.Span[0] = value;
        return connection.SendAsync(buffer, 1).AsTask();
    }
}
