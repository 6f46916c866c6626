namespace ZeroCopyDaemon.Wires.Sim;

/// <summary>What a <see cref="SimWire"/> does to frames. Probabilities are per frame, 0 to 1, and independent of each other.</summary>
public sealed record SimWireOptions
{
    /// <summary>Everything random follows from it.</summary>
    public ulong Seed { get; init; }

    /// <summary>One-way delay in microseconds.</summary>
    public long LatencyUs { get; init; } = 100;

    /// <summary>Up to this much is added to each frame's delay. Order is kept all the same: only <see cref="Reordering"/> changes it.</summary>
    public long JitterUs { get; init; }

    /// <summary>Bits per second in each direction; 0 = unlimited.</summary>
    public long BitsPerSecond { get; init; }

    /// <summary>Most frames under way from one port, queued ones included; what comes on top is dropped from the tail.</summary>
    public int QueueFrames { get; init; } = 4096;

    /// <summary>A frame is lost.</summary>
    public double Loss { get; init; }

    /// <summary>A frame arrives twice.</summary>
    public double Duplication { get; init; }

    /// <summary>A frame is overtaken: it is held back by up to <see cref="ReorderUs"/> more, and those behind it are not.</summary>
    public double Reordering { get; init; }

    /// <summary>Longest extra delay of an overtaken frame.</summary>
    public long ReorderUs { get; init; } = 1000;

    /// <summary>
    /// One to three bits within 15 successive ones are flipped. The Internet checksum finds every error burst of up to 15 bits, so whatever gets past a receiver is the receiver's fault. Frames
    /// without such a checksum (ARP) are lost instead, as Ethernet's own check would have it.
    /// </summary>
    public double Corruption { get; init; }
}

/// <summary>What became of a frame on the wire.</summary>
[Flags]
public enum SimFrameFate : byte
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

/// <summary>Sees each frame as it is sent, before the wire does anything to it. For traces and checkers.</summary>
public interface ISimWireObserver
{
    /// <summary>The frame is complete and contiguous; it is valid during the call only.</summary>
    void OnFrame(int fromPort, ReadOnlySpan<byte> frame, SimFrameFate fate, long nowUs);
}
