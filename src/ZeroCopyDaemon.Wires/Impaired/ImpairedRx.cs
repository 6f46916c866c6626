using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Wires.Sim;

namespace ZeroCopyDaemon.Wires.Impaired;

/// <summary>
/// The way in of an impaired wire: sits between driver and stack. What it holds back it holds by reference (<see cref="HeldFrame"/>); it owns those chains until it hands them up, drops them, or
/// <see cref="Clear"/> releases them. A frame that nothing happens to goes up at once. Single-threaded.
/// </summary>
internal sealed class ImpairedRx : IFrameReceiver
{
    // What is held is nobody's to charge, so the kernel keeps that much of the pool free for it.
    private const int ShareOfPool = 8;

    private readonly IFrameReceiver _stack;
    private readonly PagePool _pool;
    private readonly ImpairmentOptions _options;
    private readonly Impairment _impairment;
    private readonly PriorityQueue<HeldFrame, (long DueUs, long Order)> _held = new();
    private readonly Stack<HeldFrame> _spare = new();
    private readonly ImpairmentCounters _counters = new("rx");
    private long _order;
    private int _fragments;

    public ImpairedRx(IFrameReceiver stack, PagePool pool, ImpairmentOptions options, ulong seed)
    {
        _stack = stack;
        _pool = pool;
        _options = options;
        _impairment = new Impairment(options, new SimRandom(seed));
        MaxPages = Math.Max(1, pool.Geometry.PageCount / ShareOfPool);
    }

    /// <summary>Most pages that it holds back.</summary>
    public int MaxPages { get; }

    /// <summary>When the next frame is due, or <see cref="long.MaxValue"/>.</summary>
    public long NextDueUs => _held.TryPeek(out _, out (long DueUs, long Order) first) ? first.DueUs : long.MaxValue;

    /// <inheritdoc/>
    public void Receive(in RxFrame frame, long nowUs)
    {
        Deliver(nowUs);
        int length = frame.Headers.Length + frame.PayloadLength;
        ImpairmentVerdict verdict = _impairment.Decide(length, BitFlips.AreNoticed(frame.Headers, length), _held.Count, nowUs);
        _counters.Frames++;
        if (verdict.Fate == FrameFate.Carried && verdict.ArrivesUs <= nowUs)
        {
            _counters.Delivered++;
            _stack.Receive(frame, nowUs);
            return;
        }

        int fragments = Count(frame.Payload);
        if (!verdict.IsDropped && _fragments + fragments > MaxPages)
        {
            verdict = new ImpairmentVerdict(FrameFate.QueueDropped, 0, 0, 0);
        }

        _counters.Count(verdict);
        if (verdict.IsDropped)
        {
            _pool.ReleaseChain(frame.Payload);
            return;
        }

        bool duplicated = (verdict.Fate & FrameFate.Duplicated) != 0 && TryHoldCopy(frame, fragments, verdict.CopyArrivesUs);
        HeldFrame held = Hold(frame, frame.Payload, fragments, verdict.ArrivesUs);
        if ((verdict.Fate & FrameFate.Corrupted) != 0)
        {
            ReceivedFrameCorruption.Apply(held, _pool, verdict.Flips, headersOnly: duplicated);
        }

        Deliver(nowUs);
    }

    /// <summary>Hands up what is due. Returns frames.</summary>
    public int Deliver(long nowUs)
    {
        int delivered = 0;
        while (_held.TryPeek(out HeldFrame? held, out (long DueUs, long Order) first) && first.DueUs <= nowUs)
        {
            _held.Dequeue();
            _fragments -= held.Fragments;
            _counters.Delivered++;
            delivered++;
            _stack.Receive(held.AsRxFrame(), nowUs);
            _spare.Push(held);
        }

        return delivered;
    }

    /// <summary>Releases what is held.</summary>
    public void Clear()
    {
        while (_held.TryDequeue(out HeldFrame? held, out _))
        {
            _pool.ReleaseChain(held.Payload);
        }

        _fragments = 0;
    }

    public void VisitCounters(ICounterVisitor visitor) => _counters.Visit(visitor, _held.Count);

    private bool TryHoldCopy(in RxFrame frame, int fragments, long dueUs)
    {
        if (_held.Count + 1 >= _options.QueueFrames || _fragments + (2 * fragments) > MaxPages || !TryShare(frame.Payload, out int copy))
        {
            return false;
        }

        Hold(frame, copy, fragments, dueUs);
        _counters.Duplicated++;
        return true;
    }

    /// <summary>Makes a second chain over the same bytes. False if the fragment table is full.</summary>
    private bool TryShare(int chain, out int copy)
    {
        copy = PagePool.NoFragment;
        int tail = PagePool.NoFragment;
        for (; chain != PagePool.NoFragment; chain = _pool[chain].Next)
        {
            int slot = _pool.AddFragment(_pool[chain].Page, _pool[chain].Offset, _pool[chain].Length);
            if (slot == PagePool.NoFragment)
            {
                _pool.ReleaseChain(copy);
                return false;
            }

            if (tail == PagePool.NoFragment)
            {
                copy = slot;
            }
            else
            {
                _pool[tail].Next = slot;
            }

            tail = slot;
        }

        return true;
    }

    private HeldFrame Hold(in RxFrame frame, int payload, int fragments, long dueUs)
    {
        if (!_spare.TryPop(out HeldFrame? held))
        {
            held = new HeldFrame();
        }

        held.Take(frame, payload, fragments);
        _fragments += fragments;
        _held.Enqueue(held, (dueUs, _order++));
        return held;
    }

    private int Count(int chain)
    {
        int count = 0;
        for (; chain != PagePool.NoFragment; chain = _pool[chain].Next)
        {
            count++;
        }

        return count;
    }
}
