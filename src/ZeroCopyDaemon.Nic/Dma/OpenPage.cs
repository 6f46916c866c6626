using ZeroCopyDaemon.Nic.Rx;

namespace ZeroCopyDaemon.Nic.Dma;

/// <summary>A page that the DMA engine keeps for the next frames' payload. The default value is none.</summary>
internal unsafe struct OpenPage
{
    /// <summary>First byte of the page.</summary>
    public byte* Address;

    /// <summary>The page's number.</summary>
    public int Page;

    /// <summary>Where the next payload goes.</summary>
    public int Position;

    public readonly bool IsOpen => Address != null;

    /// <summary>Opens a page taken off the ring.</summary>
    public static OpenPage From(in RxDescriptor descriptor, int position) => new() { Address = descriptor.Address, Page = descriptor.Page, Position = position };
}
