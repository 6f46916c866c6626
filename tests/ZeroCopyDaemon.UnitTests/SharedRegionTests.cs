using System.Diagnostics;
using System.IO.MemoryMappedFiles;
using Microsoft.Win32.SafeHandles;
using ZeroCopyDaemon.Memory.Mapping;
using ZeroCopyDaemon.Memory.Native;

namespace ZeroCopyDaemon.UnitTests;

public sealed unsafe class SharedRegionTests : IDisposable
{
    private const long Bytes = 3 * 4096;
    private readonly string _directory = Directory.CreateTempSubdirectory("zcd-region-").FullName;

    [Fact]
    public void What_one_side_writes_the_other_side_reads()
    {
        using SharedRegion own = SharedRegion.Create("zcd-test", Bytes, _directory);
        using SharedRegion other = SharedRegion.Open(own.Path, Bytes, writable: false);
        Assert.True(own.Address != other.Address);
        Assert.Equal((Bytes, Bytes), (own.Bytes, other.Bytes));
        Assert.Equal(0, other.Address[Bytes - 1]);
        own.Address[Bytes - 1] = 42;
        Assert.Equal(42, other.Address[Bytes - 1]);
    }

    [Fact]
    public void After_sealing_the_creators_own_mapping_stays_writable_and_is_seen()
    {
        if (!Linux.IsSupported)
        {
            Assert.Skip("Sealing needs Linux.");
        }

        using SharedRegion own = SharedRegion.Create("zcd-test", Bytes, _directory);
        Assert.False(own.IsSealed);
        own.SealReadOnlyForOthers();
        own.SealReadOnlyForOthers();
        Assert.True(own.IsSealed);
        using SharedRegion other = SharedRegion.Open(own.Path, Bytes, writable: false);
        own.Address[5000] = 17;
        Assert.Equal(17, other.Address[5000]);
    }

