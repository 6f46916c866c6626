using System.Diagnostics;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Mapping;
using ZeroCopyDaemon.Memory.Native;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>The worker's sleep on a bell word that it can only read, in both ways of Linux and the portable one.</summary>
public sealed unsafe class DoorbellSleepTests : IDisposable
{
    private const int BellOffset = 128;
    private const int SleepingOffset = 64;
    private const long SecondUs = 1_000_000;

    private readonly SharedRegion _kernelArea = SharedRegion.Create("zcd-kernel-area", 4096, Path.GetTempPath());
    private readonly SharedRegion _workerArea = SharedRegion.Create("zcd-worker-area", 4096, Path.GetTempPath());
    private readonly SharedRegion _kernelAreaSeenByWorker;

    public DoorbellSleepTests()
    {
        _kernelArea.SealReadOnlyForOthers();
        _kernelAreaSeenByWorker = SharedRegion.Open(_kernelArea.Path, 4096, writable: false);
    }

    public static TheoryData<string> Ways => OperatingSystem.IsLinux()
        ? new TheoryData<string>(nameof(WorkerSleeper.SleepWay.BothWords), nameof(WorkerSleeper.SleepWay.BellOnly), nameof(WorkerSleeper.SleepWay.Poll))
        : new TheoryData<string>(nameof(WorkerSleeper.SleepWay.Poll));

    private uint SleepingWord => Volatile.Read(ref *(uint*)(_workerArea.Address + SleepingOffset));

