using ZeroCopyDaemon.Memory.Mapping;

namespace ZeroCopyDaemon.Memory.Doorbells;

/// <summary>
/// A doorbell where there are no FIFOs: words in a small mapped file, which the reader looks at. A writer that closes is noticed; one that is killed is not (the control stream tells of that).
/// </summary>
internal sealed unsafe class PortableBell : IDisposable
{
    private const int FileBytes = 4096;
    private const int RingsWord = 0;
    private const int ReaderGoneWord = 64;
    private const int EverOpenedWord = 128;
    private const int WritersWord = 192;

    private readonly SharedRegion _region;
    private readonly bool _isReader;
    private readonly Lock _closing = new();
    private int _seen;
    private bool _disposed;

    private PortableBell(SharedRegion region, bool isReader)
    {
        _region = region;
        _isReader = isReader;
    }

    public static PortableBell Create(string path)
    {
        string directory = Path.GetDirectoryName(Path.GetFullPath(path))!;
        return new PortableBell(SharedRegion.CreateFile(Path.GetFileName(path), FileBytes, directory, prefault: false, progress: null), isReader: true);
    }

    public static PortableBell Open(string path)
    {
        var bell = new PortableBell(SharedRegion.Open(path, FileBytes, writable: true), isReader: false);
        if (Volatile.Read(ref bell.Word(ReaderGoneWord)) != 0)
        {
            bell._region.Dispose();
            throw new IOException($"No kernel host listens on the doorbell {path}: it has ended.");
        }

        Interlocked.Increment(ref bell.Word(WritersWord));
        Interlocked.Exchange(ref bell.Word(EverOpenedWord), 1);
        return bell;
    }

    public bool Ring()
    {
        lock (_closing)
        {
            if (_disposed || Volatile.Read(ref Word(ReaderGoneWord)) != 0)
            {
                return false;
            }

            Interlocked.Increment(ref Word(RingsWord));
            return true;
        }
    }

    public BellState Drain()
    {
        bool hungUp = Volatile.Read(ref Word(EverOpenedWord)) != 0 && Volatile.Read(ref Word(WritersWord)) == 0;
        int rings = Volatile.Read(ref Word(RingsWord));
        if (rings != _seen)
        {
            _seen = rings;
            return BellState.Rung;
        }

        return hungUp ? BellState.HungUp : BellState.Quiet;
    }

    public void Dispose()
    {
        lock (_closing)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            if (_isReader)
            {
                Interlocked.Exchange(ref Word(ReaderGoneWord), 1);
            }
            else
            {
                Interlocked.Decrement(ref Word(WritersWord));
            }

            _region.Dispose();
        }
    }

    private ref int Word(int offset) => ref *(int*)(_region.Address + offset);
}
