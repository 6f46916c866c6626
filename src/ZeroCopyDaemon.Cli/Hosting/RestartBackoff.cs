namespace ZeroCopyDaemon.Cli.Hosting;

/// <summary>How long to wait before a dead worker is replaced: hardly at all after a good life, twice as long each time after an early death.</summary>
internal sealed class RestartBackoff
{
    public static readonly TimeSpan Shortest = TimeSpan.FromMilliseconds(100);

    public static readonly TimeSpan Longest = TimeSpan.FromSeconds(5);

    /// <summary>Who dies before this has died young.</summary>
    public static readonly TimeSpan Youth = TimeSpan.FromSeconds(10);

    private TimeSpan _next = Shortest;

    /// <summary>The wait after a life of that length.</summary>
    public TimeSpan After(TimeSpan life)
    {
        if (life >= Youth)
        {
            _next = Shortest;
        }

        TimeSpan wait = _next;
        _next = _next * 2 > Longest ? Longest : _next * 2;
        return wait;
    }
}
