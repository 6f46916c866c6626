using ZeroCopyDaemon.Memory.Pages;

namespace ZeroCopyDaemon.Net.Devices;

/// <summary>What the device found out about a received frame's checksums. Names as in Linux's skb->ip_summed.</summary>
public enum RxChecksum : byte
{
    /// <summary>Not checked: software has to verify.</summary>
    None,

    /// <summary>The device verified the IPv4 header and TCP/UDP checksums and they are right.</summary>
    Unnecessary,

    /// <summary>The device verified and found a checksum wrong. The frame is handed up all the same, and software decides (and counts).</summary>
    Bad,
}

/// <summary>
/// A received frame as the stack sees it: header bytes, and payload that already lies in pool pages. The frame is <see cref="Headers"/> followed by the bytes of the
/// fragment chain. <see cref="Headers"/> holds at least every protocol header that Packets.HeaderDissector recognises, from the Ethernet header on, and is valid only
/// during the call: the buffer is recycled when the call returns. The callee takes over the chain (each fragment in state <see cref="FragmentState.Received"/>).
/// </summary>
public readonly ref struct RxFrame
{
    /// <param name="headers">Ethernet header and what follows it, up to where payload starts.</param>
    /// <param name="payload">Slot of the first payload fragment, or <see cref="PagePool.NoFragment"/>.</param>
    /// <param name="payloadLength">Bytes in the chain.</param>
    /// <param name="checksum">The device's verdict.</param>
    /// <param name="rssHash">Toeplitz hash, 0 if none.</param>
    public RxFrame(ReadOnlySpan<byte> headers, int payload, int payloadLength, RxChecksum checksum, uint rssHash = 0)
    {
        Headers = headers;
        Payload = payload;
        PayloadLength = payloadLength;
        Checksum = checksum;
        RssHash = rssHash;
    }

    public ReadOnlySpan<byte> Headers { get; }

    public int Payload { get; }

    public int PayloadLength { get; }

    public RxChecksum Checksum { get; }

    public uint RssHash { get; }
}

/// <summary>Takes received frames. Implemented by the stack.</summary>
public interface IFrameReceiver
{
    /// <summary>Takes one frame in, and its payload chain over.</summary>
    void Receive(in RxFrame frame, long nowUs);
}

/// <summary>A piece of payload to transmit, in memory that stays mapped and unchanged until the frame's transmission completed.</summary>
public readonly unsafe struct TxChunk(byte* pointer, int length)
{
    /// <summary>First byte.</summary>
    public readonly byte* Pointer = pointer;

    /// <summary>Bytes.</summary>
    public readonly int Length = length;

    public ReadOnlySpan<byte> Span => new(Pointer, Length);
}

/// <summary>
/// A frame to transmit, gathered from header bytes (copied by the device during the call) and payload chunks (referenced until completion). Also
/// the form in which a frame crosses a modelled wire, then always with <see cref="Mss"/> = 0 and checksums complete.
/// </summary>
public readonly ref struct TxFrame
{
    /// <param name="headers">All headers from Ethernet on, at most <see cref="MaxHeaderBytes"/>.</param>
    /// <param name="payload">Payload in order.</param>
    /// <param name="payloadLength">Sum of the chunks' lengths.</param>
    /// <param name="mss">For TSO: payload bytes per wire segment; 0 = this is one wire frame.</param>
    /// <param name="checksumPartial">
    /// True: the IPv4 header checksum is complete; the TCP checksum field holds the folded pseudo-header sum (not inverted) and the device completes it
    /// (Linux's CHECKSUM_PARTIAL). Always true with <paramref name="mss"/> &gt; 0; the pseudo-header's length then is that of the whole super-segment.
    /// </param>
    public TxFrame(ReadOnlySpan<byte> headers, ReadOnlySpan<TxChunk> payload, int payloadLength, int mss = 0, bool checksumPartial = false)
    {
        Headers = headers;
        Payload = payload;
        PayloadLength = payloadLength;
        Mss = mss;
        ChecksumPartial = checksumPartial;
    }

    /// <summary>Ethernet 14 + IPv4 60 + TCP 60, with room for a VLAN tag and IPv6.</summary>
    public const int MaxHeaderBytes = 160;

    public ReadOnlySpan<byte> Headers { get; }

    public ReadOnlySpan<TxChunk> Payload { get; }

    public int PayloadLength { get; }

    public int Mss { get; }

    public bool ChecksumPartial { get; }

    /// <summary>Bytes of the frame (of the whole super-frame with TSO), Ethernet header included, FCS not.</summary>
    public int Length => Headers.Length + PayloadLength;
}

/// <summary>The device as the stack sees it, for transmission. Single-threaded, on the stack's thread.</summary>
public interface IFrameDevice
{
    /// <summary>Largest IP packet in bytes (Ethernet header not counted).</summary>
    int Mtu { get; }

    /// <summary>True if the device completes TCP checksums (<see cref="TxFrame.ChecksumPartial"/>).</summary>
    bool TxChecksumOffload { get; }

    /// <summary>Most payload bytes of one TSO super-frame; 0 = no TSO.</summary>
    int MaxTsoBytes { get; }

    /// <summary>Most payload chunks of one frame.</summary>
    int MaxChunks { get; }

    /// <summary>
    /// Puts a frame on the TX ring. False when the ring is full: nothing was taken, try again once <see cref="TxCompleted"/> has grown.
    /// </summary>
    bool TryTransmit(in TxFrame frame);

    /// <summary>Frames ever taken by <see cref="TryTransmit"/>.</summary>
    long TxPosted { get; }

    /// <summary>
    /// Frames whose payload chunks the device no longer reads. Completion is in order, so memory referenced by frames up to some <see cref="TxPosted"/> may be
    /// reused once this has reached it.
    /// </summary>
    long TxCompleted { get; }
}
