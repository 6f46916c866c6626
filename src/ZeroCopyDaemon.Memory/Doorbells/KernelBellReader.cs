using Microsoft.Win32.SafeHandles;
using ZeroCopyDaemon.Memory.Native;

namespace ZeroCopyDaemon.Memory.Doorbells;

/// <summary>What <see cref="KernelBellReader.Drain"/> found.</summary>
public enum BellState
{
    /// <summary>Nobody rang.</summary>
    Quiet,

    /// <summary>Rung since the last look.</summary>
    Rung,

    /// <summary>A worker had opened it, and nobody has it open any more. What was rung before may still be on the submission ring. Stays.</summary>
    HungUp,
}

/// <summary>
/// The kernel host's end of one worker's doorbell: a FIFO that lies in the same epoll set as the wires' descriptors. Owns the descriptor and the FIFO's name: <see cref="Dispose"/> closes and unlinks.
/// For the loop's thread. Where there are no FIFOs it is a small mapped file that has to be looked at; a killed worker is then not noticed here.
/// </summary>
public sealed unsafe class KernelBellReader : IDisposable
{
    // What a FIFO holds: a worker that rings without end can't keep the loop here.
    private const int ReadsAtMost = 16;
    private const int ReadBytes = 4096;

    private static int s_lastPortableFd = -1;

    private readonly SafeFileHandle? _fifo;
    private readonly PortableBell? _portable;
    private readonly byte[] _scratch = [];
    private bool _opened;
    private bool _disposed;

    private KernelBellReader(string path, int fd, SafeFileHandle? fifo, PortableBell? portable)
    {
        Path = path;
        Fd = fd;
        _fifo = fifo;
        _portable = portable;
        if (fifo is not null)
        {
            _scratch = GC.AllocateUninitializedArray<byte>(ReadBytes, pinned: true);
        }
    }

    /// <summary>For <see cref="PollSet.Add"/>: a descriptor to read, or a negative number that only the portable poll set understands.</summary>
    public int Fd { get; }

    /// <summary>What the worker opens.</summary>
    public string Path { get; }

    /// <summary>Makes the FIFO, for this user only, and opens it. A file that a crashed kernel host left under the name is replaced.</summary>
    /// <exception cref="IOException">It can't be made.</exception>
    public static KernelBellReader Create(string path) => Create(path, portable: !Linux.IsSupported);

    /// <summary>Reads all rings and forgets them: however many there were, one look at the submission ring answers them.</summary>
    public BellState Drain()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return _fifo is null ? _portable!.Drain() : DrainFifo(_fifo);
    }

    /// <summary>Closes and unlinks: a worker's next ring says that the kernel is gone.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _fifo?.Dispose();
        _portable?.Dispose();
        File.Delete(Path);
    }

    internal static KernelBellReader Create(string path, bool portable)
    {
        File.Delete(path);
        if (portable)
        {
            return new KernelBellReader(path, Interlocked.Decrement(ref s_lastPortableFd), null, PortableBell.Create(path));
        }

        if (Linux.Mkfifo(path, Linux.UserReadWrite) != 0)
        {
            throw new IOException($"The doorbell {path} can't be made: {Linux.ErrorText(Linux.Errno)}.");
        }

        int fd = Linux.Open(path, Linux.OpenReadOnly | Linux.OpenNonBlocking | Linux.OpenCloseOnExec, 0);
        if (fd < 0)
        {
            int errno = Linux.Errno;
            File.Delete(path);
            throw new IOException($"The doorbell {path} can't be opened: {Linux.ErrorText(errno)}.");
        }

        return new KernelBellReader(path, fd, new SafeFileHandle(fd, ownsHandle: true), null);
    }

    private BellState DrainFifo(SafeFileHandle fifo)
    {
        BellState state = BellState.Quiet;
        fixed (byte* scratch = _scratch)
        {
            for (int reads = 0; reads < ReadsAtMost; reads++)
            {
                nint got = Linux.Read(fifo, scratch, ReadBytes);
                if (got > 0)
                {
                    _opened = true;
                    state = BellState.Rung;
                    if (got < ReadBytes)
                    {
                        // Empty but for what came this moment, and epoll tells of that. A hang-up too.
                        return state;
                    }
                }
                else if (got == 0)
                {
                    return _opened || HasHungUp(fifo) ? BellState.HungUp : state;
                }
                else if (Linux.Errno != Errno.Interrupted)
                {
                    // EAGAIN: somebody has it open, for an empty FIFO without writers is at its end.
                    _opened |= Linux.Errno == Errno.TryAgain;
                    return state;
                }
            }
        }

        return state;
    }

    /// <summary>A FIFO reads as ended before its first writer too; the poll flag tells the one from the other.</summary>
    private bool HasHungUp(SafeFileHandle fifo)
    {
        var descriptor = new Linux.PollDescriptor { Fd = (int)fifo.DangerousGetHandle() };
        _opened = Linux.Poll(&descriptor, 1, 0) > 0 && (descriptor.Returned & Linux.PollHangUp) != 0;
        return _opened;
    }
}
