using ZeroCopyDaemon.Net.Devices;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>
/// Private memory for what ICMPv6 errors quote, which is too much for a frame's headers and must not hold the received pages: a ring of buffers, each free again once the device has read it. Memory is
/// taken with the first error.
/// </summary>
internal sealed unsafe class QuoteBuffers(IFrameDevice device)
{
    /// <summary>Bytes of a buffer: what fits into a packet of the least MTU behind IPv6 and ICMPv6 headers.</summary>
    public const int Bytes = 1280 - 40 - 8;

    private const int Buffers = 32;

    private readonly long[] _postedBy = new long[Buffers];
    private byte[] _memory = [];
    private int _next;

    /// <summary>The next buffer. False if the device may still read it.</summary>
    public bool TryGet(out Span<byte> buffer)
    {
        if (_memory.Length == 0)
        {
            _memory = GC.AllocateArray<byte>(Buffers * Bytes, pinned: true);
        }

        buffer = _memory.AsSpan(_next * Bytes, Bytes);
        return _postedBy[_next] <= device.TxCompleted;
    }

    /// <summary>That buffer's first bytes, for the device to read.</summary>
    public TxChunk Chunk(int length)
    {
        // Pinned, so that its address holds as long as this does.
        fixed (byte* first = &_memory[_next * Bytes])
        {
            return new TxChunk(first, length);
        }
    }

    /// <summary>The frame that refers to that buffer was posted.</summary>
    public void Posted()
    {
        _postedBy[_next] = device.TxPosted;
        _next = (_next + 1) % Buffers;
    }
}
