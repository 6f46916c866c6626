using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Wires.Impaired;

/// <summary>
/// A received frame that is held back between driver and stack: a private copy of its header bytes, since their buffer is recycled, and its payload by reference. Its holder releases the chain or
/// hands it up.
/// </summary>
internal sealed class HeldFrame
{
    private byte[] _headers = new byte[HeaderDissector.MaxHeaderBytes];
    private int _headerLength;
    private uint _rssHash;

    /// <summary>Its private header bytes.</summary>
    public Span<byte> Headers => _headers.AsSpan(0, _headerLength);

    /// <summary>Slot of the first payload fragment, or <see cref="PagePool.NoFragment"/>.</summary>
    public int Payload { get; private set; }

    public int PayloadLength { get; private set; }

    /// <summary>The device's verdict.</summary>
    public RxChecksum Checksum { get; set; }

    /// <summary>Fragments of the chain, each of which may be all that keeps a page.</summary>
    public int Fragments { get; private set; }

    /// <summary>Takes a frame and its chain over.</summary>
    public void Take(in RxFrame frame, int payload, int fragments)
    {
        if (_headers.Length < frame.Headers.Length)
        {
            _headers = new byte[frame.Headers.Length];
        }

        frame.Headers.CopyTo(_headers);
        _headerLength = frame.Headers.Length;
        _rssHash = frame.RssHash;
        Payload = payload;
        PayloadLength = frame.PayloadLength;
        Checksum = frame.Checksum;
        Fragments = fragments;
    }

    public RxFrame AsRxFrame() => new(Headers, Payload, PayloadLength, Checksum, _rssHash);
}
