using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>
/// Chains that go back out of the very pages that they came in: held until the device has read them. At most <see cref="Limit"/> at once. Single-threaded.
/// </summary>
internal sealed class HeldChains(PagePool pool, IFrameDevice device)
{
    public const int Limit = 256;

    /// <summary>How long until completions are looked at again; they come without an event of their own.</summary>
    private const long RecheckUs = 1_000;

    private readonly (int Chain, long Posted)[] _held = new (int, long)[Limit];
    private int _first;
    private long _recheckAtUs;

    public int Count { get; private set; }

    public bool IsFull => Count == Limit;

    /// <summary>When <see cref="ReleaseCompleted"/> must be called next.</summary>
    public long NextDeadlineUs => Count == 0 ? long.MaxValue : _recheckAtUs;

    /// <summary>Gives back the pages that the device has read.</summary>
    public void ReleaseCompleted(long nowUs)
    {
        while (Count > 0 && _held[_first].Posted <= device.TxCompleted)
        {
            pool.ReleaseChain(_held[_first].Chain);
            _first = (_first + 1) % Limit;
            Count--;
        }

        _recheckAtUs = nowUs + RecheckUs;
    }

    /// <summary>Takes a chain over that frames posted by now refer to.</summary>
    public void Hold(int chain)
    {
        if (chain == PagePool.NoFragment)
        {
            return;
        }

        Invariant.That(!IsFull, "no more chains are held than there are places for");
        FragmentChain.SetState(pool, chain, FragmentState.Transmitting);
        _held[(_first + Count) % Limit] = (chain, device.TxPosted);
        Count++;
    }
}

/// <summary>Goes along a chain and makes chunks of it, frame by frame. A mutable value; takes nothing over.</summary>
internal struct ChainSlicer(PagePool pool, int chain)
{
    private int _at = chain;
    private int _offset;

    /// <summary>The next <paramref name="bytes"/> of the chain as chunks; -1 if they lie in more pieces than a frame may have.</summary>
    public unsafe int Next(Span<TxChunk> chunks, int bytes)
    {
        int count = 0;
        while (bytes > 0)
        {
            if (count == chunks.Length)
            {
                return -1;
            }

            Invariant.That(_at != PagePool.NoFragment, "a chain has all of its data");
            int length = Math.Min(bytes, pool[_at].Length - _offset);
            chunks[count++] = new TxChunk(pool.PayloadAddress(_at) + _offset, length);
            bytes -= length;
            _offset += length;
            if (_offset == pool[_at].Length)
            {
                _at = pool[_at].Next;
                _offset = 0;
            }
        }

        return count;
    }
}
