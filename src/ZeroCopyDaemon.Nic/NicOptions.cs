using System.Numerics;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Nic.Rss;

namespace ZeroCopyDaemon.Nic;

/// <summary>How the NIC lays a frame down.</summary>
public enum Placement
{
    /// <summary>The whole frame in data pages, from the first page's start.</summary>
    None,

    /// <summary>Headers in a header buffer, payload from the start of a fresh data page.</summary>
    Split,

    /// <summary>Headers in a header buffer; payloads of many frames, whatever their flows, share a data page, each from a cache line's start.</summary>
    Packed,

    /// <summary>Headers in a header buffer; successive in-order payloads of one flow laid end to end in that flow's data page (as mlx5's SHAMPO does).</summary>
    Merge,
}

/// <summary>Settings of the NIC model. Names follow ethtool where it has one.</summary>
public sealed record NicOptions
{
    /// <summary>Largest IP packet on the wire in bytes: 576 to 65535.</summary>
    public int Mtu { get; init; } = 1500;

    /// <summary>How frames are laid down.</summary>
    public Placement Placement { get; init; } = Placement.Split;

    /// <summary>Verify IPv4 and TCP checksums on receive (ethtool -K rx).</summary>
    public bool RxChecksumOffload { get; init; } = true;

    /// <summary>Complete TCP checksums on transmit (ethtool -K tx).</summary>
    public bool TxChecksumOffload { get; init; } = true;

    /// <summary>Segment super-frames on transmit (ethtool -K tso). Needs <see cref="TxChecksumOffload"/>; without that it is off, as on Linux.</summary>
    public bool Tso { get; init; } = true;

    /// <summary>RX queues, each with its rings: 1 to 16.</summary>
    public int RxQueues { get; init; } = 1;

    /// <summary>Data pages posted per RX queue, and as many header buffers; a power of two.</summary>
    public int RxRingSize { get; init; } = 1024;

    /// <summary>Completion entries per RX queue, a power of two; 0 = twice <see cref="RxRingSize"/>, which can't overflow while no frame leaves its last page open.</summary>
    public int RxCompletionQueueSize { get; init; }

    /// <summary>TX descriptors; a power of two.</summary>
    public int TxRingSize { get; init; } = 1024;

    /// <summary>Interrupt moderation: raise the interrupt at most this long after the first completion (ethtool -C rx-usecs). 0 = at once.</summary>
    public int RxUsecs { get; init; } = 8;

    /// <summary>Interrupt moderation: or when this many frames wait (ethtool -C rx-frames). 0 = only <see cref="RxUsecs"/> counts.</summary>
    public int RxFrames { get; init; } = 64;

    /// <summary>Toeplitz key, 40 bytes; empty = the well-known default key of Microsoft's RSS specification.</summary>
    public ReadOnlyMemory<byte> RssKey { get; init; }

    /// <summary>Honour flow control: hold the wire's sender back instead of dropping when posted buffers run low (ethtool -A rx).</summary>
    public bool PauseFrames { get; init; }

    /// <summary>
    /// The wire writes frames into the posted buffers by itself (a TAP's readv) by <see cref="Rx.DirectQueue"/>, instead of having the modelled DMA engine write them. Header buffers then are
    /// pieces of pool pages, so that payload which ends up in one can stay there.
    /// </summary>
    public bool DirectReceive { get; init; }

    /// <summary>Super-frames of up to 64 KB may come in (ethtool -K lro); only with <see cref="DirectReceive"/>.</summary>
    public bool Lro { get; init; }

    private const int VlanTagBytes = 4;

    /// <summary>Longest frame taken from the wire: the MTU (or the longest IP packet), an Ethernet header and a VLAN tag.</summary>
    internal int MaxFrameBytes => MaxFrameBytesAt(Mtu);

    internal int EffectiveCompletionQueueSize => RxCompletionQueueSize == 0 ? RxRingSize * 2 : RxCompletionQueueSize;

    internal bool EffectiveTso => Tso && TxChecksumOffload;

    /// <summary>Throws <see cref="ArgumentException"/> with what to change, if a NIC can't be made of these over pages of that geometry.</summary>
    public void Validate(PoolGeometry geometry)
    {
        geometry.Validate();
        Require(Mtu is >= 576 and <= 65535, $"The MTU must be from 576 to 65535 bytes, not {Mtu}.");
        Require(Placement is Placement.None or Placement.Split, $"There is no placement {Placement}; choose none or split.");
        Require(RxQueues is >= 1 and <= 16, $"The number of RX queues must be from 1 to 16, not {RxQueues}.");
        RequireRing(RxRingSize, "RX ring");
        RequireRing(TxRingSize, "TX ring");
        Require(RxUsecs is >= 0 and <= 1_000_000, $"rx-usecs must be from 0 to 1000000, not {RxUsecs}.");
        Require(RxFrames >= 0, $"rx-frames can't be negative ({RxFrames}).");
        Require(RssKey.IsEmpty || RssKey.Length == ToeplitzHash.KeyBytes, $"The RSS key must have {ToeplitzHash.KeyBytes} bytes, not {RssKey.Length}.");
        int pagesPerFrame = MaxPagesPerFrame(geometry);
        Require(
            RxRingSize >= pagesPerFrame,
            $"A frame of MTU {Mtu} takes {pagesPerFrame} pages, but the RX ring has only {RxRingSize}: make the ring or the pages larger, or the MTU smaller.");
        if (RxCompletionQueueSize != 0)
        {
            RequireRing(RxCompletionQueueSize, "RX completion queue");
            Require(
                RxCompletionQueueSize > pagesPerFrame,
                $"A frame of MTU {Mtu} takes {pagesPerFrame + 1} completions, but the completion queue has only {RxCompletionQueueSize}.");
        }
    }

    internal int MaxFrameBytesAt(int mtu) => (DirectReceive && Lro ? Ipv4Header.MaxTotalLength : mtu) + EthernetHeader.Length + VlanTagBytes;

    /// <summary>Data pages that the longest frame takes, whatever the placement.</summary>
    internal int MaxPagesPerFrame(PoolGeometry geometry) =>
        (MaxFrameBytes + geometry.PageSize - geometry.Headroom - 1) / (geometry.PageSize - geometry.Headroom);

    private static void RequireRing(int size, string what) =>
        Require(size is >= 1 and <= 65536 && BitOperations.IsPow2(size), $"The size of the {what} must be a power of two from 1 to 65536, not {size}.");

    private static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new ArgumentException(message);
        }
    }
}
