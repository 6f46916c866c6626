using ZeroCopyDaemon.Memory.Counters;

namespace ZeroCopyDaemon.Wires.Impaired;

/// <summary>What was done to the frames of one direction. Frames plus duplicated ones are delivered, lost, dropped, or held.</summary>
internal sealed class ImpairmentCounters(string direction)
{
    private readonly string _frames = $"impair.{direction}_frames";
    private readonly string _delivered = $"impair.{direction}_delivered";
    private readonly string _lost = $"impair.{direction}_lost";
    private readonly string _queueDropped = $"impair.{direction}_queue_dropped";
    private readonly string _duplicated = $"impair.{direction}_duplicated";
    private readonly string _reordered = $"impair.{direction}_reordered";
    private readonly string _corrupted = $"impair.{direction}_corrupted";
    private readonly string _held = $"impair.{direction}_held";

    public long Frames;
    public long Delivered;
    public long Lost;
    public long QueueDropped;
    public long Duplicated;
    public long Reordered;
    public long Corrupted;

    /// <summary>Counts a verdict, but for the copy of a duplicated frame: that counts once it is made.</summary>
    public void Count(in ImpairmentVerdict verdict)
    {
        Lost += verdict.Fate == FrameFate.Lost ? 1 : 0;
        QueueDropped += verdict.Fate == FrameFate.QueueDropped ? 1 : 0;
        Reordered += (verdict.Fate & FrameFate.Reordered) != 0 ? 1 : 0;
        Corrupted += (verdict.Fate & FrameFate.Corrupted) != 0 ? 1 : 0;
    }

    public void Visit(ICounterVisitor visitor, int held)
    {
        visitor.Counter(_frames, Frames);
        visitor.Counter(_delivered, Delivered);
        visitor.Counter(_lost, Lost);
        visitor.Counter(_queueDropped, QueueDropped);
        visitor.Counter(_duplicated, Duplicated);
        visitor.Counter(_reordered, Reordered);
        visitor.Counter(_corrupted, Corrupted);
        visitor.Counter(_held, held);
    }
}
