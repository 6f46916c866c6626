using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Wires.Sim;

namespace ZeroCopyDaemon.Wires.Impaired;

/// <summary>
/// The way out of an impaired wire. A frame that is under way is a private copy (<see cref="FlyingFrame"/>) and goes to the wire below when it is due; one that nothing happens to goes there at once,
/// uncopied. What the wire below holds back stays first in line, and the NIC is held back meanwhile, so that nothing is lost for it. Single-threaded.
/// </summary>
internal sealed class ImpairedTx(IWirePort below, ImpairmentOptions options, ulong seed)
{
    private readonly Impairment _impairment = new(options, new SimRandom(seed));
    private readonly FrameStore _store = new();
    private readonly PriorityQueue<FlyingFrame, (long DueUs, long Order)> _flying = new();
    private readonly ImpairmentCounters _counters = new("tx");
    private long _order;

    /// <summary>A frame is due and the wire below didn't take it.</summary>
    public bool HeldBack { get; private set; }

    /// <summary>When the next frame is due, or <see cref="long.MaxValue"/>.</summary>
    public long NextDueUs => _flying.TryPeek(out _, out (long DueUs, long Order) first) ? first.DueUs : long.MaxValue;

    /// <summary>Takes a frame of the NIC's, unless one that is due is held back.</summary>
    public bool TryCarry(in TxFrame frame, long nowUs)
    {
        Deliver(nowUs);
        if (HeldBack)
        {
            return false;
        }

        ImpairmentVerdict verdict = _impairment.Decide(frame.Length, BitFlips.AreNoticed(frame.Headers, frame.Length), _flying.Count, nowUs);
        _counters.Frames++;
        _counters.Count(verdict);
        if (verdict.IsDropped)
        {
            return true;
        }

        bool copyToo = (verdict.Fate & FrameFate.Duplicated) != 0 && _flying.Count + 1 < options.QueueFrames;
        bool corrupted = (verdict.Fate & FrameFate.Corrupted) != 0;
        if (verdict.ArrivesUs <= nowUs && !corrupted && !copyToo)
        {
            if (below.TryCarry(frame, nowUs))
            {
                _counters.Delivered++;
                return true;
            }

            HeldBack = true;
        }

        FlyingFrame flying = _store.Copy(frame);
        if (copyToo)
        {
            // Taken before bits are flipped: one of the two may arrive unharmed.
            _counters.Duplicated++;
            _flying.Enqueue(_store.Copy(flying), (verdict.CopyArrivesUs, _order++));
        }

        if (corrupted)
        {
            BitFlips.Apply(verdict.Flips, flying.Bytes);
        }

        _flying.Enqueue(flying, (verdict.ArrivesUs, _order++));
        if (!HeldBack)
        {
            Deliver(nowUs);
        }

        return true;
    }

    /// <summary>Hands over what is due, as far as the wire below takes it. Returns frames.</summary>
    public int Deliver(long nowUs)
    {
        Span<TxChunk> chunk = stackalloc TxChunk[1];
        int delivered = 0;
        HeldBack = false;
        while (_flying.TryPeek(out FlyingFrame? flying, out (long DueUs, long Order) first) && first.DueUs <= nowUs)
        {
            if (!below.TryCarry(flying.AsTxFrame(chunk), nowUs))
            {
                HeldBack = true;
                break;
            }

            _flying.Dequeue();
            _store.Return(flying);
            _counters.Delivered++;
            delivered++;
        }

        return delivered;
    }

    /// <summary>Forgets what is under way.</summary>
    public void Clear() => _flying.Clear();

    public void VisitCounters(ICounterVisitor visitor) => _counters.Visit(visitor, _flying.Count);
}
