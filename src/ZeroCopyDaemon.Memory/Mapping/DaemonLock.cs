using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Win32.SafeHandles;
using ZeroCopyDaemon.Memory.Native;

namespace ZeroCopyDaemon.Memory.Mapping;

/// <summary>Another daemon of the same name runs.</summary>
public sealed class DaemonAlreadyRunningException(string message, int pid) : IOException(message)
{
    /// <summary>Its process, or 0 if that can't be known.</summary>
    public int Pid { get; } = pid;
}

/// <summary>
/// Exclusive by a lock on a file in the run directory: the second daemon of a name fails loudly. The system lets go of it however the holder ends; <see cref="Dispose"/> deletes the file too.
/// Not for several threads.
/// </summary>
public sealed class DaemonLock : IDisposable
{
    private readonly string _path;
    private readonly SafeFileHandle _handle;
    private readonly bool _deleteFile;
    private bool _disposed;

    private DaemonLock(string path, SafeFileHandle handle, bool deleteFile)
    {
        _deleteFile = deleteFile;
        _path = path;
        _handle = handle;
    }

    /// <summary>Takes the lock or throws at once.</summary>
    /// <param name="path">The lock's file; its directory must exist.</param>
    /// <exception cref="DaemonAlreadyRunningException">Somebody has it.</exception>
    public static DaemonLock Acquire(string path) => Acquire(path, portable: !Linux.IsSupported);

    /// <summary>Deletes the file and lets go, in this order: who opened the old file meanwhile finds that the name isn't its any more, and begins anew.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        if (_deleteFile)
        {
            File.Delete(_path);
        }
        else
        {
            File.Delete(PidPath(_path));
        }

        // Where the name can't be compared with the locked file, an empty file stays: deleting it could give the lock to two.
        _handle.Dispose();
    }

    internal static DaemonLock Acquire(string path, bool portable) => portable ? AcquirePortable(path) : AcquireLinux(path);

    private static DaemonLock AcquireLinux(string path)
    {
        while (true)
        {
            int fd = Linux.Open(path, Linux.OpenReadWrite | Linux.OpenCreate | Linux.OpenCloseOnExec, Linux.UserReadWrite);
            if (fd < 0)
            {
                throw new IOException($"The lock file {path} can't be opened: {Linux.ErrorText(Linux.Errno)}.");
            }

            var handle = new SafeFileHandle(fd, ownsHandle: true);
            try
            {
                if (Linux.Flock(handle, Linux.LockExclusive | Linux.LockNonBlocking) != 0)
                {
                    int errno = Linux.Errno;
                    if (errno == Errno.Interrupted)
                    {
                        handle.Dispose();
                        continue;
                    }

                    throw errno == Errno.TryAgain
                        ? Running(path, ReadPid(handle))
                        : new IOException($"The file {path} can't be locked: {Linux.ErrorText(errno)}.");
                }

                // The holder before us may have deleted the file between our opening and our locking it. So we write something that nobody else can have written, and look for it under the name.
                string mark = string.Create(CultureInfo.InvariantCulture, $"{Environment.ProcessId}\n{RandomNumberGenerator.GetHexString(32)}\n");
                RandomAccess.SetLength(handle, 0);
                RandomAccess.Write(handle, Encoding.ASCII.GetBytes(mark), 0);
                if (string.Equals(ReadByName(path), mark, StringComparison.Ordinal))
                {
                    return new DaemonLock(path, handle, deleteFile: true);
                }

                handle.Dispose();
            }
            catch
            {
                handle.Dispose();
                throw;
            }
        }
    }

    /// <summary>.NET takes a lock on a file that nobody else shall share; the holder's process is written beside it, for the file itself can't be read then.</summary>
    private static DaemonLock AcquirePortable(string path)
    {
        string pidPath = PidPath(path);
        SafeFileHandle handle;
        try
        {
            handle = File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException e) when (e is not (DirectoryNotFoundException or PathTooLongException))
        {
            throw Running(path, File.Exists(pidPath) ? ParsePid(File.ReadAllText(pidPath)) : 0);
        }

        File.WriteAllText(pidPath, string.Create(CultureInfo.InvariantCulture, $"{Environment.ProcessId}\n"));
        return new DaemonLock(path, handle, deleteFile: false);
    }

    private static string PidPath(string path) => path + ".pid";

    private static DaemonAlreadyRunningException Running(string path, int pid) =>
        new($"A daemon of this name is running already{(pid == 0 ? string.Empty : $" (pid {pid})")}: it holds {path}. Stop it first, or choose another --name.", pid);

    private static string? ReadByName(string path)
    {
        int fd = Linux.Open(path, Linux.OpenReadOnly | Linux.OpenCloseOnExec, 0);
        if (fd < 0)
        {
            return null;
        }

        using var handle = new SafeFileHandle(fd, ownsHandle: true);
        return ReadAll(handle);
    }

    /// <summary>The holder writes its pid just after it has locked.</summary>
    private static int ReadPid(SafeFileHandle handle)
    {
        for (int tries = 0; tries < 20; tries++)
        {
            if (ParsePid(ReadAll(handle)) is int pid and not 0)
            {
                return pid;
            }

            Thread.Sleep(1);
        }

        return 0;
    }

    private static string ReadAll(SafeFileHandle handle)
    {
        Span<byte> text = stackalloc byte[128];
        return Encoding.ASCII.GetString(text[..RandomAccess.Read(handle, text, 0)]);
    }

    private static int ParsePid(string text) =>
        int.TryParse(text.AsSpan(0, Math.Max(0, text.IndexOf('\n', StringComparison.Ordinal))), NumberStyles.None, CultureInfo.InvariantCulture, out int pid) ? pid : 0;
}
