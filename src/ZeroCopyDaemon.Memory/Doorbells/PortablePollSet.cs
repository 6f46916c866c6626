namespace ZeroCopyDaemon.Memory.Doorbells;

/// <summary>Stands in for epoll: sleeps a millisecond at most, then calls everything ready that anybody wanted to know of.</summary>
internal sealed class PortablePollSet : IDisposable
{
    private readonly List<Entry> _entries = [];
    private readonly SemaphoreSlim _wake = new(0);
    private int _wakePending;
    private int _next;

    public void Add(int fd, int token, bool read, bool write)
    {
        if (IndexOf(fd) >= 0)
        {
            throw new IOException($"Descriptor {fd} can't be waited for: it is in the set already.");
        }

        _entries.Add(new Entry(fd, token, read, write));
    }

    public void Modify(int fd, int token, bool read, bool write) => _entries[Find(fd)] = new Entry(fd, token, read, write);

    public void Remove(int fd) => _entries.RemoveAt(Find(fd));

    public int Wait(Span<PollEvent> events, long timeoutUs)
    {
        if (_wake.Wait(timeoutUs == 0 ? 0 : 1))
        {
            Interlocked.Exchange(ref _wakePending, 0);
        }

        // Begins where the last call ended, so that all have their turn when there is little room.
        int count = 0;
        for (int i = 0; i < _entries.Count && count < events.Length; i++)
        {
            _next = _next >= _entries.Count ? 0 : _next;
            Entry entry = _entries[_next++];
            if (entry.Read || entry.Write)
            {
                events[count++] = new PollEvent(entry.Token, entry.Read, entry.Write, hangUp: false);
            }
        }

        return count;
    }

    public void Wake()
    {
        if (Interlocked.Exchange(ref _wakePending, 1) == 0)
        {
            try
            {
                _wake.Release();
            }
            catch (ObjectDisposedException)
            {
                // As with a real set: one that is gone needs no waking.
            }
        }
    }

    public void Dispose() => _wake.Dispose();

    private int Find(int fd)
    {
        int index = IndexOf(fd);
        return index >= 0 ? index : throw new IOException($"Descriptor {fd} can't be waited for: it is not in the set.");
    }

    private int IndexOf(int fd)
    {
        for (int i = 0; i < _entries.Count; i++)
        {
            if (_entries[i].Fd == fd)
            {
                return i;
            }
        }

        return -1;
    }

    private readonly record struct Entry(int Fd, int Token, bool Read, bool Write);
}
