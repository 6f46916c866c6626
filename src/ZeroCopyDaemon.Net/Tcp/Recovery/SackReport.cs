using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Net.Tcp.Recovery;

/// <summary>
/// What a receiver tells of the data that it holds out of order (RFC 2018) and of data that came twice (RFC 2883). Remembers the blocks that were added to last, the most recent first: that is the
/// order in which they are reported. Owned by its connection, which says when data was taken in order or given up.
/// </summary>
internal struct SackReport
{
    private const int PaddedHeaderBytes = 4;
    private const int BlockBytes = 8;
    private Blocks _blocks;
    private int _count;
    private SackRange _duplicate;

    [InlineArray(SackBlocks.MaxCount)]
    private struct Blocks
    {
        private SackRange _first;
    }

    /// <summary>Something was received twice, and nobody was told yet.</summary>
    public readonly bool HasDuplicate => !_duplicate.IsEmpty;

    /// <summary>Nothing to tell.</summary>
    public readonly bool IsEmpty => _count == 0 && _duplicate.IsEmpty;

    /// <summary>Data is now held out of order (or was already): the block that contains it comes first from now on (RFC 2018 section 4, RFC 2883 section 4).</summary>
    public void OnOutOfOrder(SackRange range)
    {
        int kept = 0;
        for (int i = 0; i < _count; i++)
        {
            SackRange known = _blocks[i];
            if (known.Left <= range.Right && range.Left <= known.Right)
            {
                range = new SackRange(SeqNumber.Min(known.Left, range.Left), SeqNumber.Max(known.Right, range.Right));
            }
            else
            {
                _blocks[kept++] = known;
            }
        }

        _count = Math.Min(kept + 1, SackBlocks.MaxCount);
        for (int i = _count - 1; i > 0; i--)
        {
            _blocks[i] = _blocks[i - 1];
        }

        _blocks[0] = range;
    }

    /// <summary>This was received before: the next acknowledgment says so, once (RFC 2883 section 4). Of several ranges the first is told.</summary>
    public void OnDuplicate(SackRange range)
    {
        if (_duplicate.IsEmpty)
        {
            _duplicate = range;
        }
    }

    /// <summary>Everything before <paramref name="next"/> was taken in order.</summary>
    public void Advance(SeqNumber next)
    {
        int kept = 0;
        for (int i = 0; i < _count; i++)
        {
            if (_blocks[i].Left > next)
            {
                _blocks[kept++] = _blocks[i];
            }
        }

        _count = kept;
    }

    /// <summary>What was held out of order was given up.</summary>
    public void Clear() => _count = 0;

    /// <summary>An acknowledgment with the report has gone out.</summary>
    public void OnSent() => _duplicate = default;

    /// <summary>Writes the option, padded, with as many blocks as fit. Returns the bytes written: 0 if there is nothing to tell or no room for a block.</summary>
    public readonly int Write(Span<byte> options)
    {
        int room = (options.Length - PaddedHeaderBytes) / BlockBytes;
        int duplicates = _duplicate.IsEmpty ? 0 : 1;
        int blocks = Math.Min(room, _count + duplicates);
        if (blocks <= 0)
        {
            return 0;
        }

        options[0] = (byte)TcpOptionKind.NoOperation;
        options[1] = (byte)TcpOptionKind.NoOperation;
        options[2] = (byte)TcpOptionKind.Sack;
        options[3] = (byte)(2 + (blocks * BlockBytes));
        for (int i = 0; i < blocks; i++)
        {
            SackRange block = i < duplicates ? _duplicate : _blocks[i - duplicates];
            BinaryPrimitives.WriteUInt32BigEndian(options[(PaddedHeaderBytes + (i * BlockBytes))..], block.Left.Value);
            BinaryPrimitives.WriteUInt32BigEndian(options[(PaddedHeaderBytes + (i * BlockBytes) + 4)..], block.Right.Value);
        }

        return PaddedHeaderBytes + (blocks * BlockBytes);
    }
}

/// <summary>Sequence numbers from <paramref name="Left"/> up to, not including, <paramref name="Right"/>.</summary>
internal readonly record struct SackRange(SeqNumber Left, SeqNumber Right)
{
    public bool IsEmpty => Left == Right;

    /// <summary>With another one that follows it without a gap; else as it is.</summary>
    public SackRange Extend(SackRange next) => IsEmpty ? next : next.Left == Right ? new SackRange(Left, next.Right) : this;
}
