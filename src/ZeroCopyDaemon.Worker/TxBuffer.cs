using ZeroCopyDaemon.Worker.Internal;

namespace ZeroCopyDaemon.Worker;

/// <summary>
/// Memory of the TX area, to be written in place and sent without a copy. The caller's from the rent until it is sent or disposed, whichever comes first; then its use is an
/// <see cref="InvalidOperationException"/>. One thread at a time.
/// </summary>
public readonly struct TxBuffer : IDisposable
{
    private readonly TxArea? _area;
    private readonly int _block;
    private readonly uint _version;

    internal TxBuffer(TxArea area, int block, uint version)
    {
        _area = area;
        _block = block;
        _version = version;
    }

    /// <summary>Bytes that can be written: at least what was asked for.</summary>
    public int Length => Area.BlockBytes(_block, _version);

    /// <summary>The memory. What it holds at first is left over from earlier sends.</summary>
    public Span<byte> Span => Area.Span(_block, _version);

    /// <summary>The same as <see cref="Span"/>. Use after the buffer was sent is not noticed through this one.</summary>
    public Memory<byte> Memory => Area.Memory(_block, _version);

    /// <summary>Gives the memory back unless it was sent. Can be called again.</summary>
    public void Dispose()
    {
        if (_area is not null && _area.TryTake(_block, _version))
        {
            _area.Free(_block);
        }
    }

    internal int Block => _block;

    internal bool IsOf(TxArea area) => ReferenceEquals(_area, area);

    /// <summary>Ends the caller's hold for a send.</summary>
    internal void Take()
    {
        if (!Area.TryTake(_block, _version))
        {
            throw new InvalidOperationException("This TX buffer was sent or returned before.");
        }
    }

    private TxArea Area => _area ?? throw new InvalidOperationException("This TX buffer was never rented.");
}
