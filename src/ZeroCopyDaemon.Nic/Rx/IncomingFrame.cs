using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Nic.Rx;

/// <summary>
/// A frame on its way from the wire into buffers: where its headers end, and the bytes, which a placement takes front to back with <see cref="WriteTo"/>. The
/// checksum is summed up in passing, as hardware does, while the bytes just written are still in the cache.
/// </summary>
internal unsafe ref struct IncomingFrame
{
    private FrameReader _reader;
    private RxChecksumVerifier _verifier;
    private int _position;

    /// <param name="frame">The frame on the wire; its memory is read during placement only.</param>
    /// <param name="window">Its first bytes, contiguous.</param>
    /// <param name="headers">What the dissector made of them.</param>
    /// <param name="rssHash">Its hash.</param>
    /// <param name="verifyChecksum">Sum up the checksum.</param>
    public IncomingFrame(in TxFrame frame, ReadOnlySpan<byte> window, in FrameDissection headers, uint rssHash, bool verifyChecksum)
    {
        _reader = new FrameReader(frame);
        _verifier = verifyChecksum ? new RxChecksumVerifier(window, headers, frame.Length) : default;
        Length = frame.Length;
        Window = window;
        Headers = headers;
        RssHash = rssHash;
    }

    public readonly int Length;

    /// <summary>The frame's first bytes, contiguous: its headers at least.</summary>
    public readonly ReadOnlySpan<byte> Window;

    /// <summary>What the window says.</summary>
    public readonly FrameDissection Headers;

    public readonly int HeaderLength => Headers.HeaderLength;

    public readonly uint RssHash;

    /// <summary>The verdict, once all bytes are written.</summary>
    public readonly RxChecksum Checksum => _verifier.Verdict;

    /// <summary>Bytes not written yet.</summary>
    public readonly int Remaining => Length - _position;

    /// <summary>Writes the frame's next bytes.</summary>
    public void WriteTo(byte* destination, int length)
    {
        var written = new Span<byte>(destination, length);
        _reader.CopyTo(written);
        _verifier.Add(_position, written);
        _position += length;
    }
}
