using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Alone: what other tests allocate meanwhile would be counted.</summary>
[CollectionDefinition(nameof(WorkerAllocationTests), DisableParallelization = true)]
[Collection(nameof(WorkerAllocationTests))]
public sealed class WorkerAllocationTests
{
    private const int WarmUp = 2_000;
    private const int Rounds = 10_000;
    private const int SmallestObjectBytes = 24;

    [Fact]
    public void Receiving_and_releasing_allocates_nothing()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Measure(kernel, () => ReceiveRounds(connection));

        static async Task ReceiveRounds(Connection connection)
        {
            while (true)
            {
                Received received = await connection.ReceiveAsync();
                if (received.IsEnd)
                {
                    return;
                }

                _ = received.FirstSpan[0];
                received.Release();
            }
        }
    }

    [Fact]
    public void Echoing_leases_allocates_nothing()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Measure(kernel, () => EchoRounds(connection));

        static async Task EchoRounds(Connection connection)
        {
            while (true)
            {
                Received received = await connection.ReceiveAsync();
                if (received.IsEnd)
                {
                    return;
                }

                await connection.SendAsync(received);
                await connection.FlushAsync();
            }
        }
    }

    [Fact]
    public void Receiving_into_a_buffer_and_sending_from_one_allocates_nothing_with_a_token_too()
    {
        using var kernel = new WorkerFakeKernel();
        using var cancellation = new CancellationTokenSource();
        Connection connection = kernel.Accept();
        CancellationToken token = cancellation.Token;
        Measure(kernel, () => CopyRounds(connection, token));

        static async Task CopyRounds(Connection connection, CancellationToken token)
        {
            byte[] buffer = new byte[4096];
            while (true)
            {
                int received = await connection.ReceiveAsync(buffer.AsMemory(), token);
                if (received == 0)
                {
                    return;
                }

                await connection.SendAsync(buffer.AsMemory(0, received), token);
                TxBuffer tx = await connection.RentTxAsync(100, token);
                tx.Span[0] = 1;
                await connection.SendAsync(tx, 100);
            }
        }
    }

    [Fact]
    public async Task With_loop_thread_and_thread_pool_receiving_allocates_nothing_either()
    {
        using var kernel = new WorkerFakeKernel(scheduling: WorkerScheduling.ThreadPool);
        Connection connection = kernel.Accept();
        kernel.Core.Start("worker under test");
        long completed = 0;
        Task receiving = Task.Run(async () =>
        {
            while (true)
            {
                Received received = await connection.ReceiveAsync();
                if (received.IsEnd)
                {
                    return;
                }

                received.Release();
                Volatile.Write(ref completed, completed + 1);
            }
        });
        Serve(WarmUp);
        long before = GC.GetTotalAllocatedBytes(precise: true);
        Serve(WarmUp + Rounds);
        long allocated = GC.GetTotalAllocatedBytes(precise: true) - before;
        kernel.Write(new Completion { Kind = CompletionKind.PeerClosed, Connection = 1 });
        kernel.Publish();
        await receiving;

        // The whole process is counted here, and the runtime and the test runner take a block for themselves now and then. One object in each round would be 24 bytes a round at least.
        Assert.InRange(allocated, 0, Rounds * SmallestObjectBytes / 4);

        void Serve(int until)
        {
            long start = Environment.TickCount64;
            while (Volatile.Read(ref completed) < until)
            {
                kernel.Serve(page: 0, length: 100);
                Assert.True(Environment.TickCount64 - start < 60_000, "Waited in vain.");
                Thread.Yield();
            }
        }
    }

    /// <summary>Loop, application and kernel on one thread, so that its allocation is exactly theirs.</summary>
    private static void Measure(WorkerFakeKernel kernel, Func<Task> application)
    {
        Task running = application();
        Run(WarmUp);
        long before = GC.GetAllocatedBytesForCurrentThread();
        long receives = kernel.Core.Counter(WorkerCounter.Receives);
        Run(Rounds);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.Equal(Rounds, kernel.Core.Counter(WorkerCounter.Receives) - receives);
        Assert.Equal(0, allocated);
        Assert.False(running.IsCompleted);
        kernel.Tell(CompletionKind.PeerClosed, 1);
        for (int i = 0; i < 3; i++)
        {
            kernel.Serve(page: 0, length: 100);
            kernel.Core.RunOnce();
        }

        void Run(int rounds)
        {
            long goal = kernel.Core.Counter(WorkerCounter.Receives) + rounds;
            for (int turns = 0; kernel.Core.Counter(WorkerCounter.Receives) < goal; turns++)
            {
                kernel.Serve(page: 0, length: 100);
                kernel.Core.RunOnce();
                if (turns > 10 * rounds)
                {
                    Assert.Fail("The application came to a standstill.");
                }
            }
        }
    }
}
