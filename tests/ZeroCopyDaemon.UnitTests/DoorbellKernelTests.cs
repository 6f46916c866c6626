using System.Diagnostics;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Native;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>The doorbell into the kernel host, as a FIFO and as its portable stand-in.</summary>
public sealed unsafe class DoorbellKernelTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("zcd-bell-").FullName;

    public static TheoryData<bool> Portable => Linux.IsSupported ? new TheoryData<bool>(false, true) : new TheoryData<bool>(true);

    private string BellPath => Path.Combine(_directory, "worker-1.bell");

    [Theory]
    [MemberData(nameof(Portable))]
    public void It_is_quiet_then_rung_then_quiet_and_hangs_up_at_the_end(bool portable)
    {
        using KernelBellReader reader = KernelBellReader.Create(BellPath, portable);
        Assert.Equal(BellState.Quiet, reader.Drain());
        using (KernelBellWriter writer = KernelBellWriter.Open(BellPath, portable))
        {
            Assert.Equal(BellState.Quiet, reader.Drain());
            Assert.True(writer.Ring());
            Assert.True(writer.Ring());
            Assert.Equal(BellState.Rung, reader.Drain());
            Assert.Equal(BellState.Quiet, reader.Drain());
            Assert.True(writer.Ring());
        }

        Assert.Equal(BellState.Rung, reader.Drain());
        Assert.Equal(BellState.HungUp, reader.Drain());
        Assert.Equal(BellState.HungUp, reader.Drain());
    }

    [Theory]
    [MemberData(nameof(Portable))]
    public void A_worker_that_opens_and_goes_without_a_ring_is_a_hang_up(bool portable)
    {
        using KernelBellReader reader = KernelBellReader.Create(BellPath, portable);
        KernelBellWriter.Open(BellPath, portable).Dispose();
        Assert.Equal(BellState.HungUp, reader.Drain());
    }

    [Theory]
    [MemberData(nameof(Portable))]
    public void It_hangs_up_with_the_last_writer(bool portable)
    {
        using KernelBellReader reader = KernelBellReader.Create(BellPath, portable);
        KernelBellWriter one = KernelBellWriter.Open(BellPath, portable);
        KernelBellWriter two = KernelBellWriter.Open(BellPath, portable);
        one.Dispose();
        Assert.Equal(BellState.Quiet, reader.Drain());
        Assert.False(one.Ring());
        Assert.True(two.Ring());
        Assert.Equal(BellState.Rung, reader.Drain());
        two.Dispose();
        Assert.Equal(BellState.HungUp, reader.Drain());
    }

    [Theory]
    [MemberData(nameof(Portable))]
    public void A_full_bell_counts_as_rung_and_is_drained_within_bounds(bool portable)
    {
        using KernelBellReader reader = KernelBellReader.Create(BellPath, portable);
        using KernelBellWriter writer = KernelBellWriter.Open(BellPath, portable);
        for (int i = 0; i < 100_000; i++)
        {
            Assert.True(writer.Ring());
        }

        int drains = 0;
        while (reader.Drain() == BellState.Rung)
        {
            drains++;
        }

        Assert.InRange(drains, 1, 2);
        Assert.True(writer.Ring());
        Assert.Equal(BellState.Rung, reader.Drain());
    }

    [Theory]
    [MemberData(nameof(Portable))]
    public void A_ring_after_the_kernels_end_says_that_it_is_gone(bool portable)
    {
        KernelBellReader reader = KernelBellReader.Create(BellPath, portable);
        using KernelBellWriter writer = KernelBellWriter.Open(BellPath, portable);
        reader.Dispose();
        reader.Dispose();
        Assert.False(writer.Ring());
        Assert.False(File.Exists(BellPath));
        Assert.Throws<ObjectDisposedException>(() => reader.Drain());
        IOException gone = Assert.Throws<IOException>(() => KernelBellWriter.Open(BellPath, portable));
        Assert.Contains("ended", gone.Message, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Portable))]
    public void What_a_crashed_kernel_left_under_the_name_is_replaced(bool portable)
    {
        File.WriteAllText(BellPath, "stale");
        using KernelBellReader reader = KernelBellReader.Create(BellPath, portable);
        using KernelBellWriter writer = KernelBellWriter.Open(BellPath, portable);
        Assert.True(writer.Ring());
        Assert.Equal(BellState.Rung, reader.Drain());
    }

    [Theory]
    [MemberData(nameof(Portable))]
    public void It_is_rung_only_for_a_kernel_that_sleeps(bool portable)
    {
        using KernelBellReader reader = KernelBellReader.Create(BellPath, portable);
        using KernelBellWriter writer = KernelBellWriter.Open(BellPath, portable);
        uint sleeping = 0;
        Assert.True(writer.RingIfAsleep((byte*)&sleeping, out bool rung));
        Assert.False(rung);
        Assert.Equal(BellState.Quiet, reader.Drain());
        sleeping = 1;
        Assert.True(writer.RingIfAsleep((byte*)&sleeping, out rung));
        Assert.True(rung);
        Assert.Equal(BellState.Rung, reader.Drain());
        reader.Dispose();
        Assert.False(writer.RingIfAsleep((byte*)&sleeping, out _));
    }

    [Fact]
    public void A_bell_is_for_this_user_only()
    {
        if (!Linux.IsSupported)
        {
            Assert.Skip("There are no FIFOs.");
        }

        using KernelBellReader reader = KernelBellReader.Create(BellPath);
        if (!OperatingSystem.IsWindows())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(BellPath));
        }

        Assert.ThrowsAny<IOException>(() => KernelBellReader.Create(Path.Combine(_directory, "none", "bell")));
    }

    [Fact]
    public void A_killed_process_hangs_up_and_epoll_says_so_at_once()
    {
        if (!Linux.IsSupported)
        {
            Assert.Skip("Needs a FIFO.");
        }

        using KernelBellReader reader = KernelBellReader.Create(BellPath);
        using var set = new PollSet();
        set.Add(reader.Fd, 5, read: true, write: false);
        var start = new ProcessStartInfo("sh", ["-c", "exec 3>\"$0\"; printf x >&3; exec sleep 60", BellPath]) { UseShellExecute = false };
        using Process worker = Process.Start(start)!;
        Span<PollEvent> events = stackalloc PollEvent[4];
        Assert.Equal(1, WaitForOne(set, events));
        Assert.Equal((5, true), (events[0].Token, events[0].Readable));
        Assert.Equal(BellState.Rung, reader.Drain());
        worker.Kill();
        Assert.Equal(1, WaitForOne(set, events));
        Assert.True(events[0].HangUp);
        Assert.Equal(BellState.HungUp, reader.Drain());
        worker.WaitForExit();
    }

    [Fact]
    public void A_worker_that_watches_its_end_learns_of_the_kernels_death()
    {
        if (!Linux.IsSupported)
        {
            Assert.Skip("Needs a FIFO.");
        }

        KernelBellReader reader = KernelBellReader.Create(BellPath);
        using KernelBellWriter writer = KernelBellWriter.Open(BellPath);
        using var set = new PollSet();
        set.Add(writer.Fd, 1, read: false, write: false);
        Span<PollEvent> events = stackalloc PollEvent[1];
        Assert.Equal(0, set.Wait(events, 0));
        reader.Dispose();
        Assert.Equal(1, WaitForOne(set, events));
        Assert.True(events[0].HangUp);
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private static int WaitForOne(PollSet set, Span<PollEvent> events)
    {
        long start = Stopwatch.GetTimestamp();
        int ready;
        do
        {
            ready = set.Wait(events, 1_000_000);
        }
        while (ready == 0 && Stopwatch.GetElapsedTime(start).TotalSeconds < 20);
        return ready;
    }
}
