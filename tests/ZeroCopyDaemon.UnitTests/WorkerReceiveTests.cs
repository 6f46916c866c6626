using System.Buffers;
using System.Net;
using System.Text;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.UnitTests;

public sealed class WorkerReceiveTests
{
    [Fact]
    public void A_connection_is_accepted_with_its_peers_address()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept(handle: 7);
        Assert.Equal(7u, connection.Handle);
        Assert.Equal(new IPEndPoint(IPAddress.Parse("10.0.0.1"), 40_000), connection.RemoteEndPoint);
        Assert.True(connection.IsAlive);
    }

    [Fact]
    public async Task Credit_is_given_at_first_and_renewed_only_as_connections_are_taken()
    {
        using var kernel = new WorkerFakeKernel();
        Submission first = Assert.Single(kernel.Take());
        Assert.Equal((SubmissionOp.AcceptCredit, WorkerFakeKernel.ListenerId, 4u), (first.Op, first.Connection, first.Length));
        for (uint handle = 1; handle <= 4; handle++)
        {
            kernel.Write(new Completion { Kind = CompletionKind.Accepted, Connection = handle, Tag = WorkerFakeKernel.ListenerId });
        }

        kernel.Deliver();
        Assert.Empty(kernel.Take());
        Assert.Equal(1u, (await kernel.Queue.TakeAsync(default)).Handle);
        Assert.Equal(1u, Assert.Single(kernel.Take()).Length);
        Assert.Equal(2u, (await kernel.Queue.TakeAsync(default)).Handle);
        Assert.Equal(1u, Assert.Single(kernel.Take()).Length);
    }

    [Fact]
    public async Task A_connection_that_nobody_took_is_reset_when_its_listener_goes()
    {
        using var kernel = new WorkerFakeKernel();
        kernel.Write(new Completion { Kind = CompletionKind.Accepted, Connection = 1, Tag = WorkerFakeKernel.ListenerId });
        kernel.Deliver();
        kernel.Queue.Complete(new ObjectDisposedException("listener"));
        Assert.Equal([SubmissionOp.Abort], kernel.TakeOps());
        kernel.Write(new Completion { Kind = CompletionKind.Accepted, Connection = 2, Tag = WorkerFakeKernel.ListenerId });
        kernel.Deliver();
        Assert.Equal([SubmissionOp.Abort], kernel.TakeOps());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => kernel.Queue.TakeAsync(default).AsTask());
    }

    [Fact]
    public async Task A_receive_yields_the_page_itself()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Task<Received> receiving = connection.ReceiveAsync(1000, 5).AsTask();
        Submission asked = Assert.Single(kernel.Take(), submission => submission.Op == SubmissionOp.Receive);
        Assert.Equal((1u, 1000u, (ushort)5), (asked.Connection, asked.Length, asked.MaxFragments));
        Assert.False(receiving.IsCompleted);
        kernel.Data(1, "hello"u8.ToArray());
        Received received = await receiving;
        Assert.Equal((5, 1, false), (received.Length, received.Count, received.IsEnd));
        Assert.Equal("hello", Encoding.ASCII.GetString(received.FirstSpan));

        // No copy was made: what changes in the pool changes under the span.
        kernel.Page(0)[0] = (byte)'j';
        Assert.Equal("jello", Encoding.ASCII.GetString(received[0].Span));
        Assert.Empty(kernel.Take());
        received.Release();
        Assert.Equal([SubmissionOp.Release], kernel.TakeOps());
        Assert.Empty(kernel.Leases);
        Assert.Equal(0, kernel.Core.Counter(WorkerCounter.RxPayloadCopiedBytes));
        Assert.Equal(1, kernel.Core.Counter(WorkerCounter.Receives));
    }

    [Fact]
    public async Task Fragments_of_one_receive_are_gathered_in_order()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        kernel.WriteData(1, 0, 3, more: true);
        kernel.Deliver();
        Assert.False(receiving.IsCompleted);
        kernel.WriteData(1, 1, 4, more: true);
        kernel.WriteData(1, 2, 5);
        "abc"u8.CopyTo(kernel.Page(0));
        "defg"u8.CopyTo(kernel.Page(1));
        "hijkl"u8.CopyTo(kernel.Page(2));
        kernel.Deliver();
        Received received = await receiving;
        Assert.Equal((12, 3), (received.Length, received.Count));
        Assert.Equal("abcdefghijkl", Encoding.ASCII.GetString(received.AsSequence().ToArray()));
        var lengths = new List<int>();
        foreach (Lease lease in received)
        {
            lengths.Add(lease.Length);
        }

        Assert.Equal([3, 4, 5], lengths);
        byte[] copy = new byte[12];
        received.CopyTo(copy);
        Assert.Equal("abcdefghijkl"u8.ToArray(), copy);
        Assert.Equal(12, kernel.Core.Counter(WorkerCounter.RxPayloadCopiedBytes));
        received[1].Release();
        Assert.Equal([SubmissionOp.Receive, SubmissionOp.Release], kernel.TakeOps());
        Assert.Equal(2, kernel.Leases.Count);
        received.Dispose();
        Assert.Equal([SubmissionOp.Release, SubmissionOp.Release], kernel.TakeOps());
        received.Dispose();
        Assert.Empty(kernel.TakeOps());
        Assert.Empty(kernel.Leases);
    }

    [Fact]
    public async Task Receiving_into_a_buffer_copies_counts_and_releases_at_once()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        byte[] buffer = new byte[16];
        Task<int> receiving = connection.ReceiveAsync(buffer.AsMemory()).AsTask();
        Assert.Equal(16u, kernel.Take().Single(submission => submission.Op == SubmissionOp.Receive).Length);
        kernel.Data(1, "abc"u8.ToArray(), "def"u8.ToArray());
        Assert.Equal(6, await receiving);
        Assert.Equal("abcdef", Encoding.ASCII.GetString(buffer, 0, 6));
        Assert.Equal([SubmissionOp.Release, SubmissionOp.Release], kernel.TakeOps());
        Assert.Equal(6, kernel.Core.Counter(WorkerCounter.RxPayloadCopiedBytes));
        Task<int> last = connection.ReceiveAsync(buffer.AsMemory()).AsTask();
        kernel.Tell(CompletionKind.PeerClosed, 1);
        Assert.Equal(0, await last);
        Assert.Equal(0, await connection.ReceiveAsync(buffer.AsMemory()));
    }

    [Fact]
    public async Task Data_that_comes_after_a_cancelled_receive_is_kept_for_the_next()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        using var cancellation = new CancellationTokenSource();
        Task<Received> receiving = connection.ReceiveAsync(cancellation: cancellation.Token).AsTask();
        Assert.Equal([SubmissionOp.Receive], kernel.TakeOps());
        await cancellation.CancelAsync();
        Assert.Equal(cancellation.Token, (await Assert.ThrowsAnyAsync<OperationCanceledException>(() => receiving)).CancellationToken);

        // The kernel still has the receive; waiting again needs no other.
        Task<Received> again = connection.ReceiveAsync().AsTask();
        Assert.Empty(kernel.TakeOps());
        kernel.Data(1, "kept"u8.ToArray());
        Assert.Equal("kept", Encoding.ASCII.GetString((await again).FirstSpan));

        using var second = new CancellationTokenSource();
        receiving = connection.ReceiveAsync(cancellation: second.Token).AsTask();
        await second.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => receiving);
        kernel.Take();
        kernel.Data(1, "too"u8.ToArray());
        Assert.Empty(kernel.TakeOps());
        Task<Received> ready = connection.ReceiveAsync().AsTask();
        Assert.True(ready.IsCompletedSuccessfully);
        Assert.Equal("too", Encoding.ASCII.GetString((await ready).FirstSpan));
    }

    [Fact]
    public async Task What_a_small_buffer_leaves_over_comes_with_the_next_receive()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        using var cancellation = new CancellationTokenSource();
        Task<Received> receiving = connection.ReceiveAsync(cancellation: cancellation.Token).AsTask();
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => receiving);
        kernel.Data(1, "abcd"u8.ToArray(), "efgh"u8.ToArray(), "ijkl"u8.ToArray());
        kernel.Take();
        byte[] buffer = new byte[6];
        Assert.Equal(6, await connection.ReceiveAsync(buffer.AsMemory()));
        Assert.Equal("abcdef", Encoding.ASCII.GetString(buffer));
        Assert.Equal([SubmissionOp.Release], kernel.TakeOps());
        Received rest = await connection.ReceiveAsync();
        Assert.Equal((6, 2), (rest.Length, rest.Count));
        Assert.Equal("ghijkl", Encoding.ASCII.GetString(rest.AsSequence().ToArray()));

        // The kernel would send the whole page, "ef" too.
        await Assert.ThrowsAsync<InvalidOperationException>(() => connection.SendAsync(rest[0]).AsTask());
        rest.Dispose();
        kernel.Take();
        Assert.Empty(kernel.Leases);
        Assert.Equal(6, kernel.Core.Counter(WorkerCounter.RxPayloadCopiedBytes));
    }

    [Fact]
    public async Task The_peers_close_ends_the_stream_once_and_for_all()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        kernel.Tell(CompletionKind.PeerClosed, 1);
        Assert.True((await receiving).IsEnd);
        kernel.Take();
        Assert.True((await connection.ReceiveAsync()).IsEnd);
        Assert.Empty(kernel.TakeOps());
    }

    [Theory]
    [InlineData(CompletionStatus.ConnectionReset, typeof(ConnectionResetException))]
    [InlineData(CompletionStatus.TimedOut, typeof(ConnectionTimedOutException))]
    [InlineData(CompletionStatus.Aborted, typeof(ConnectionAbortedException))]
    [InlineData(CompletionStatus.HostUnreachable, typeof(ConnectionFailedException))]
    public async Task A_failed_connection_fails_its_receive_and_all_later_ones(CompletionStatus status, Type exception)
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        kernel.Tell(CompletionKind.Failed, 1, status);
        await Assert.ThrowsAsync(exception, () => receiving);
        Assert.Equal(status, ((ConnectionFailedException)await Assert.ThrowsAsync(exception, () => connection.ReceiveAsync().AsTask())).Status);
        Assert.False(connection.IsAlive);
        kernel.Take();
        await connection.DisposeAsync();
        Assert.Equal([SubmissionOp.Close], kernel.TakeOps());
    }

    [Fact]
    public async Task Data_for_a_closed_connection_is_given_back()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        kernel.WriteData(1, 0, 10, more: true);
        kernel.Deliver();
        await connection.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => receiving);
        kernel.WriteData(1, 1, 10);
        kernel.Deliver();
        Assert.Equal([SubmissionOp.Receive, SubmissionOp.Release, SubmissionOp.Close, SubmissionOp.Release], kernel.TakeOps());
        Assert.Empty(kernel.Leases);
        Assert.Equal(1, kernel.Core.Holds);
    }

    [Fact]
    public async Task A_handle_can_be_used_again_after_its_close()
    {
        using var kernel = new WorkerFakeKernel();
        Connection first = kernel.Accept(5);
        first.Abort();
        Connection second = kernel.Accept(5);
        Task<Received> receiving = second.ReceiveAsync().AsTask();
        kernel.Data(5, "x"u8.ToArray());
        Assert.True(receiving.IsCompletedSuccessfully);
        await Assert.ThrowsAsync<ConnectionAbortedException>(() => first.ReceiveAsync().AsTask());
    }

    [Fact]
    public async Task On_the_thread_pool_data_reaches_a_waiting_caller_too()
    {
        using var kernel = new WorkerFakeKernel(scheduling: WorkerScheduling.ThreadPool);
        Connection connection = kernel.Accept();
        kernel.Core.Start("worker under test");
        for (int i = 0; i < 200; i++)
        {
            ValueTask<Received> receiving = connection.ReceiveAsync();
            kernel.WriteData(1, BitConverter.GetBytes(i));
            kernel.Publish();
            using Received received = await receiving;
            Assert.Equal(i, BitConverter.ToInt32(received.FirstSpan));
            kernel.Drain();
        }
    }
}
