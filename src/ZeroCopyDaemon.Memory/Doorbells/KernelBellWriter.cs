using Microsoft.Win32.SafeHandles;
using ZeroCopyDaemon.Memory.Native;

namespace ZeroCopyDaemon.Memory.Doorbells;

/// <summary>
/// A worker's end of the doorbell into the kernel host. Owns the descriptor. Any thread may ring. In a <see cref="PollSet"/> its <see cref="Fd"/> reports a hang-up when the kernel host is gone,
/// with interest in neither reading nor writing.
/// </summary>
public sealed unsafe class KernelBellWriter : IDisposable
{
    private readonly SafeFileHandle? _fifo;
    private readonly PortableBell? _portable;

    private KernelBellWriter(SafeFileHandle? fifo, PortableBell? portable)
    {
        _fifo = fifo;
        _portable = portable;
        Fd = fifo is null ? -1 : (int)fifo.DangerousGetHandle();
    }

    /// <summary>The FIFO's descriptor, to be watched for the kernel's death; -1 where there are no FIFOs.</summary>
    public int Fd { get; }

    /// <summary>Opens what <see cref="KernelBellReader.Create(string)"/> made.</summary>
    /// <exception cref="IOException">There is no doorbell under that name, or no kernel host behind it.</exception>
    public static KernelBellWriter Open(string path) => Open(path, portable: !Linux.IsSupported);

    /// <summary>Rings. False: the kernel host is gone (or this end is disposed).</summary>
    public bool Ring()
    {
        if (_fifo is null)
        {
            return _portable!.Ring();
        }

        byte ring = 1;
        try
        {
            while (true)
            {
                // The runtime ignores SIGPIPE, so that a FIFO without reader is an error and no signal. A full FIFO has been rung often enough.
                if (Linux.Write(_fifo, &ring, 1) == 1 || Linux.Errno == Errno.TryAgain)
                {
                    return true;
                }

                if (Linux.Errno != Errno.Interrupted)
                {
                    return false;
                }
            }
        }
        catch (ObjectDisposedException)
        {
            return false;
        }
    }

    /// <summary>To be called after publishing: rings if the kernel has said that it sleeps. <paramref name="rung"/> says whether that cost a system call. False: the kernel host is gone.</summary>
    /// <param name="kernelSleeping">u32, not 0 while the kernel's loop sleeps or is about to.</param>
    /// <param name="rung">Whether it was rung.</param>
    public bool RingIfAsleep(byte* kernelSleeping, out bool rung)
    {
        // The kernel does the same the other way round: it says that it sleeps, then looks at the ring.
        Interlocked.MemoryBarrier();
        rung = Volatile.Read(ref *(uint*)kernelSleeping) != 0;
        return !rung || Ring();
    }

    /// <summary>Closes. The kernel host sees a hang-up.</summary>
    public void Dispose()
    {
        _fifo?.Dispose();
        _portable?.Dispose();
    }

    internal static KernelBellWriter Open(string path, bool portable)
    {
        if (portable)
        {
            return new KernelBellWriter(null, PortableBell.Open(path));
        }

        int fd = Linux.Open(path, Linux.OpenWriteOnly | Linux.OpenNonBlocking | Linux.OpenCloseOnExec, 0);
        if (fd < 0)
        {
            int errno = Linux.Errno;
            throw new IOException(errno is Errno.NoDeviceOrAddress or Errno.NoEntry
                ? $"No kernel host listens on the doorbell {path}: it has ended."
                : $"The doorbell {path} can't be opened: {Linux.ErrorText(errno)}.");
        }

        return new KernelBellWriter(new SafeFileHandle(fd, ownsHandle: true), null);
    }
}
