namespace ZeroCopyDaemon.Wires.Impaired;

/// <summary>
/// What a wire does to frames, each direction for itself. Probabilities are per frame, 0 to 1, and independent of each other. The default does nothing at all.
/// </summary>
public record ImpairmentOptions
{
    /// <summary>Everything random follows from it.</summary>
    public ulong Seed { get; init; }

    /// <summary>One-way delay in microseconds.</summary>
    public long LatencyUs { get; init; }

    /// <summary>Up to this much is added to each frame's delay. Order is kept all the same: only <see cref="Reordering"/> changes it.</summary>
    public long JitterUs { get; init; }

    /// <summary>Bits per second in each direction; 0 = unlimited.</summary>
    public long BitsPerSecond { get; init; }

    /// <summary>Most frames under way in one direction, queued ones included; what comes on top is dropped from the tail.</summary>
    public int QueueFrames { get; init; } = 4096;

    /// <summary>A frame is lost.</summary>
    public double Loss { get; init; }

    /// <summary>A frame arrives twice.</summary>
    public double Duplication { get; init; }

    /// <summary>A frame is overtaken: it is held back by up to <see cref="ReorderUs"/> more, and those behind it are not.</summary>
    public double Reordering { get; init; }

    /// <summary>Longest extra delay of an overtaken frame, and of the second copy of one that arrives twice.</summary>
    public long ReorderUs { get; init; } = 1000;

    /// <summary>
    /// One to three bits within 15 successive ones are flipped. The Internet checksum finds every error burst of up to 15 bits, so whatever gets past a receiver is the receiver's fault. Frames
    /// without such a checksum of their own (ARP, IP fragments) are lost instead, as Ethernet's own check would have it.
    /// </summary>
    public double Corruption { get; init; }

    /// <summary>
    /// Reads a specification such as <c>loss=1%,delay=20ms,jitter=2ms,reorder=1%,duplicate=0.1%,corrupt=0.01%,rate=100mbit,queue=1000,seed=7</c>: what is not named is left out. Throws
    /// <see cref="FormatException"/> whose message says what is wrong and what would be right.
    /// </summary>
    public static ImpairmentOptions Parse(string specification) => ImpairmentSpecification.Parse(specification);
}
