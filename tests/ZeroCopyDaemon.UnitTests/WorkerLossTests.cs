using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.UnitTests;

public sealed class WorkerLossTests
{
    [Theory]
    [InlineData(WorkerScheduling.Inline)]
    [InlineData(WorkerScheduling.ThreadPool)]
    public async Task Everything_pending_fails_once_with_one_type(WorkerScheduling scheduling)
    {
        using var kernel = new WorkerFakeKernel(completionEntries: 512, maxSends: 1, scheduling: scheduling);
        var pending = new List<Task>();
        for (uint handle = 1; handle <= 50; handle++)
        {
            Connection connection = kernel.Accept(handle);
            pending.Add(handle % 2 == 0 ? connection.ReceiveAsync().AsTask() : connection.ReceiveAsync(new byte[10].AsMemory()).AsTask());
            await connection.SendAsync("in flight"u8.ToArray().AsMemory());
            pending.Add(connection.SendAsync("queued"u8.ToArray().AsMemory()).AsTask());
            pending.Add(connection.FlushAsync().AsTask());
            kernel.Drain();
        }

        while (kernel.Core.Tx.TryRent(1024, out _))
        {
        }

        pending.Add(kernel.Core.Tx.RentAsync(1, default).AsTask());
        pending.Add(kernel.Queue.TakeAsync(default).AsTask());
        Assert.All(pending, task => Assert.False(task.IsCompleted));
        Assert.True(pending.Count > 100);

        kernel.Core.Start("worker under test");
        kernel.Core.Fail(DetachReason.None);
        kernel.Core.Fail(DetachReason.Shutdown);
        KernelLostException lost = await kernel.Core.Lost.WaitAsync(TimeSpan.FromSeconds(10));
        Assert.Equal(DetachReason.None, lost.Reason);
        foreach (Task task in pending)
        {
            KernelLostException error = await Assert.ThrowsAsync<KernelLostException>(() => task.WaitAsync(TimeSpan.FromSeconds(10)));
            Assert.Equal(DetachReason.None, error.Reason);
            Assert.NotSame(lost, error);
        }
    }

    [Fact]
    public async Task Everything_later_fails_the_same_way()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        kernel.Data(1, "data"u8.ToArray(), "more"u8.ToArray());
        Received received = await receiving;
        Assert.True(connection.TryRentTx(1, out TxBuffer buffer));
        kernel.Detach(DetachReason.BadLease);

        // The kernel's own word counts before the loop has seen it: the page may be somebody else's already.
        Assert.Equal(DetachReason.BadLease, Assert.Throws<KernelLostException>(() => received[0].Span.Length).Reason);
        Assert.Throws<KernelLostException>(() => received.CopyTo(new byte[10]));
        kernel.Core.RunOnce();
        await Assert.ThrowsAsync<KernelLostException>(() => connection.ReceiveAsync().AsTask());
        await Assert.ThrowsAsync<KernelLostException>(() => connection.ReceiveAsync(new byte[1].AsMemory()).AsTask());
        await Assert.ThrowsAsync<KernelLostException>(() => connection.SendAsync("x"u8.ToArray().AsMemory()).AsTask());
        await Assert.ThrowsAsync<KernelLostException>(() => connection.SendAsync(buffer, 1).AsTask());
        await Assert.ThrowsAsync<KernelLostException>(() => connection.SendAsync(received[0]).AsTask());
        await Assert.ThrowsAsync<KernelLostException>(() => connection.FlushAsync().AsTask());
        await Assert.ThrowsAsync<KernelLostException>(() => connection.RentTxAsync(1).AsTask());
        await Assert.ThrowsAsync<KernelLostException>(() => kernel.Queue.TakeAsync(default).AsTask());
        Assert.False(connection.TryRentTx(1, out _));
        Assert.Contains("BadLease", (await kernel.Core.Lost).Reason.ToString(), StringComparison.Ordinal);

        // Cleaning up is not an error.
        connection.ShutdownSend();
        received.Dispose();
        connection.Abort();
        await connection.DisposeAsync();
    }

    [Fact]
    public async Task Data_that_was_not_copied_before_the_loss_is_not_delivered_after_it()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Task<int> receiving = CopyLater(connection, kernel);
        await Assert.ThrowsAsync<KernelLostException>(() => receiving);
        kernel.Core.RunOnce();
        Assert.Equal(1, kernel.Core.Holds);

        static async Task<int> CopyLater(Connection connection, WorkerFakeKernel kernel)
        {
            byte[] buffer = new byte[10];
            ValueTask<int> receiving = connection.ReceiveAsync(buffer.AsMemory());
            kernel.Data(1, "data"u8.ToArray());
            Assert.True(receiving.IsCompleted);
            kernel.Detach(DetachReason.Shutdown);
            return await receiving;
        }
    }

    [Fact]
    public async Task A_doorbell_that_nobody_hears_means_that_the_kernel_is_gone()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        kernel.Sleeping = true;
        kernel.Answers = false;
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        kernel.Core.RunOnce();
        Assert.Equal(DetachReason.None, (await Assert.ThrowsAsync<KernelLostException>(() => receiving)).Reason);
    }

    [Fact]
    public async Task Leases_and_buffers_that_outlive_the_client_keep_the_memory_mapped()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        kernel.Data(1, "a"u8.ToArray(), "b"u8.ToArray());
        Received received = await receiving;
        Assert.True(connection.TryRentTx(1, out TxBuffer buffer));
        kernel.Core.Fail(DetachReason.Requested);
        kernel.Core.RunOnce();

        // The client's own hold; the harness gives it back at the end.
        Assert.Equal(3, kernel.Core.Holds);
        received[0].Release();
        Assert.Equal(3, kernel.Core.Holds);
        received[1].Release();
        buffer.Dispose();
        Assert.Equal(1, kernel.Core.Holds);
        Assert.False(kernel.Unmapped);
        kernel.Dispose();
        Assert.True(kernel.Unmapped);
    }

    [Fact]
    public async Task A_kernel_that_breaks_the_protocol_is_left()
    {
        Assert.Contains("outside of the RX area", await Broken(new Completion { Kind = CompletionKind.Data, Connection = 1, Area = WorkerAreaLayout.RxArea, Value = 1 << 20, Length = 1 }), StringComparison.Ordinal);
        Assert.Contains("outside of the RX area", await Broken(new Completion { Kind = CompletionKind.Data, Connection = 1, Area = 9, Length = 1 }), StringComparison.Ordinal);
        Assert.Contains("isn't outstanding", await Broken(new Completion { Kind = CompletionKind.Sent, Tag = 77 }), StringComparison.Ordinal);
        Assert.Contains("in use", await Broken(new Completion { Kind = CompletionKind.Accepted, Connection = 1, Tag = WorkerFakeKernel.ListenerId }), StringComparison.Ordinal);
        Assert.Contains("unexpected kind", await Broken(default), StringComparison.Ordinal);

        static async Task<string> Broken(Completion completion)
        {
            using var kernel = new WorkerFakeKernel();
            Connection connection = kernel.Accept(1);
            Task<Received> receiving = connection.ReceiveAsync().AsTask();
            kernel.Write(completion);
            kernel.Deliver();
            kernel.Core.RunOnce();
            return (await Assert.ThrowsAsync<KernelLostException>(() => receiving)).Message;
        }
    }
}
