using System.Diagnostics;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Native;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>The poll set: with nanoseconds, without, and the portable one, which may call ready what isn't.</summary>
public sealed class DoorbellPollSetTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("zcd-poll-").FullName;

    public static TheoryData<string> Kinds => Linux.IsSupported ? new TheoryData<string>("pwait2", "wait", "portable") : new TheoryData<string>("portable");

    public static TheoryData<string> RealKinds => Linux.IsSupported ? new TheoryData<string>("pwait2", "wait") : [];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void What_was_rung_is_reported_with_its_token(string kind)
    {
        using PollSet set = Create(kind);
        using Bell one = Open("one", kind);
        using Bell two = Open("two", kind);
        set.Add(one.Reader.Fd, 11, read: true, write: false);
        set.Add(two.Reader.Fd, int.MinValue, read: true, write: false);
        two.Writer.Ring();
        Span<PollEvent> events = stackalloc PollEvent[8];
        int ready = set.Wait(events, 1_000_000);
        int found = -1;
        for (int i = 0; i < ready; i++)
        {
            found = events[i].Token == int.MinValue ? i : found;
        }

        Assert.InRange(found, 0, 1);
        Assert.True(events[found].Readable);
        Assert.False(events[found].Writable || events[found].HangUp);
        if (kind != "portable")
        {
            Assert.Equal(1, ready);
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_descriptor_is_in_the_set_once_and_gone_when_removed(string kind)
    {
        using PollSet set = Create(kind);
        using Bell bell = Open("bell", kind);
        set.Add(bell.Reader.Fd, 1, read: true, write: false);
        Assert.Throws<IOException>(() => set.Add(bell.Reader.Fd, 2, read: true, write: false));
        bell.Writer.Ring();
        Span<PollEvent> events = stackalloc PollEvent[8];
        set.Modify(bell.Reader.Fd, 3, read: true, write: false);
        Assert.Equal(1, set.Wait(events, 1_000_000));
        Assert.Equal(3, events[0].Token);
        set.Modify(bell.Reader.Fd, 3, read: false, write: false);
        Assert.Equal(0, set.Wait(events, 0));
        set.Remove(bell.Reader.Fd);
        Assert.Equal(0, set.Wait(events, 0));
        Assert.Throws<IOException>(() => set.Remove(bell.Reader.Fd));
        Assert.Throws<IOException>(() => set.Modify(bell.Reader.Fd, 1, read: true, write: false));
        Assert.Throws<ArgumentException>(() => set.Wait([], 0));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void More_events_than_places_come_in_turns(string kind)
    {
        const int Count = 10;
        using PollSet set = Create(kind);
        var bells = new List<Bell>();
        for (int i = 0; i < Count; i++)
        {
            bells.Add(Open($"bell{i}", kind));
            set.Add(bells[i].Reader.Fd, i, read: true, write: false);
            bells[i].Writer.Ring();
        }

        var seen = new HashSet<int>();
        Span<PollEvent> events = stackalloc PollEvent[3];
        for (int round = 0; round < 20; round++)
        {
            int ready = set.Wait(events, 1000);
            for (int i = 0; i < ready; i++)
            {
                seen.Add(events[i].Token);
            }
        }

        Assert.Equal(Count, seen.Count);
        bells.ForEach(b => b.Dispose());
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_wake_before_the_wait_is_not_lost_and_holds_for_one_wait(string kind)
    {
        using PollSet set = Create(kind);
        set.Wake();
        set.Wake();
        Span<PollEvent> events = stackalloc PollEvent[1];
        long start = Stopwatch.GetTimestamp();
        Assert.Equal(0, set.Wait(events, -1));
        Assert.InRange(Stopwatch.GetElapsedTime(start).TotalSeconds, 0, 10);
        if (kind != "portable")
        {
            start = Stopwatch.GetTimestamp();
            set.Wait(events, 30_000);
            set.Wait(events, 30_000);
            Assert.InRange(Stopwatch.GetElapsedTime(start).TotalMilliseconds, 20, 5000);
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void No_wake_from_another_thread_is_lost(string kind)
    {
        int rounds = kind == "portable" ? 200 : 30_000;
        using PollSet set = Create(kind);
        int asked = 0;
        int answered = 0;
        int late = 0;
        var waiting = new Thread(() =>
        {
            Span<PollEvent> events = stackalloc PollEvent[1];
            while (answered < rounds && late == 0)
            {
                if (Volatile.Read(ref asked) == answered)
                {
                    long start = Stopwatch.GetTimestamp();
                    set.Wait(events, 5_000_000);
                    late += Stopwatch.GetElapsedTime(start).TotalSeconds > 4 ? 1 : 0;
                }

                Volatile.Write(ref answered, Volatile.Read(ref asked));
            }
        });
        waiting.Start();
        for (int i = 1; i <= rounds && Volatile.Read(ref late) == 0; i++)
        {
            Volatile.Write(ref asked, i);
            set.Wake();
            var spin = default(SpinWait);
            while (Volatile.Read(ref answered) != i && Volatile.Read(ref late) == 0)
            {
                spin.SpinOnce(sleep1Threshold: -1);
            }
        }

        waiting.Join();
        Assert.Equal((0, rounds), (late, answered));
    }

    [Theory]
    [MemberData(nameof(RealKinds))]
    public void A_wait_takes_its_time_and_a_zero_wait_none(string kind)
    {
        using PollSet set = Create(kind);
        Span<PollEvent> events = stackalloc PollEvent[1];
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < 1000; i++)
        {
            set.Wait(events, 0);
        }

        Assert.InRange(Stopwatch.GetElapsedTime(start).TotalMilliseconds, 0, 900);
        start = Stopwatch.GetTimestamp();
        for (int i = 0; i < 20; i++)
        {
            set.Wait(events, 500);
        }

        // Twenty half milliseconds, of which a stray signal may cut some short.
        Assert.InRange(Stopwatch.GetElapsedTime(start).TotalMilliseconds, 5, 5000);
    }

    [Theory]
    [MemberData(nameof(RealKinds))]
    public void An_edge_is_reported_once_for_each_change(string kind)
    {
        using PollSet set = Create(kind);
        using Bell bell = Open("bell", kind);
        set.Add(bell.Reader.Fd, 1, read: true, write: false, edge: true);
        Span<PollEvent> events = stackalloc PollEvent[4];
        Assert.Equal(0, set.Wait(events, 0));
        bell.Writer.Ring();
        Assert.Equal(1, set.Wait(events, 1_000_000));
        Assert.Equal(0, set.Wait(events, 0));
        bell.Writer.Ring();
        Assert.Equal(1, set.Wait(events, 1_000_000));
    }

    [Theory]
    [MemberData(nameof(RealKinds))]
    public void Writing_is_reported_while_there_is_room(string kind)
    {
        using PollSet set = Create(kind);
        using Bell bell = Open("bell", kind);
        set.Add(bell.Writer.Fd, 9, read: false, write: true);
        Span<PollEvent> events = stackalloc PollEvent[4];
        Assert.Equal(1, set.Wait(events, 0));
        Assert.True(events[0].Writable);
        for (int i = 0; i < 100_000; i++)
        {
            bell.Writer.Ring();
        }

        Assert.Equal(0, set.Wait(events, 0));
    }

    [Fact]
    public void Waiting_and_waking_allocate_nothing()
    {
        using PollSet set = Create(Linux.IsSupported ? "pwait2" : "portable");
        using Bell bell = Open("bell", Linux.IsSupported ? "pwait2" : "portable");
        set.Add(bell.Reader.Fd, 1, read: true, write: false);
        Span<PollEvent> events = stackalloc PollEvent[4];
        long before = 0;
        for (int i = 0; i < 1000; i++)
        {
            before = i == 10 ? GC.GetAllocatedBytesForCurrentThread() : before;
            set.Wake();
            bell.Writer.Ring();
            set.Wait(events, 1000);
            bell.Reader.Drain();
            set.Wait(events, 0);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Waking_a_set_that_is_gone_does_no_harm(string kind)
    {
        PollSet set = Create(kind);
        set.Dispose();
        set.Dispose();
        set.Wake();
        Assert.ThrowsAny<ObjectDisposedException>(() => set.Wait(new PollEvent[1], 0));
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private static PollSet Create(string kind) => new(portable: kind == "portable", nanoseconds: kind == "pwait2");

    private Bell Open(string name, string kind)
    {
        string path = Path.Combine(_directory, name);
        KernelBellReader reader = KernelBellReader.Create(path, portable: kind == "portable");
        return new Bell(reader, KernelBellWriter.Open(path, portable: kind == "portable"));
    }

    private sealed record Bell(KernelBellReader Reader, KernelBellWriter Writer) : IDisposable
    {
        public void Dispose()
        {
            Writer.Dispose();
            Reader.Dispose();
        }
    }
}
