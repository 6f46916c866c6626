using System.Diagnostics;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.UnitTests;

public sealed class WorkerLoopTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    [Fact]
    public async Task Submissions_that_find_their_ring_full_wait_and_go_out_in_order()
    {
        using var kernel = new WorkerFakeKernel(submissionEntries: 16, maxSends: 64);
        Connection connection = kernel.Accept();
        kernel.Take();
        for (byte i = 0; i < 40; i++)
        {
            Assert.True(connection.TryRentTx(1, out TxBuffer buffer));
            buffer.Span[0] = i;
            await connection.SendAsync(buffer, 1);
        }

        Task closing = connection.DisposeAsync().AsTask();
        Assert.False(closing.IsCompleted);
        var seen = new List<Submission>();
        for (int turn = 0; turn < 10 && seen.Count < 41; turn++)
        {
            seen.AddRange(kernel.Take());
            kernel.Core.RunOnce();
        }

        Assert.Equal(Enumerable.Range(0, 40), seen[..40].Select(send => (int)kernel.TxBytes(send)[0]));
        Assert.Equal(SubmissionOp.Close, seen[40].Op);
        await closing.WaitAsync(s_patience);
    }

    [Fact]
    public async Task A_sleeping_loop_moves_waiting_submissions_on_as_the_kernel_makes_room()
    {
        using var kernel = new WorkerFakeKernel(submissionEntries: 16, maxSends: 64);
        Connection connection = kernel.Accept();
        kernel.Take();
        kernel.Core.Start("worker under test");
        await UntilAsync(() => kernel.WorkerSleeps);
        for (int i = 0; i < 40; i++)
        {
            Assert.True(connection.TryRentTx(1, out TxBuffer buffer));
            await connection.SendAsync(buffer, 1);
        }

        // No completion and no doorbell comes from the kernel: it only reads.
        int seen = 0;
        await UntilAsync(() => (seen += kernel.Discard()) == 40);
        await kernel.Core.WhenAllPublished().WaitAsync(s_patience);
    }

    [Fact]
    public async Task A_full_completion_ring_loses_nothing_and_its_kernel_is_told_of_the_room()
    {
        using var kernel = new WorkerFakeKernel(completionEntries: 16);
        Connection connection = kernel.Accept();
        kernel.Take();
        long received = 0;
        int written = 0;
        kernel.Sleeping = true;
        while (kernel.TryWrite(new Completion
        {
            Kind = CompletionKind.Data, Flags = CompletionFlags.More, Area = WorkerAreaLayout.RxArea, Connection = 1, Lease = (ulong)(1000 + written), Value = 0, Length = 1,
        }))
        {
            written++;
        }

        Assert.Equal(16, written);
        Assert.True(kernel.IsCompletionRingFull);
        Task<Received> receiving = connection.ReceiveAsync(cancellation: default).AsTask();
        int before = kernel.BellsHeard;
        kernel.Deliver();
        Assert.Equal(before + 1, kernel.BellsHeard);
        kernel.WriteData(1, 0, 1);
        kernel.Deliver();

        // The ring was not full this time.
        Assert.Equal(before + 1, kernel.BellsHeard);
        Received all = await receiving;
        received = all.Length;
        Assert.Equal(17, received);
    }

    [Fact]
    public async Task The_kernel_is_rung_only_when_it_sleeps_and_once_a_batch()
    {
        using var kernel = new WorkerFakeKernel();
        Connection connection = kernel.Accept();
        Assert.Equal(0, kernel.BellsHeard);
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        Assert.Equal(0, kernel.BellsHeard);
        kernel.Data(1, [.. Enumerable.Range(0, 20).Select(i => new[] { (byte)i })]);
        kernel.Sleeping = true;
        (await receiving).Release();
        Assert.Equal(1, kernel.BellsHeard);
        Assert.Equal(1, kernel.Core.Counter(WorkerCounter.KernelBells));
        kernel.Sleeping = false;
        receiving = connection.ReceiveAsync().AsTask();
        Assert.Equal(1, kernel.BellsHeard);

        // What an inline continuation submits goes out with the loop's batch: one doorbell for release and receive.
        kernel.Take();
        kernel.Sleeping = true;
        int bells = kernel.BellsHeard;
        Task answering = AnswerAsync();
        kernel.Data(1, "x"u8.ToArray());
        await answering;
        Assert.Equal(bells + 1, kernel.BellsHeard);
        Assert.Equal([SubmissionOp.Release, SubmissionOp.Shutdown], kernel.TakeOps());

        async Task AnswerAsync()
        {
            (await receiving).Release();
            connection.ShutdownSend();
        }
    }

    [Fact]
    public async Task An_idle_loop_sleeps_and_is_woken_by_a_doorbell()
    {
        using var kernel = new WorkerFakeKernel(scheduling: WorkerScheduling.ThreadPool);
        Connection connection = kernel.Accept();
        kernel.Core.Start("worker under test");
        for (int i = 0; i < 20; i++)
        {
            await UntilAsync(() => kernel.WorkerSleeps);
            long sleeps = kernel.Core.Counter(WorkerCounter.Sleeps);
            await Task.Delay(5);
            Assert.Equal(sleeps, kernel.Core.Counter(WorkerCounter.Sleeps));
            ValueTask<Received> receiving = connection.ReceiveAsync();
            kernel.Drain();
            kernel.WriteData(1, "wake"u8.ToArray());
            kernel.Publish();
            using Received received = await receiving.AsTask().WaitAsync(s_patience);
            Assert.Equal(4, received.Length);
        }
    }

    [Fact]
    public async Task A_loop_that_may_spin_serves_without_falling_asleep_each_time()
    {
        using var kernel = new WorkerFakeKernel(scheduling: WorkerScheduling.ThreadPool, spin: true);
        Connection connection = kernel.Accept();
        kernel.Core.Start("worker under test");
        var watch = Stopwatch.StartNew();
        int rounds = 0;
        while (rounds < 2000 && watch.Elapsed < s_patience)
        {
            Task<Received> receiving = connection.ReceiveAsync().AsTask();
            kernel.WriteData(1, "x"u8.ToArray());
            kernel.Publish();
            (await receiving.WaitAsync(s_patience)).Release();
            kernel.Drain();
            rounds++;
        }

        Assert.Equal(2000, rounds);
        Assert.Empty(kernel.Leases);
    }

    [Fact]
    public async Task Many_connections_on_many_threads_get_each_byte_once_and_in_order()
    {
        const int Connections = 16;
        const int Rounds = 300;
        using var kernel = new WorkerFakeKernel(submissionEntries: 32, completionEntries: 64, pages: 64, scheduling: WorkerScheduling.ThreadPool, maxSends: 4);
        Connection[] connections = [.. Enumerable.Range(1, Connections).Select(handle => kernel.Accept((uint)handle))];
        kernel.Take();
        kernel.Core.Start("worker under test");
        Task<int>[] echoes = [.. connections.Select(connection => Task.Run(() => EchoAsync(connection)))];
        Task all = Task.WhenAll(echoes);
        int[] next = new int[Connections + 1];
        int[] echoed = new int[Connections + 1];
        var watch = Stopwatch.StartNew();
        while (!all.IsCompleted && watch.Elapsed < s_patience)
        {
            // Pages carry connection and round, so that an echo of anything else shows.
            foreach (Submission submission in kernel.Take())
            {
                int handle = (int)submission.Connection;
                switch (submission.Op)
                {
                    case SubmissionOp.Receive when next[handle] < Rounds:
                        BitConverter.TryWriteBytes(kernel.Page(handle), next[handle]++);
                        kernel.WriteData((uint)handle, handle, 4);
                        break;
                    case SubmissionOp.Receive:
                        kernel.Write(new Completion { Kind = CompletionKind.PeerClosed, Connection = (uint)handle });
                        break;
                    case SubmissionOp.SendRange:
                        Assert.Equal(echoed[handle]++, BitConverter.ToInt32(kernel.TxBytes(submission)));
                        kernel.Write(new Completion { Kind = CompletionKind.Sent, Connection = (uint)handle, Tag = submission.Tag });
                        break;
                }
            }

            kernel.Publish();
            Thread.Yield();
        }

        await all.WaitAsync(s_patience);
        Assert.All(echoes, echo => Assert.Equal(Rounds, echo.Result));
        Assert.All(echoed[1..], count => Assert.Equal(Rounds, count));
        await UntilAsync(() =>
        {
            kernel.Drain();
            return kernel.Leases.Count == 0;
        });

        static async Task<int> EchoAsync(Connection connection)
        {
            int rounds = 0;
            while (true)
            {
                using Received received = await connection.ReceiveAsync();
                if (received.IsEnd)
                {
                    return rounds;
                }

                Assert.Equal(rounds++, BitConverter.ToInt32(received.FirstSpan));
                TxBuffer buffer = await connection.RentTxAsync(4);
                received.FirstSpan.CopyTo(buffer.Span);
                await connection.SendAsync(buffer, 4);
            }
        }
    }

    [Theory]
    [InlineData(WorkerScheduling.ThreadPool)]
    [InlineData(WorkerScheduling.Inline)]
    public async Task Cancelling_at_random_moments_loses_no_byte(WorkerScheduling scheduling)
    {
        const int Numbers = 4000;
        using var kernel = new WorkerFakeKernel(pages: 64, scheduling: scheduling);
        Connection connection = kernel.Accept();
        kernel.Take();
        kernel.Core.Start("worker under test");
        CancellationTokenSource? current = null;
        using var over = new CancellationTokenSource();
        Task canceller = Task.Run(() =>
        {
            var random = new Random(5);
            while (!over.IsCancellationRequested)
            {
                Thread.SpinWait(random.Next(3000));
                Volatile.Read(ref current)?.Cancel();
            }
        });
        Task<(int Cancelled, int Read)> reader = Task.Run(ReadAsync);
        int next = 0;
        var watch = Stopwatch.StartNew();
        while (!reader.IsCompleted && watch.Elapsed < s_patience)
        {
            foreach (Submission submission in kernel.Take())
            {
                if (submission.Op == SubmissionOp.Receive && next < Numbers)
                {
                    // Two numbers to a receive: the copying form with room for one leaves the other over.
                    kernel.WriteData(1, BitConverter.GetBytes(next), BitConverter.GetBytes(next + 1));
                    next += 2;
                }
                else if (submission.Op == SubmissionOp.Receive)
                {
                    kernel.Write(new Completion { Kind = CompletionKind.PeerClosed, Connection = 1 });
                }
            }

            kernel.Publish();
            Thread.Yield();
        }

        (int Cancelled, int Read) result = await reader.WaitAsync(s_patience);
        await over.CancelAsync();
        await canceller;
        Assert.Equal(Numbers, result.Read);
        Assert.True(result.Cancelled > 0, "Nothing was cancelled, so nothing was tested.");
        await UntilAsync(() =>
        {
            kernel.Drain();
            return kernel.Leases.Count == 0;
        });

        async Task<(int Cancelled, int Read)> ReadAsync()
        {
            int cancelled = 0;
            int expected = 0;
            byte[] buffer = new byte[4];
            while (true)
            {
                var source = new CancellationTokenSource();
                Volatile.Write(ref current, source);
                try
                {
                    if (expected % 3 == 0)
                    {
                        int length = await connection.ReceiveAsync(buffer.AsMemory(), source.Token);
                        if (length == 0)
                        {
                            return (cancelled, expected);
                        }

                        Assert.Equal(4, length);
                        Assert.Equal(expected++, BitConverter.ToInt32(buffer));
                        continue;
                    }

                    using Received received = await connection.ReceiveAsync(cancellation: source.Token);
                    if (received.IsEnd)
                    {
                        return (cancelled, expected);
                    }

                    foreach (Lease lease in received)
                    {
                        Assert.Equal(expected++, BitConverter.ToInt32(lease.Span));
                    }
                }
                catch (OperationCanceledException)
                {
                    cancelled++;
                }
            }
        }
    }

    private static async Task UntilAsync(Func<bool> condition)
    {
        var watch = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(watch.Elapsed < s_patience, "Waited in vain.");
            await Task.Delay(1);
        }
    }
}
