using System.Globalization;
using Microsoft.Win32.SafeHandles;
using ZeroCopyDaemon.Memory.Native;

namespace ZeroCopyDaemon.Memory.Mapping;

/// <summary>The descriptors under shared regions: making, sizing and opening them, and allocating every block of them.</summary>
internal static unsafe class RegionFile
{
    private const int PageBytes = 4096;

    // Small enough that a signal, which makes fallocate undo and fail, costs little, and that progress moves.
    private const int ChunkBytes = 16 << 20;

    // What is left for everybody else: a machine without any memory kills processes.
    private const long LeaveBytes = 32 << 20;

    /// <summary>Throws before anything is made if there is not so much memory: taking it would succeed, page by page, until Linux kills somebody.</summary>
    public static void RefuseMoreThanThereIs(string name, long bytes)
    {
        if (MemoryLimit.AvailableBytes() is long available && bytes > available - LeaveBytes)
        {
            throw new IOException(Refusal(name, bytes));
        }
    }

    /// <summary>The one line for full memory.</summary>
    public static string Refusal(string name, long bytes)
    {
        string available = MemoryLimit.AvailableBytes() is long left ? $"{Size(Math.Max(0, left - LeaveBytes))} can be had" : "there is less";
        return $"Not enough memory for {name}: {Size(bytes)} were asked for, {available}. Lower --pool-size.";
    }

    public static SafeFileHandle CreateMemfd(string name)
    {
        int fd = Linux.MemfdCreate(name, Linux.MemfdCloseOnExec | Linux.MemfdAllowSealing | Linux.MemfdNoExecSeal);
        if (fd < 0 && Linux.Errno == Errno.Invalid)
        {
            // Before Linux 6.3.
            fd = Linux.MemfdCreate(name, Linux.MemfdCloseOnExec | Linux.MemfdAllowSealing);
        }

        return fd >= 0
            ? new SafeFileHandle(fd, ownsHandle: true)
            : throw new IOException($"The shared memory {name} can't be made: {Linux.ErrorText(Linux.Errno)}.");
    }

    /// <summary>A new file for this user only. What a crashed process left under the name is unlinked, not truncated: somebody may still have it mapped.</summary>
    public static SafeFileHandle CreateNew(string path)
    {
        File.Delete(path);
        if (Linux.IsSupported)
        {
            int fd = Linux.Open(path, Linux.OpenReadWrite | Linux.OpenCreate | Linux.OpenExclusive | Linux.OpenCloseOnExec, Linux.UserReadWrite);
            return fd >= 0
                ? new SafeFileHandle(fd, ownsHandle: true)
                : throw new IOException($"The file {path} can't be made: {Linux.ErrorText(Linux.Errno)}.");
        }

        SafeFileHandle handle = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(handle, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }

        return handle;
    }

    public static SafeFileHandle OpenExisting(string path, bool writable)
    {
        if (!Linux.IsSupported)
        {
            return File.OpenHandle(path, FileMode.Open, writable ? FileAccess.ReadWrite : FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        }

        // Not blocking: a descriptor number that is a FIFO by now would otherwise hang us here.
        int fd = Linux.Open(path, (writable ? Linux.OpenReadWrite : Linux.OpenReadOnly) | Linux.OpenCloseOnExec | Linux.OpenNonBlocking | Linux.OpenNoControllingTerminal, 0);
        if (fd >= 0)
        {
            return new SafeFileHandle(fd, ownsHandle: true);
        }

        int errno = Linux.Errno;
        throw errno switch
        {
            Errno.NoEntry => new FileNotFoundException(Linux.ErrorText(errno), path),
            Errno.Access or Errno.Permission => new UnauthorizedAccessException(Linux.ErrorText(errno)),
            _ => new IOException($"The shared memory {path} can't be opened: {Linux.ErrorText(errno)}."),
        };
    }

    public static void SetLength(SafeFileHandle handle, string name, long bytes)
    {
        if (!Linux.IsSupported)
        {
            RandomAccess.SetLength(handle, bytes);
            return;
        }

        while (Linux.Ftruncate(handle, bytes) != 0)
        {
            int errno = Linux.Errno;
            if (errno != Errno.Interrupted)
            {
                throw new IOException($"The shared memory {name} can't be given {Size(bytes)}: {Linux.ErrorText(errno)}.");
            }
        }
    }

    public static void AllocateMemfd(SafeFileHandle handle, SharedRegion region, long bytes, bool prefault, IProgress<long>? progress)
    {
        for (long done = 0; done < bytes;)
        {
            long chunk = Math.Min(ChunkBytes, bytes - done);
            Fallocate(handle, done, chunk);
            if (prefault)
            {
                Populate(region.Address + done, chunk);
            }

            done += chunk;
            progress?.Report(done);
        }
    }

    /// <summary>Writes zeros: a file's blocks can't be asked for in a portable way.</summary>
    public static void AllocateFile(SafeFileHandle handle, SharedRegion region, long bytes, bool prefault, IProgress<long>? progress)
    {
        byte[] zeros = new byte[(int)Math.Min(bytes, 1 << 20)];
        for (long done = 0; done < bytes;)
        {
            int chunk = (int)Math.Min(zeros.Length, bytes - done);
            RandomAccess.Write(handle, zeros.AsSpan(0, chunk), done);
            if (prefault)
            {
                TouchEachPage(region.Address + done, chunk);
            }

            done += chunk;
            progress?.Report(done);
        }
    }

    private static void Fallocate(SafeFileHandle handle, long offset, long length)
    {
        while (Linux.Fallocate(handle, 0, offset, length) != 0)
        {
            int errno = Linux.Errno;
            if (errno is Errno.NoSpace or Errno.NoMemory)
            {
                throw new NoMemoryException(Linux.ErrorText(errno));
            }

            if (errno != Errno.Interrupted)
            {
                throw new IOException($"Shared memory can't be allocated: {Linux.ErrorText(errno)}.");
            }
        }
    }

    private static void Populate(byte* address, long length)
    {
        while (Linux.Madvise(address, (nuint)length, Linux.AdvicePopulateWrite) != 0)
        {
            int errno = Linux.Errno;
            if (errno == Errno.NoMemory)
            {
                throw new NoMemoryException(Linux.ErrorText(errno));
            }

            if (errno is not (Errno.Interrupted or Errno.TryAgain))
            {
                // Before Linux 5.14. The blocks are there already, so touching can't fail.
                TouchEachPage(address, length);
                return;
            }
        }
    }

    private static void TouchEachPage(byte* address, long length)
    {
        for (long at = 0; at < length; at += PageBytes)
        {
            Volatile.Write(ref address[at], 0);
        }
    }

    private static string Size(long bytes) =>
        bytes >= 1 << 20
            ? string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1 << 20):0.#} MiB")
            : string.Create(CultureInfo.InvariantCulture, $"{bytes} bytes");

    /// <summary>Linux said that memory is full although there seemed to be enough.</summary>
    internal sealed class NoMemoryException(string message) : IOException(message);
}
