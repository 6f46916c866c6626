namespace ZeroCopyDaemon.Net.Ip;

/// <summary>A rate limit: a bucket of one second's tokens, refilled evenly. A mutable value that keeps no clock.</summary>
internal struct TokenBucket(int perSecond)
{
    private const long UnitsPerToken = 1_000_000;
    private const long FullAfterUs = 1_000_000;

    private long _units = perSecond * UnitsPerToken;
    private long _lastUs;

    /// <summary>Takes a token, if there is one.</summary>
    public bool TryTake(long nowUs)
    {
        long elapsedUs = Math.Clamp(nowUs - _lastUs, 0, FullAfterUs);
        _lastUs = nowUs;
        _units = Math.Min(_units + (elapsedUs * perSecond), perSecond * UnitsPerToken);
        if (_units < UnitsPerToken)
        {
            return false;
        }

        _units -= UnitsPerToken;
        return true;
    }
}
