using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Net.Packets;

/// <summary>The blocks of a SACK option (RFC 2018 section 3), in the order in which they stood in it. What a peer says: nothing about them is validated but their count.</summary>
public struct SackBlocks : IEquatable<SackBlocks>
{
    /// <summary>As many as fit into the options' 40 bytes.</summary>
    public const int MaxCount = 4;

    private Edges _edges;

    [InlineArray(2 * MaxCount)]
    private struct Edges
    {
        private uint _first;
    }

    /// <summary>How many there are.</summary>
    public int Count { get; private set; }

    /// <summary>First sequence number of a block.</summary>
    public readonly SeqNumber Left(int index) => new(_edges[2 * index]);

    /// <summary>One beyond the last sequence number of a block.</summary>
    public readonly SeqNumber Right(int index) => new(_edges[(2 * index) + 1]);

    /// <summary>Appends a block; one too many is left out.</summary>
    public void Add(SeqNumber left, SeqNumber right)
    {
        if (Count < MaxCount)
        {
            _edges[2 * Count] = left.Value;
            _edges[(2 * Count) + 1] = right.Value;
            Count++;
        }
    }

    /// <inheritdoc/>
    public readonly bool Equals(SackBlocks other) =>
        Count == other.Count && ((ReadOnlySpan<uint>)_edges)[..(2 * Count)].SequenceEqual(((ReadOnlySpan<uint>)other._edges)[..(2 * Count)]);

    /// <inheritdoc/>
    public override readonly bool Equals(object? obj) => obj is SackBlocks other && Equals(other);

    /// <inheritdoc/>
    public override readonly int GetHashCode() => Count == 0 ? 0 : HashCode.Combine(Count, _edges[0], _edges[1]);

    public static bool operator ==(SackBlocks left, SackBlocks right) => left.Equals(right);

    public static bool operator !=(SackBlocks left, SackBlocks right) => !left.Equals(right);
}
