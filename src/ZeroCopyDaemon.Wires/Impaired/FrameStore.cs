using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Net.Devices;

namespace ZeroCopyDaemon.Wires.Impaired;

/// <summary>
/// A frame that is under way: a private copy of its bytes. It stands for the network between two hosts, whose cables and switches hold frames, too; it is no copy of payload by either host, and isn't
/// counted as one.
/// </summary>
internal sealed unsafe class FlyingFrame
{
    private byte* _pointer;
    private byte[] _bytes = [];

    /// <summary>Bytes of the frame.</summary>
    public int Length { get; private set; }

    /// <summary>Bytes of it that its sender gave as headers.</summary>
    public int HeaderLength { get; private set; }

    /// <summary>The port it came from, for a wire with several.</summary>
    public int From { get; set; }

    /// <summary>The whole frame.</summary>
    public Span<byte> Bytes => _bytes.AsSpan(0, Length);

    /// <summary>The frame in the form that its sender gave it: headers, and payload in one piece that stays where it is while the frame is held.</summary>
    /// <param name="chunk">Room for that piece.</param>
    public TxFrame AsTxFrame(Span<TxChunk> chunk)
    {
        int payload = Length - HeaderLength;
        chunk[0] = new TxChunk(_pointer + HeaderLength, payload);
        return new TxFrame(_bytes.AsSpan(0, HeaderLength), payload == 0 ? [] : chunk[..1], payload);
    }

    /// <summary>Becomes a copy.</summary>
    public void Take(in TxFrame frame)
    {
        Invariant.That(frame.Mss == 0 && !frame.ChecksumPartial, "only complete frames cross a wire");
        Resize(frame.Length, frame.Headers.Length);
        frame.Headers.CopyTo(_bytes);
        int at = frame.Headers.Length;
        foreach (TxChunk chunk in frame.Payload)
        {
            chunk.Span.CopyTo(_bytes.AsSpan(at));
            at += chunk.Length;
        }
    }

    /// <summary>Becomes a copy.</summary>
    public void Take(FlyingFrame frame)
    {
        Resize(frame.Length, frame.HeaderLength);
        frame.Bytes.CopyTo(_bytes);
    }

    private void Resize(int length, int headerLength)
    {
        const int UsualBytes = 2048;

        if (_bytes.Length < length)
        {
            // Pinned, for a wire below may read it by pointer.
            _bytes = GC.AllocateUninitializedArray<byte>(Math.Max(length, UsualBytes), pinned: true);
            _pointer = (byte*)System.Runtime.CompilerServices.Unsafe.AsPointer(ref _bytes[0]);
        }

        Length = length;
        HeaderLength = headerLength;
    }
}

/// <summary>Frames under way, and spare ones to be used again: in the steady state nothing is allocated. Single-threaded.</summary>
internal sealed class FrameStore
{
    private readonly Stack<FlyingFrame> _spare = new();

    /// <summary>A copy of a frame.</summary>
    public FlyingFrame Copy(in TxFrame frame)
    {
        FlyingFrame copy = Spare();
        copy.Take(frame);
        return copy;
    }

    /// <summary>A copy of a frame.</summary>
    public FlyingFrame Copy(FlyingFrame frame)
    {
        FlyingFrame copy = Spare();
        copy.Take(frame);
        return copy;
    }

    /// <summary>It has arrived, or will not.</summary>
    public void Return(FlyingFrame frame) => _spare.Push(frame);

    private FlyingFrame Spare() => _spare.TryPop(out FlyingFrame? spare) ? spare : new FlyingFrame();
}
