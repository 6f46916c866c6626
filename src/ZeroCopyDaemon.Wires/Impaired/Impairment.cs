using ZeroCopyDaemon.Wires.Sim;

namespace ZeroCopyDaemon.Wires.Impaired;

/// <summary>What an <see cref="Impairment"/> decided about one frame.</summary>
/// <param name="Fate">Lost and dropped frames have no further fate.</param>
/// <param name="ArrivesUs">When it arrives. Meaningless if it doesn't.</param>
/// <param name="CopyArrivesUs">When the second copy of a duplicated frame arrives. It is never corrupted.</param>
/// <param name="Flips">Decides which bits of a corrupted frame are flipped: see <see cref="BitFlips"/>.</param>
public readonly record struct ImpairmentVerdict(FrameFate Fate, long ArrivesUs, long CopyArrivesUs, ulong Flips)
{
    /// <summary>The frame doesn't arrive.</summary>
    public bool IsDropped => (Fate & (FrameFate.Lost | FrameFate.QueueDropped)) != 0;
}

/// <summary>
/// One direction of a wire that loses, repeats, delays, overtakes and harms frames: decides, and touches no frame. Pure but for its random numbers and for when its line is free again: the same
/// seed, frames and times give the same verdicts. Single-threaded.
/// </summary>
/// <param name="options">What happens how often.</param>
/// <param name="random">May be shared with other directions; each verdict draws the same count of numbers from it, whatever the options.</param>
public sealed class Impairment(ImpairmentOptions options, SimRandom random)
{
    private long _freeAtUs;
    private long _lastArrivalUs;

    /// <summary>Decides about the next frame.</summary>
    /// <param name="bytes">Bytes of the frame.</param>
    /// <param name="checksummed">An Internet checksum covers what may be flipped; a frame without one is lost instead of harmed.</param>
    /// <param name="underWay">Frames of this direction that were taken and have not arrived.</param>
    /// <param name="nowUs">When it is sent; never less than before.</param>
    public ImpairmentVerdict Decide(int bytes, bool checksummed, int underWay, long nowUs)
    {
        // Every draw is made for every frame, so that one setting does not shift the others' luck.
        bool lost = random.Chance(options.Loss);
        bool duplicated = random.Chance(options.Duplication);
        bool reordered = random.Chance(options.Reordering);
        bool corrupted = random.Chance(options.Corruption);
        long jitterUs = random.Below(options.JitterUs + 1);
        long reorderUs = random.Below(options.ReorderUs + 1);
        long duplicateUs = random.Below(options.ReorderUs + 1);
        ulong flips = random.NextUInt64();

        if (lost || (corrupted && !checksummed))
        {
            return new ImpairmentVerdict(FrameFate.Lost, 0, 0, flips);
        }

        if (underWay >= options.QueueFrames)
        {
            return new ImpairmentVerdict(FrameFate.QueueDropped, 0, 0, flips);
        }

        FrameFate fate = (duplicated ? FrameFate.Duplicated : 0) | (reordered ? FrameFate.Reordered : 0) | (corrupted ? FrameFate.Corrupted : 0);
        long copyArrivesUs = duplicated ? SendAt(bytes, nowUs) + options.LatencyUs + duplicateUs : 0;
        long arrivesUs = SendAt(bytes, nowUs) + options.LatencyUs + jitterUs;
        if (reordered)
        {
            arrivesUs += reorderUs;
        }
        else
        {
            arrivesUs = _lastArrivalUs = Math.Max(_lastArrivalUs, arrivesUs);
        }

        return new ImpairmentVerdict(fate, arrivesUs, copyArrivesUs, flips);
    }

    /// <summary>When the last bit has left, at the line's rate.</summary>
    private long SendAt(int bytes, long nowUs)
    {
        if (options.BitsPerSecond == 0)
        {
            return nowUs;
        }

        _freeAtUs = Math.Max(_freeAtUs, nowUs) + Math.Max(1, bytes * 8L * 1_000_000 / options.BitsPerSecond);
        return _freeAtUs;
    }
}
