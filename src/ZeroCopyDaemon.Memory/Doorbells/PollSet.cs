namespace ZeroCopyDaemon.Memory.Doorbells;

/// <summary>Readiness of file descriptors: epoll on Linux; elsewhere sleeps at most 1 ms and reports everything as maybe ready.</summary>
public sealed class PollSet : IDisposable
{
    private static InvalidOperationException Stub => new("stub");

    public static bool IsSupported => throw Stub;

    public void Add(int fd, int token, bool read, bool write, bool edge = false) => throw Stub;

    public void Modify(int fd, int token, bool read, bool write, bool edge = false) => throw Stub;

    public void Remove(int fd) => throw Stub;

    public int Wait(Span<PollEvent> events, long timeoutUs) => throw Stub;

    public void Wake() => throw Stub;

    public void Dispose()
    {
    }
}

/// <summary>One descriptor that is ready.</summary>
public readonly struct PollEvent(int token, bool readable, bool writable, bool hangUp)
{
    public readonly int Token = token;
    public readonly bool Readable = readable;
    public readonly bool Writable = writable;
    public readonly bool HangUp = hangUp;
}
