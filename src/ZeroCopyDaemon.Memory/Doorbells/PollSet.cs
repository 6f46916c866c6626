using Microsoft.Win32.SafeHandles;
using ZeroCopyDaemon.Memory.Native;

namespace ZeroCopyDaemon.Memory.Doorbells;

/// <summary>
/// The descriptors that a loop sleeps on, all at once: epoll on Linux. Elsewhere a <see cref="Wait"/> sleeps a millisecond at most and reports everything as maybe ready, so that a user must be content
/// with finding nothing. One thread adds, removes and waits; <see cref="Wake"/> may come from any. Owns its own descriptors, not those that are added: remove them before they are closed.
/// </summary>
public sealed unsafe class PollSet : IDisposable
{
    // One Wait brings at most so many events; what is left over is reported by the next.
    private const int EventsAtMost = 256;
    private const ulong WakeMark = 1UL << 32;

    private readonly SafeFileHandle? _epoll;
    private readonly SafeFileHandle? _wake;
    private readonly PortablePollSet? _portable;

    // Linux writes into it while we wait: pinned, and the collector's, so that a Dispose at the wrong moment can't free it under the call.
    private readonly byte[] _events = [];
    private readonly bool _nanoseconds;
    private int _wakePending;

    /// <summary>An empty set.</summary>
    /// <exception cref="IOException">No descriptor is left.</exception>
    public PollSet()
        : this(portable: !Linux.IsSupported, nanoseconds: Linux.HasEpollPwait2)
    {
    }

    internal PollSet(bool portable, bool nanoseconds)
    {
        _nanoseconds = nanoseconds;
        if (portable)
        {
            _portable = new PortablePollSet();
            return;
        }

        _epoll = Own(Linux.EpollCreate(Linux.EpollCloseOnExec), "poll set");
        try
        {
            _wake = Own(Linux.Eventfd(0, Linux.EventfdNonBlocking | Linux.EventfdCloseOnExec), "poll set's wake-up");
            _events = GC.AllocateArray<byte>(EventsAtMost * Linux.EpollEventBytes, pinned: true);
            Control(Linux.EpollControlAdd, (int)_wake.DangerousGetHandle(), Linux.EpollIn, WakeMark);
        }
        catch
        {
            _wake?.Dispose();
            _epoll.Dispose();
            throw;
        }
    }

    /// <summary>Whether waiting is real here, not a short sleep.</summary>
    public static bool IsSupported => Linux.IsSupported;

    /// <summary>Adds a descriptor. With neither interest only a hang-up is reported. <paramref name="edge"/>: once for each change, so the user must read or write until it would block.</summary>
    public void Add(int fd, int token, bool read, bool write, bool edge = false)
    {
        if (_portable is not null)
        {
            _portable.Add(fd, token, read, write);
            return;
        }

        Control(Linux.EpollControlAdd, fd, Interest(read, write, edge), (uint)token);
    }

    /// <summary>Changes what was said of a descriptor.</summary>
    public void Modify(int fd, int token, bool read, bool write, bool edge = false)
    {
        if (_portable is not null)
        {
            _portable.Modify(fd, token, read, write);
            return;
        }

        Control(Linux.EpollControlModify, fd, Interest(read, write, edge), (uint)token);
    }

    /// <summary>Forgets a descriptor. To be done before it is closed: its number may be another's afterwards.</summary>
    public void Remove(int fd)
    {
        if (_portable is not null)
        {
            _portable.Remove(fd);
            return;
        }

        Control(Linux.EpollControlDelete, fd, 0, 0);
    }

    /// <summary>
    /// Waits until a descriptor is ready, somebody calls <see cref="Wake"/>, or the time is over. Returns how many events were written; 0 also after a wake-up, and now and then for no reason.
    /// Allocates nothing.
    /// </summary>
    /// <param name="events">At least one place.</param>
    /// <param name="timeoutUs">0: don't wait; negative: for ever.</param>
    public int Wait(Span<PollEvent> events, long timeoutUs)
    {
        if (events.IsEmpty)
        {
            throw new ArgumentException("There is no place for an event.", nameof(events));
        }

        if (_portable is not null)
        {
            return _portable.Wait(events, timeoutUs);
        }

        fixed (byte* raw = _events)
        {
            int room = Math.Min(events.Length, EventsAtMost);
            int ready = _nanoseconds
                ? Linux.EpollWaitNanoseconds(_epoll!, raw, room, timeoutUs)
                : Linux.EpollWait(_epoll!, raw, room, Milliseconds(timeoutUs));
            if (ready < 0)
            {
                int errno = Linux.Errno;
                return errno == Errno.Interrupted ? 0 : throw new IOException($"Waiting for descriptors failed: {Linux.ErrorText(errno)}.");
            }

            return Translate(raw, ready, events);
        }
    }

    /// <summary>Makes the present or the next <see cref="Wait"/> return. Any thread. Wake-ups that nobody has waited for yet count as one and cost no further system call.</summary>
    public void Wake()
    {
        if (_portable is not null)
        {
            _portable.Wake();
            return;
        }

        if (Interlocked.Exchange(ref _wakePending, 1) != 0)
        {
            return;
        }

        ulong one = 1;
        try
        {
            while (Linux.Write(_wake!, &one, sizeof(ulong)) < 0 && Linux.Errno == Errno.Interrupted)
            {
            }
        }
        catch (ObjectDisposedException)
        {
            // A set that is gone needs no waking: whoever wakes at shutdown can't know.
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _wake?.Dispose();
        _epoll?.Dispose();
        _portable?.Dispose();
    }

    private static SafeFileHandle Own(int fd, string what) =>
        fd >= 0 ? new SafeFileHandle(fd, ownsHandle: true) : throw new IOException($"No descriptor for the {what}: {Linux.ErrorText(Linux.Errno)}.");

    private static uint Interest(bool read, bool write, bool edge) =>
        (read ? Linux.EpollIn : 0) | (write ? Linux.EpollOut : 0) | (edge ? Linux.EpollEdge : 0);

    private static int Milliseconds(long timeoutUs) =>
        timeoutUs < 0 ? -1 : (int)Math.Min((timeoutUs + 999) / 1000, int.MaxValue);

    private int Translate(byte* raw, int ready, Span<PollEvent> events)
    {
        int count = 0;
        for (int i = 0; i < ready; i++, raw += Linux.EpollEventBytes)
        {
            uint flags = *(uint*)raw;
            ulong data = *(ulong*)(raw + Linux.EpollDataOffset);
            if (data == WakeMark)
            {
                // Read first: a Wake in between finds the flag set and is answered by this very return.
                ulong wakes;
                _ = Linux.Read(_wake!, &wakes, sizeof(ulong));
                Interlocked.Exchange(ref _wakePending, 0);
                continue;
            }

            bool gone = (flags & (Linux.EpollHangUp | Linux.EpollError)) != 0;
            events[count++] = new PollEvent((int)(uint)data, (flags & Linux.EpollIn) != 0, (flags & Linux.EpollOut) != 0, gone);
        }

        return count;
    }

    private void Control(int operation, int fd, uint interest, ulong data)
    {
        byte* request = stackalloc byte[16];
        *(uint*)request = interest;
        *(ulong*)(request + Linux.EpollDataOffset) = data;
        if (Linux.EpollControl(_epoll!, operation, fd, request) != 0)
        {
            throw new IOException($"Descriptor {fd} can't be waited for: {Linux.ErrorText(Linux.Errno)}.");
        }
    }
}
