namespace ZeroCopyDaemon.Memory.Doorbells;

/// <summary>One descriptor of a <see cref="PollSet"/> that something can be done with.</summary>
public readonly struct PollEvent
{
    /// <summary>What <see cref="PollSet.Add"/> was given.</summary>
    public readonly int Token;

    /// <summary>Reading doesn't block (it may return the end of a stream).</summary>
    public readonly bool Readable;

    /// <summary>Writing doesn't block.</summary>
    public readonly bool Writable;

    /// <summary>The other side is gone, or the descriptor is in error. Reported without being asked for.</summary>
    public readonly bool HangUp;

    internal PollEvent(int token, bool readable, bool writable, bool hangUp)
    {
        Token = token;
        Readable = readable;
        Writable = writable;
        HangUp = hangUp;
    }
}
