using System.Diagnostics;
using ZeroCopyDaemon.Memory.Mapping;

namespace ZeroCopyDaemon.UnitTests;

public sealed class DaemonLockTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("zcd-lock-").FullName;

    private string LockPath => Path.Combine(_directory, "daemon.lock");

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_second_daemon_fails_and_is_told_who_runs(bool portable)
    {
        SkipUnlessPossible(portable);
        using DaemonLock first = DaemonLock.Acquire(LockPath, portable);
        DaemonAlreadyRunningException refused = Assert.Throws<DaemonAlreadyRunningException>(() => DaemonLock.Acquire(LockPath, portable));
        Assert.Equal(Environment.ProcessId, refused.Pid);
        Assert.Contains($"(pid {Environment.ProcessId})", refused.Message, StringComparison.Ordinal);
        Assert.Contains("--name", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void After_the_first_has_gone_the_next_gets_it(bool portable)
    {
        SkipUnlessPossible(portable);
        for (int i = 0; i < 3; i++)
        {
            DaemonLock held = DaemonLock.Acquire(LockPath, portable);
            Assert.True(File.Exists(LockPath));
            held.Dispose();
            held.Dispose();
            Assert.Equal(portable, File.Exists(LockPath));
        }
    }

    [Fact]
    public void A_file_left_by_a_crash_is_no_hindrance()
    {
        File.WriteAllText(LockPath, "999999\nsomething longer than what will be written over it, so that a rest of it would show\n\n\n\n\n");
        using DaemonLock held = DaemonLock.Acquire(LockPath);
        Assert.Throws<DaemonAlreadyRunningException>(() => DaemonLock.Acquire(LockPath));
    }

    [Fact]
    public void A_lock_held_by_another_process_is_respected_until_that_is_killed()
    {
        if (!OperatingSystem.IsLinux())
        {
            Assert.Skip("Uses flock.");
        }

        File.WriteAllText(LockPath, "12345\nmark\n");
        using Process holder = Process.Start(new ProcessStartInfo("flock", ["-x", LockPath, "sh", "-c", "echo locked; exec sleep 60"]) { UseShellExecute = false, RedirectStandardOutput = true })!;
        Assert.Equal("locked", holder.StandardOutput.ReadLine());
        DaemonAlreadyRunningException refused = Assert.Throws<DaemonAlreadyRunningException>(() => DaemonLock.Acquire(LockPath));
        Assert.Equal(12345, refused.Pid);
        holder.Kill(entireProcessTree: true);
        holder.WaitForExit();
        DaemonLock? held = null;
        for (int tries = 0; held is null && tries < 500; tries++)
        {
            try
            {
                held = DaemonLock.Acquire(LockPath);
            }
            catch (DaemonAlreadyRunningException)
            {
                Thread.Sleep(10);
            }
        }

        Assert.NotNull(held);
        held.Dispose();
    }

    [Fact]
    public void Of_many_that_take_and_delete_it_at_once_never_two_have_it()
    {
        if (!OperatingSystem.IsLinux())
        {
            Assert.Skip("The file is deleted on Linux only.");
        }

        int holders = 0;
        int most = 0;
        int acquired = 0;
        var threads = new Thread[4];
        for (int t = 0; t < threads.Length; t++)
        {
            threads[t] = new Thread(() =>
            {
                for (int i = 0; i < 1500; i++)
                {
                    try
                    {
                        using DaemonLock held = DaemonLock.Acquire(LockPath);
                        int now = Interlocked.Increment(ref holders);
                        Interlocked.Increment(ref acquired);
                        if (now > Volatile.Read(ref most))
                        {
                            Volatile.Write(ref most, now);
                        }

                        Thread.Yield();
                        Interlocked.Decrement(ref holders);
                    }
                    catch (DaemonAlreadyRunningException)
                    {
                        Thread.Yield();
                    }
                }
            });
            threads[t].Start();
        }

        foreach (Thread thread in threads)
        {
            thread.Join();
        }

        Assert.Equal(1, most);
        Assert.True(acquired > 4, $"only {acquired} times acquired: the race was never run");
        Assert.False(File.Exists(LockPath));
    }

    [Fact]
    public void A_directory_that_is_not_there_is_an_error_of_its_own()
    {
        Exception error = Assert.ThrowsAny<IOException>(() => DaemonLock.Acquire(Path.Combine(_directory, "none", "daemon.lock")));
        Assert.IsNotType<DaemonAlreadyRunningException>(error);
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private static void SkipUnlessPossible(bool portable)
    {
        if (!portable && !OperatingSystem.IsLinux())
        {
            Assert.Skip("Needs Linux.");
        }
    }
}