    [Theory]
    [MemberData(nameof(Ways))]
    public void Without_a_ring_it_sleeps_until_the_time_is_over(string way)
    {
        WorkerSleeper sleeper = Sleeper(way);
        Bell(way).Ring();
        sleeper.Announce();
        TimeSpan slept = Time(() =>
        {
            // May return early; not every time, though.
            for (int i = 0; i < 3; i++)
            {
                sleeper.Sleep(20_000);
            }
        });
        sleeper.Cancel();
        Assert.InRange(slept.TotalMilliseconds, 15, 5000);
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void A_ring_between_announcement_and_sleep_is_not_lost(string way)
    {
        WorkerSleeper sleeper = Sleeper(way);
        WorkerBell bell = Bell(way);
        sleeper.Announce();
        Assert.Equal(IsFutex(way), bell.RingIfAsleep());
        Assert.InRange(Time(() => sleeper.Sleep(10 * SecondUs)).TotalSeconds, 0, 5);
        sleeper.Cancel();
        Assert.Equal(1, bell.Rings);
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void A_ring_wakes_a_sleeper(string way)
    {
        WorkerSleeper sleeper = Sleeper(way);
        WorkerBell bell = Bell(way);
        sleeper.Announce();
        var ringer = new Thread(() =>
        {
            Thread.Sleep(50);
            bell.RingIfAsleep();
        });
        ringer.Start();
        Assert.InRange(Time(() => SleepUntilRung(sleeper, bell)).TotalSeconds, 0.02, 5);
        ringer.Join();
        sleeper.Cancel();
    }

    [Fact]
    public void Who_is_awake_is_not_rung_for_and_who_sleeps_only_once()
    {
        WorkerSleeper sleeper = Sleeper(nameof(WorkerSleeper.SleepWay.BothWords));
        WorkerBell bell = Bell(nameof(WorkerSleeper.SleepWay.BothWords));
        Assert.False(bell.RingIfAsleep());
        sleeper.Announce();
        Assert.NotEqual(0u, SleepingWord);
        Assert.True(bell.RingIfAsleep());
        Assert.False(bell.RingIfAsleep());
        sleeper.Cancel();
        Assert.Equal(0u, SleepingWord);
        Assert.False(bell.RingIfAsleep());

        // Said again, with or without having been seen awake in between: rung again.
        sleeper.Announce();
        Assert.True(bell.RingIfAsleep());
        sleeper.Announce();
        Assert.True(bell.RingIfAsleep());
        sleeper.Sleep(10 * SecondUs);
        Assert.Equal(3, bell.Rings);
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void An_interrupt_before_sleeping_holds_until_cancelled(string way)
    {
        WorkerSleeper sleeper = Sleeper(way);
        sleeper.Interrupt();
        for (int i = 0; i < 3; i++)
        {
            sleeper.Announce();
            Assert.InRange(Time(() => sleeper.Sleep(10 * SecondUs)).TotalSeconds, 0, 5);
        }

        sleeper.Cancel();
        sleeper.Announce();
        TimeSpan slept = Time(() =>
        {
            sleeper.Sleep(30_000);
            sleeper.Sleep(30_000);
        });
        Assert.InRange(slept.TotalMilliseconds, 20, 5000);
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void No_interrupt_is_lost_whenever_it_comes(string way)
    {
        int rounds = way == nameof(WorkerSleeper.SleepWay.Poll) ? 300 : 60_000;
        WorkerSleeper sleeper = Sleeper(way);
        int asked = 0;
        int answered = 0;
        int late = 0;
        var sleeping = new Thread(() =>
        {
            var random = new Random(1);
            while (answered < rounds && late == 0)
            {
                sleeper.Announce();
                if (Volatile.Read(ref asked) == answered)
                {
                    Thread.SpinWait(random.Next(60));
                    long start = Stopwatch.GetTimestamp();
                    sleeper.Sleep(5 * SecondUs);
                    late += Stopwatch.GetElapsedTime(start).TotalSeconds > 4 ? 1 : 0;
                }

                sleeper.Cancel();
                Volatile.Write(ref answered, Volatile.Read(ref asked));
            }
        });
        sleeping.Start();
        var moments = new Random(2);
        for (int i = 1; i <= rounds && late == 0; i++)
        {
            Volatile.Write(ref asked, i);
            sleeper.Interrupt();
            var spin = default(SpinWait);
            while (Volatile.Read(ref answered) != i && Volatile.Read(ref late) == 0)
            {
                spin.SpinOnce(sleep1Threshold: -1);
            }

            Thread.SpinWait(moments.Next(100));
        }

        sleeping.Join();
        Assert.Equal((0, rounds), (late, answered));
    }

    [Fact]
    public void Sleeping_and_ringing_allocate_nothing()
    {
        WorkerSleeper sleeper = Sleeper(nameof(WorkerSleeper.SleepWay.BothWords));
        WorkerBell bell = Bell(nameof(WorkerSleeper.SleepWay.BothWords));
        Round();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++)
        {
            Round();
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Round()
        {
            sleeper.Announce();
            bell.RingIfAsleep();
            sleeper.Sleep(SecondUs);
            sleeper.Interrupt();
            sleeper.Sleep(SecondUs);
            sleeper.Cancel();
            sleeper.Announce();
            sleeper.Sleep(1);
            sleeper.Cancel();
        }
    }

    [Fact]
    public void Words_that_are_not_there_or_not_aligned_are_refused()
    {
        byte* word = _workerArea.Address;
        Assert.Throws<ArgumentException>(() => new WorkerBell(null, word, futex: true));
        Assert.Throws<ArgumentException>(() => new WorkerSleeper(word + 2, word, futex: true));
    }

    public void Dispose()
    {
        _kernelAreaSeenByWorker.Dispose();
        _kernelArea.Dispose();
        _workerArea.Dispose();
    }

    private static bool IsFutex(string way) => Linux.IsSupported && way != nameof(WorkerSleeper.SleepWay.Poll);

    private static TimeSpan Time(Action action)
    {
        long start = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(start);
    }

    private static void SleepUntilRung(WorkerSleeper sleeper, WorkerBell bell)
    {
        while (bell.Rings == 0)
        {
            sleeper.Sleep(10 * SecondUs);
        }
    }

    private WorkerSleeper Sleeper(string way)
    {
        WorkerSleeper.SleepWay chosen = Linux.IsSupported ? Enum.Parse<WorkerSleeper.SleepWay>(way) : WorkerSleeper.SleepWay.Poll;
        return new WorkerSleeper(_kernelAreaSeenByWorker.Address + BellOffset, _workerArea.Address + SleepingOffset, chosen);
    }

    private WorkerBell Bell(string way) => new(_kernelArea.Address + BellOffset, _workerArea.Address + SleepingOffset, IsFutex(way));
}
