using System.Diagnostics;
using System.Globalization;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Mapping;
using ZeroCopyDaemon.Memory.Native;
using ZeroCopyDaemon.Memory.Rings;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>
/// Both doorbells and both rings at once, as a kernel host and a worker use them: each side sleeps whenever it finds nothing, so that every wake-up that is lost shows as a sleep to the end of its time.
/// ZCD_TEST_PING_PONGS runs more rounds than the default.
/// </summary>
public sealed unsafe class DoorbellPingPongTests : IDisposable
{
    private const int Bell = 128;
    private const int KernelSleeping = 192;
    private const int CompletionTail = 256;
    private const int SubmissionHead = 320;
    private const int SubmissionTail = 0;
    private const int CompletionHead = 64;
    private const int WorkerSleeping = 128;
    private const int Entries = 512;
    private const int Capacity = 16;
    private const int AreaBytes = 4096;
    private const long TooLongUs = 5_000_000;

    private readonly string _directory = Directory.CreateTempSubdirectory("zcd-pingpong-").FullName;
    private int _lost;
    private long _workerSleeps;
    private long _kernelSleeps;

    [Theory]
    [InlineData("BothWords")]
    [InlineData("BellOnly")]
    public void No_wake_up_is_lost_in_either_direction(string way)
    {
        if (!Linux.IsSupported)
        {
            Assert.Skip("Needs futex and FIFO.");
        }

        int rounds = int.TryParse(Environment.GetEnvironmentVariable("ZCD_TEST_PING_PONGS"), NumberStyles.None, CultureInfo.InvariantCulture, out int more) ? more : 250_000;
        Play(rounds, Enum.Parse<WorkerSleeper.SleepWay>(way), portable: false);

        // A run in which nobody slept has shown nothing.
        Assert.True(_workerSleeps > rounds / 100 && _kernelSleeps > rounds / 100, $"slept {_workerSleeps} and {_kernelSleeps} times");
    }

    [Fact]
    public void The_portable_ways_lose_none_either()
    {
        Play(300, WorkerSleeper.SleepWay.Poll, portable: true);
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private void Play(int rounds, WorkerSleeper.SleepWay way, bool portable)
    {
        using SharedRegion kernelArea = portable
            ? SharedRegion.CreateFile("kernel", AreaBytes, _directory, prefault: false, progress: null)
            : SharedRegion.Create("kernel", AreaBytes, _directory);
        kernelArea.SealReadOnlyForOthers();
        using SharedRegion workerArea = portable
            ? SharedRegion.CreateFile("worker", AreaBytes, _directory, prefault: false, progress: null)
            : SharedRegion.Create("worker", AreaBytes, _directory);
        workerArea.SealSize();
        string bellPath = Path.Combine(_directory, "bell");
        using KernelBellReader reader = KernelBellReader.Create(bellPath, portable);
        using var set = new PollSet(portable, nanoseconds: Linux.HasEpollPwait2);
        set.Add(reader.Fd, 1, read: true, write: false);

        var worker = new Thread(() => RunWorker(rounds, way, portable, kernelArea.Path, workerArea.Path, bellPath));
        worker.Start();
        RunKernel(rounds, kernelArea, workerArea, reader, set, futex: way != WorkerSleeper.SleepWay.Poll);
        worker.Join();
        Assert.Equal(0, _lost);
    }

    /// <summary>Sends the numbers from 1 on and wants each back.</summary>
    private void RunKernel(int rounds, SharedRegion own, SharedRegion workers, KernelBellReader reader, PollSet set, bool futex)
    {
        var completions = new RingProducer<ulong>(own.Address + Entries, Capacity, own.Address + CompletionTail, workers.Address + CompletionHead);
        var submissions = new RingConsumer<ulong>(workers.Address + Entries, Capacity, own.Address + SubmissionHead, workers.Address + SubmissionTail);
        var bell = new WorkerBell(own.Address + Bell, workers.Address + WorkerSleeping, futex);
        ref uint sleeping = ref *(uint*)(own.Address + KernelSleeping);
        Span<PollEvent> events = stackalloc PollEvent[2];
        var random = new Random(3);
        for (ulong i = 1; i <= (ulong)rounds; i++)
        {
            Assert.True(completions.TryWrite(i));
            completions.Publish();
            bell.RingIfAsleep();
            Thread.SpinWait(random.Next(50));
            ulong answer;
            while (!submissions.TryRead(out answer))
            {
                Volatile.Write(ref sleeping, 1);
                Interlocked.MemoryBarrier();
                if (submissions.Available == 0)
                {
                    long start = Stopwatch.GetTimestamp();
                    set.Wait(events, TooLongUs);
                    _kernelSleeps++;
                    if (CountLoss(start))
                    {
                        return;
                    }

                    reader.Drain();
                }

                Volatile.Write(ref sleeping, 0);
            }

            Assert.Equal(i, answer);
            submissions.Retire();
        }
    }

    /// <summary>Sends back what comes.</summary>
    private void RunWorker(int rounds, WorkerSleeper.SleepWay way, bool portable, string kernelPath, string workerPath, string bellPath)
    {
        using SharedRegion kernels = SharedRegion.Open(kernelPath, AreaBytes, writable: false);
        using SharedRegion own = SharedRegion.Open(workerPath, AreaBytes, writable: true);
        using KernelBellWriter bell = KernelBellWriter.Open(bellPath, portable);
        var completions = new RingConsumer<ulong>(kernels.Address + Entries, Capacity, own.Address + CompletionHead, kernels.Address + CompletionTail);
        var submissions = new RingProducer<ulong>(own.Address + Entries, Capacity, own.Address + SubmissionTail, kernels.Address + SubmissionHead);
        var sleeper = new WorkerSleeper(kernels.Address + Bell, own.Address + WorkerSleeping, way);
        var random = new Random(4);
        for (int done = 0; done < rounds && Volatile.Read(ref _lost) == 0;)
        {
            if (completions.TryRead(out ulong number))
            {
                completions.Retire();
                submissions.TryWrite(number);
                submissions.Publish();
                bell.RingIfAsleep(kernels.Address + KernelSleeping, out _);
                done++;
                Thread.SpinWait(random.Next(50));
                continue;
            }

            sleeper.Announce();
            if (completions.Available == 0)
            {
                long start = Stopwatch.GetTimestamp();
                sleeper.Sleep(TooLongUs);
                _workerSleeps++;
                CountLoss(start);
            }

            sleeper.Cancel();
        }
    }

    private bool CountLoss(long start)
    {
        if (Stopwatch.GetElapsedTime(start).TotalMicroseconds < TooLongUs - 500_000)
        {
            return Volatile.Read(ref _lost) != 0;
        }

        Interlocked.Increment(ref _lost);
        return true;
    }
}
