namespace ZeroCopyDaemon.Wires.Impaired;

/// <summary>What becomes of a frame on a wire that isn't perfect.</summary>
[Flags]
public enum FrameFate : byte
{
    /// <summary>Delivered once, unharmed and in order.</summary>
    Carried = 0,

    /// <summary>Lost at random.</summary>
    Lost = 1,

    /// <summary>Dropped because too many were under way.</summary>
    QueueDropped = 2,

    /// <summary>Delivered twice.</summary>
    Duplicated = 4,

    /// <summary>Held back.</summary>
    Reordered = 8,

    /// <summary>Bits were flipped.</summary>
    Corrupted = 16,
}
