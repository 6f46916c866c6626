using ZeroCopyDaemon.Net.Devices;

namespace ZeroCopyDaemon.Nic.Rx;

/// <summary>An empty data page on the RX ring: what the DMA engine needs to write into it.</summary>
internal unsafe struct RxDescriptor
{
    /// <summary>First byte of the page (of its headroom, if it has any).</summary>
    public byte* Address;

    /// <summary>The page's number, handed back in the completion.</summary>
    public int Page;
}

[Flags]
internal enum RxCompletionFlags : byte
{
    None = 0,

    /// <summary><see cref="RxCompletion.Buffer"/> is a header buffer; else it is a data page.</summary>
    HeaderBuffer = 1,

    /// <summary>The NIC will write no more into this page: the driver ends its posting. A placement that fills a page from several frames sets it on the last one only.</summary>
    PageFinished = 2,

    /// <summary>The frame's last completion: verdict and hash are valid here.</summary>
    EndOfPacket = 4,

    /// <summary>No part of any frame: all it says is that the page is finished.</summary>
    NoFrame = 8,

    /// <summary><see cref="RxCompletion.Buffer"/> is a header buffer within a pool page, and what is named of it is payload: the buffer isn't used again.</summary>
    HeaderPayload = 16,

    /// <summary>The first payload in a page that had none, though it doesn't begin where payload begins in a page.</summary>
    PageBegun = 32,
}

/// <summary>One entry of the completion queue: one buffer that (a part of) a frame was written into. A frame's entries are published together.</summary>
internal struct RxCompletion
{
    /// <summary>Header buffer number or page number.</summary>
    public int Buffer;

    /// <summary>First byte written, from the buffer's start.</summary>
    public int Offset;

    /// <summary>Bytes written.</summary>
    public int Length;

    public RxCompletionFlags Flags;

    public RxChecksum Checksum;

    public uint RssHash;
}
