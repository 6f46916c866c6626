using System.IO.MemoryMappedFiles;
using Microsoft.Win32.SafeHandles;
using ZeroCopyDaemon.Memory.Native;

namespace ZeroCopyDaemon.Memory.Mapping;

/// <summary>
/// Memory that several processes map. On Linux a memfd, which can be sealed; elsewhere a file, which can't: there a process of the same user can open it for writing, or truncate it under its users.
/// Owns mapping, descriptor and file; whoever holds a pointer into it must be done before <see cref="Dispose"/>. Members may be called from any thread, <see cref="Dispose"/> once nobody uses it.
/// </summary>
public sealed unsafe class SharedRegion : IDisposable
{
    private readonly SafeFileHandle _handle;
    private readonly MemoryMappedFile _mapping;
    private readonly MemoryMappedViewAccessor _view;
    private readonly bool _isMemfd;
    private readonly bool _deleteFile;
    private int _seals;
    private bool _disposed;

    private SharedRegion(SafeFileHandle handle, string path, long bytes, MemoryMappedFileAccess access, bool isMemfd, bool deleteFile)
    {
        _handle = handle;
        _isMemfd = isMemfd;
        _deleteFile = deleteFile;
        Path = path;
        Bytes = bytes;
        _mapping = MemoryMappedFile.CreateFromFile(handle, mapName: null, bytes, access, HandleInheritability.None, leaveOpen: true);
        try
        {
            _view = _mapping.CreateViewAccessor(0, bytes, access);
        }
        catch
        {
            _mapping.Dispose();
            throw;
        }

        byte* address = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref address);
        Address = address + _view.PointerOffset;
    }

    /// <summary>Where it is mapped in this process; page-aligned.</summary>
    public byte* Address { get; private set; }

    /// <summary>Bytes mapped.</summary>
    public long Bytes { get; }

    /// <summary>What another process opens. It lives as long as the creator has not disposed the region.</summary>
    public string Path { get; }

    /// <summary>Whether the promises of <see cref="SealReadOnlyForOthers"/> or <see cref="SealSize"/> hold. False before either, and always without memfds.</summary>
    public bool IsSealed => _seals != 0;

    /// <summary>
    /// Creates a region of zeros and maps it read-write. All its blocks are allocated now, so that full memory is an error here and no crash later. Nothing is left behind after a failure.
    /// </summary>
    /// <param name="name">Seen in /proc/PID/maps; the file's name where there are no memfds.</param>
    /// <param name="bytes">Size.</param>
    /// <param name="directory">For the file where there are no memfds.</param>
    /// <param name="prefault">Also enter each page into the page table, so that no first touch is slow.</param>
    /// <param name="progress">Told how many bytes are done, every few MiB.</param>
    /// <exception cref="IOException">There is not so much memory. The message says how much there is.</exception>
    public static SharedRegion Create(string name, long bytes, string directory, bool prefault = false, IProgress<long>? progress = null) =>
        Linux.IsSupported ? CreateMemfd(name, bytes, prefault, progress) : CreateFile(name, bytes, directory, prefault, progress);

    /// <summary>Maps what another process created.</summary>
    /// <param name="path">Its <see cref="Path"/>.</param>
    /// <param name="bytes">The size that was agreed upon: another size is an error.</param>
    /// <param name="writable">Refused by Linux for a region that was sealed with <see cref="SealReadOnlyForOthers"/>.</param>
    /// <exception cref="IOException">It isn't there any more, or has another size, or may not be mapped so.</exception>
    public static SharedRegion Open(string path, long bytes, bool writable)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bytes);
        SafeFileHandle? handle = null;
        try
        {
            handle = RegionFile.OpenExisting(path, writable);
            long length = RandomAccess.GetLength(handle);
            if (length != bytes)
            {
                throw new IOException($"The shared memory {path} has {length} bytes, not {bytes}: the two processes do not agree about its layout.");
            }

            return new SharedRegion(handle, path, bytes, writable ? MemoryMappedFileAccess.ReadWrite : MemoryMappedFileAccess.Read, isMemfd: false, deleteFile: false);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new IOException($"The shared memory {path} is gone: the process that made it has ended.", e);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or NotSupportedException)
        {
            handle?.Dispose();
            throw new IOException($"The shared memory {path} can't be mapped {(writable ? "for writing" : "for reading")}: {e.Message}", e);
        }
        catch
        {
            handle?.Dispose();
            throw;
        }
    }

    /// <summary>
    /// For a region that the other side only reads: from now on nobody can map it writable, write to its descriptor, punch holes into it, or change its size, not even by reopening it.
    /// This process's own mapping, made before, stays writable. Can't be undone or added to. Without memfds it does nothing, and <see cref="IsSealed"/> stays false.
    /// </summary>
    public void SealReadOnlyForOthers() => Seal(Linux.SealFutureWrite | Linux.SealShrink | Linux.SealGrow | Linux.SealSeal);

    /// <summary>For a region that the other side writes: its size stays what it is, so that nobody can take the memory away under a reader. Can't be undone or added to.</summary>
    public void SealSize() => Seal(Linux.SealShrink | Linux.SealGrow | Linux.SealSeal);

    /// <summary>Unmaps, closes, and deletes the file where there is one.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        Address = null;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _mapping.Dispose();
        _handle.Dispose();
        if (_deleteFile)
        {
            File.Delete(Path);
        }
    }

    /// <summary>The way of systems without memfds.</summary>
    internal static SharedRegion CreateFile(string name, long bytes, string directory, bool prefault, IProgress<long>? progress)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bytes);
        RegionFile.RefuseMoreThanThereIs(name, bytes);
        string path = System.IO.Path.Combine(directory, name);
        SafeFileHandle handle = RegionFile.CreateNew(path);
        return Build(handle, path, name, bytes, isMemfd: false, region => RegionFile.AllocateFile(handle, region, bytes, prefault, progress));
    }

    private static SharedRegion CreateMemfd(string name, long bytes, bool prefault, IProgress<long>? progress)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bytes);
        RegionFile.RefuseMoreThanThereIs(name, bytes);
        SafeFileHandle handle = RegionFile.CreateMemfd(name);
        string path = $"/proc/{Environment.ProcessId}/fd/{handle.DangerousGetHandle()}";
        return Build(handle, path, name, bytes, isMemfd: true, region => RegionFile.AllocateMemfd(handle, region, bytes, prefault, progress));
    }

    private static SharedRegion Build(SafeFileHandle handle, string path, string name, long bytes, bool isMemfd, Action<SharedRegion> allocate)
    {
        SharedRegion? region = null;
        try
        {
            RegionFile.SetLength(handle, name, bytes);
            region = new SharedRegion(handle, path, bytes, MemoryMappedFileAccess.ReadWrite, isMemfd, deleteFile: !isMemfd);
            allocate(region);
            return region;
        }
        catch (Exception e)
        {
            region?.Dispose();
            handle.Dispose();
            if (!isMemfd)
            {
                File.Delete(path);
            }

            if (e is RegionFile.NoMemoryException)
            {
                throw new IOException(RegionFile.Refusal(name, bytes), e);
            }

            throw;
        }
    }

    private void Seal(int seals)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (!_isMemfd || _seals == seals)
        {
            return;
        }

        if (_seals != 0)
        {
            throw new InvalidOperationException("A region is sealed one way or the other, once.");
        }

        if (Linux.Fcntl(_handle, Linux.AddSealsCommand, seals) != 0)
        {
            throw new IOException($"The shared memory {Path} can't be sealed: {Linux.ErrorText(Linux.Errno)}.");
        }

        _seals = seals;
    }
}