    [Fact]
    public void Nobody_can_map_a_sealed_region_writable_not_even_its_creator_again()
    {
        if (!Linux.IsSupported)
        {
            Assert.Skip("Sealing needs Linux.");
        }

        using SharedRegion own = SharedRegion.Create("zcd-test", Bytes, _directory);
        own.SealReadOnlyForOthers();
        IOException refused = Assert.Throws<IOException>(() => SharedRegion.Open(own.Path, Bytes, writable: true));
        Assert.Contains("for writing", refused.Message, StringComparison.Ordinal);

        using SafeFileHandle handle = File.OpenHandle(own.Path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        Assert.ThrowsAny<Exception>(() => MemoryMappedFile.CreateFromFile(handle, null, Bytes, MemoryMappedFileAccess.ReadWrite, HandleInheritability.None, leaveOpen: true)
            .CreateViewAccessor(0, Bytes, MemoryMappedFileAccess.ReadWrite));
    }

    [Fact]
    public void A_read_only_mapping_of_a_sealed_region_cannot_be_made_writable()
    {
        if (!Linux.IsSupported)
        {
            Assert.Skip("Sealing needs Linux.");
        }

        using SharedRegion own = SharedRegion.Create("zcd-test", Bytes, _directory);
        own.SealReadOnlyForOthers();
        using SafeFileHandle handle = File.OpenHandle(own.Path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        using MemoryMappedFile file = MemoryMappedFile.CreateFromFile(handle, null, Bytes, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
        using MemoryMappedViewAccessor view = file.CreateViewAccessor(0, Bytes, MemoryMappedFileAccess.Read);
        byte* address = null;
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref address);
        int changed = Linux.Mprotect(address, (nuint)Bytes, Linux.ProtectRead | Linux.ProtectWrite);
        int errno = Linux.Errno;
        view.SafeMemoryMappedViewHandle.ReleasePointer();
        Assert.Equal((-1, Errno.Access), (changed, errno));
    }

    [Fact]
    public void A_sealed_region_cannot_be_written_resized_or_punched_through_a_reopened_descriptor()
    {
        if (!Linux.IsSupported)
        {
            Assert.Skip("Sealing needs Linux.");
        }

        using SharedRegion own = SharedRegion.Create("zcd-test", Bytes, _directory);
        own.Address[0] = 9;
        own.SealReadOnlyForOthers();
        using SafeFileHandle handle = File.OpenHandle(own.Path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        Assert.ThrowsAny<Exception>(() => RandomAccess.Write(handle, new byte[] { 1 }, 0));
        Assert.Equal((-1, Errno.Permission), (Linux.Ftruncate(handle, 0), Linux.Errno));
        Assert.Equal((-1, Errno.Permission), (Linux.Ftruncate(handle, Bytes * 2), Linux.Errno));
        const int PunchHoleKeepSize = 3;
        Assert.Equal((-1, Errno.Permission), (Linux.Fallocate(handle, PunchHoleKeepSize, 0, 4096), Linux.Errno));
        Assert.Equal((-1, Errno.Permission), (Linux.Fcntl(handle, Linux.AddSealsCommand, Linux.SealGrow), Linux.Errno));
        Assert.Equal(9, own.Address[0]);
    }

    [Fact]
    public void Another_process_can_read_a_sealed_region_and_do_nothing_else_with_it()
    {
        if (!Linux.IsSupported)
        {
            Assert.Skip("Sealing needs Linux.");
        }

        using SharedRegion own = SharedRegion.Create("zcd-test", Bytes, _directory);
        own.Address[0] = (byte)'Z';
        own.SealReadOnlyForOthers();
        Assert.Equal((0, "Z"), Run("head", "-c", "1", own.Path));
        Assert.NotEqual(0, Run("truncate", "-s", "0", own.Path).ExitCode);
        Assert.NotEqual(0, Run("truncate", "-s", "1M", own.Path).ExitCode);
        Assert.NotEqual(0, Run("dd", "if=/dev/zero", $"of={own.Path}", "bs=1", "count=1", "conv=notrunc").ExitCode);
        Assert.Equal((byte)'Z', own.Address[0]);
        Assert.Equal(0, own.Address[Bytes - 1]);
    }

    [Fact]
    public void A_region_sealed_in_size_can_be_written_by_the_other_side_and_not_truncated()
    {
        if (!Linux.IsSupported)
        {
            Assert.Skip("Sealing needs Linux.");
        }

        using SharedRegion own = SharedRegion.Create("zcd-test", Bytes, _directory);
        own.SealSize();
        Assert.True(own.IsSealed);
        Assert.Throws<InvalidOperationException>(own.SealReadOnlyForOthers);
        using SharedRegion other = SharedRegion.Open(own.Path, Bytes, writable: true);
        other.Address[7] = 77;
        Assert.Equal(77, own.Address[7]);
        Assert.NotEqual(0, Run("truncate", "-s", "0", own.Path).ExitCode);
        Assert.Equal(77, own.Address[7]);
        using SafeFileHandle handle = File.OpenHandle(own.Path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        Assert.Equal((-1, Errno.Permission), (Linux.Fcntl(handle, Linux.AddSealsCommand, Linux.SealFutureWrite), Linux.Errno));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Every_block_is_allocated_at_creation_and_progress_tells_so(bool prefault)
    {
        if (!Linux.IsSupported)
        {
            Assert.Skip("Counts Linux's blocks.");
        }

        const long Size = 40 << 20;
        var progress = new Collected();
        using SharedRegion region = SharedRegion.Create("zcd-test", Size, _directory, prefault, progress);
        (int exit, string blocks) = Run("stat", "-L", "-c", "%b %B", region.Path);
        Assert.Equal(0, exit);
        string[] parts = blocks.Trim().Split(' ');
        Assert.True(long.Parse(parts[0]) * long.Parse(parts[1]) >= Size, blocks);
        Assert.Equal(Size, progress.Reported[^1]);
        Assert.Equal(progress.Reported.Order(), progress.Reported);
        Assert.True(progress.Reported.Count >= 3);
        for (long at = 0; at < Size; at += 4096)
        {
            Assert.Equal(0, region.Address[at]);
        }
    }

    [Fact]
    public void A_region_larger_than_memory_is_refused_at_once_with_the_figures_and_nothing_is_left()
    {
        if (!Linux.IsSupported)
        {
            Assert.Skip("Only Linux says how much memory there is.");
        }

        long bytes = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes * 10;
        int descriptors = Directory.GetFiles("/proc/self/fd").Length;
        long start = Stopwatch.GetTimestamp();
        IOException refused = Assert.Throws<IOException>(() => SharedRegion.Create("zcd-huge", bytes, _directory));
        Assert.True(Stopwatch.GetElapsedTime(start) < TimeSpan.FromSeconds(2));
        Assert.Contains($"{bytes / (double)(1 << 20):0.#} MiB were asked for", refused.Message, StringComparison.Ordinal);
        Assert.Contains("can be had", refused.Message, StringComparison.Ordinal);
        Assert.Contains("--pool-size", refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("zcd-huge", File.ReadAllText("/proc/self/maps"), StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(_directory));
        Assert.InRange(Directory.GetFiles("/proc/self/fd").Length, 0, descriptors + 20);
        Assert.Throws<IOException>(() => SharedRegion.CreateFile("zcd-huge", bytes, _directory, prefault: false, progress: null));
        Assert.Empty(Directory.GetFiles(_directory));
    }

    [Fact]
    public void Opening_what_is_not_there_or_has_another_size_says_so()
    {
        IOException gone = Assert.Throws<IOException>(() => SharedRegion.Open(Path.Combine(_directory, "none"), Bytes, writable: false));
        Assert.Contains("has ended", gone.Message, StringComparison.Ordinal);
        using SharedRegion own = SharedRegion.Create("zcd-test", Bytes, _directory);
        IOException size = Assert.Throws<IOException>(() => SharedRegion.Open(own.Path, Bytes - 4096, writable: false));
        Assert.Contains($"{Bytes} bytes, not {Bytes - 4096}", size.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Opening_a_descriptor_that_is_no_memory_fails_and_does_not_hang()
    {
        if (!Linux.IsSupported)
        {
            Assert.Skip("There are no FIFOs.");
        }

        string fifo = Path.Combine(_directory, "fifo");
        Assert.Equal(0, Linux.Mkfifo(fifo, Linux.UserReadWrite));
        Assert.Throws<IOException>(() => SharedRegion.Open(fifo, Bytes, writable: false));
    }

    [Fact]
    public void A_disposed_region_leaves_no_mapping_and_no_descriptor()
    {
        if (!Linux.IsSupported)
        {
            Assert.Skip("Looks into /proc.");
        }

        SharedRegion region = SharedRegion.Create("zcd-short-lived", Bytes, _directory);
        string path = region.Path;
        Assert.Contains("zcd-short-lived", File.ReadAllText("/proc/self/maps"), StringComparison.Ordinal);
        region.Dispose();
        region.Dispose();
        Assert.True(region.Address == null);
        Assert.DoesNotContain("zcd-short-lived", File.ReadAllText("/proc/self/maps"), StringComparison.Ordinal);
        Assert.DoesNotContain("zcd-short-lived", new FileInfo(path).LinkTarget ?? string.Empty, StringComparison.Ordinal);
        Assert.Throws<ObjectDisposedException>(region.SealSize);
    }

    [Fact]
    public void The_fallback_is_a_file_for_this_user_only_that_says_it_is_not_sealed_and_goes_with_its_creator()
    {
        var progress = new Collected();
        using (SharedRegion own = SharedRegion.CreateFile("pool", 5 << 20, _directory, prefault: true, progress))
        {
            Assert.Equal(Path.Combine(_directory, "pool"), own.Path);
            Assert.Equal(5 << 20, new FileInfo(own.Path).Length);
            Assert.Equal(5 << 20, progress.Reported[^1]);
            if (!OperatingSystem.IsWindows())
            {
                Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(own.Path));
            }

            own.SealReadOnlyForOthers();
            own.SealSize();
            Assert.False(own.IsSealed);
            using SharedRegion other = SharedRegion.Open(own.Path, 5 << 20, writable: true);
            other.Address[100] = 3;
            Assert.Equal(3, own.Address[100]);
        }

        Assert.Empty(Directory.GetFiles(_directory));
    }

    [Fact]
    public void The_fallback_replaces_a_stale_file_and_leaves_its_old_mappings_alone()
    {
        string path = Path.Combine(_directory, "pool");
        File.WriteAllBytes(path, [.. Enumerable.Repeat((byte)1, (int)Bytes)]);
        using SharedRegion stale = SharedRegion.Open(path, Bytes, writable: false);
        using SharedRegion fresh = SharedRegion.CreateFile("pool", Bytes, _directory, prefault: false, progress: null);
        Assert.Equal((1, 0), ((int)stale.Address[0], (int)fresh.Address[0]));
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private static (int ExitCode, string Output) Run(string command, params string[] arguments)
    {
        var start = new ProcessStartInfo(command, arguments) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd();
        process.StandardError.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output);
    }

    private sealed class Collected : IProgress<long>
    {
        public List<long> Reported { get; } = [];

        public void Report(long value) => Reported.Add(value);
    }
}
