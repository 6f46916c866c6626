using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Net.Devices;

namespace ZeroCopyDaemon.Nic.Rx;

/// <summary>Reads a frame on the wire front to back, wherever its headers and chunks are cut.</summary>
internal ref struct FrameReader(in TxFrame frame)
{
    private readonly ReadOnlySpan<TxChunk> _chunks = frame.Payload;
    private ReadOnlySpan<byte> _rest = frame.Headers;
    private int _nextChunk;

    /// <summary>Copies the next bytes; the frame must have as many left.</summary>
    public void CopyTo(Span<byte> destination)
    {
        while (destination.Length > _rest.Length)
        {
            _rest.CopyTo(destination);
            destination = destination[_rest.Length..];
            Invariant.That(_nextChunk < _chunks.Length, "a frame's chunks are as long as it says");
            _rest = _chunks[_nextChunk++].Span;
        }

        _rest[..destination.Length].CopyTo(destination);
        _rest = _rest[destination.Length..];
    }
}
