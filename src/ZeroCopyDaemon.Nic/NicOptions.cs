using System.Numerics;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Nic.Dma;
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

    /// <summary>Completion entries per RX queue, a power of two; 0 = as many as can't overflow: twice <see cref="RxRingSize"/> where each page is in one completion, four times where frames share pages.</summary>
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

    /// <summary>
    /// Under <see cref="Placement.Merge"/>, the most flows per RX queue that are merged at once; each holds a page open. With more, the one that was idle for longest makes way. A small ring has fewer: a quarter of
    /// <see cref="RxRingSize"/> at most.
    /// </summary>
    public int MergeContexts { get; init; } = 16;

    /// <summary>
    /// Under <see cref="Placement.Merge"/>, how long a flow's page stays open without another segment, in microseconds. Nothing that has arrived ever waits for it: it only bounds how long a
    /// page is kept from being used otherwise, and there are few. So it may well be longer than the pauses of a flow that waits for acknowledgments every few segments, or each pause would cost the rest of
    /// a page: 10 ms is a long way's round trip within a region, and far beyond a data centre's.
    /// </summary>
    public int MergeFlushUs { get; init; } = 10_000;

    private const int VlanTagBytes = 4;

    /// <summary>Longest frame taken from the wire: the MTU (or the longest IP packet), an Ethernet header and a VLAN tag.</summary>
    internal int MaxFrameBytes => MaxFrameBytesAt(Mtu);

    /// <summary>
    /// What can wait for the driver at once: a ring's worth of header buffers and a ring's worth of finished pages, each of them in one completion. Where frames share pages, besides, each frame may end in a page
    /// that stays open, so that there are three rings' worth; and the size is a power of two.
    /// </summary>
    internal int EffectiveCompletionQueueSize => RxCompletionQueueSize == 0 ? RxRingSize * (SharesPages ? 4 : 2) : RxCompletionQueueSize;

    /// <summary>A page may come to hold payload of several frames.</summary>
    internal bool SharesPages => Placement is Placement.Packed or Placement.Merge;

    internal bool EffectiveTso => Tso && TxChecksumOffload;

    /// <summary>Throws <see cref="ArgumentException"/> with what to change, if a NIC can't be made of these over pages of that geometry.</summary>
    public void Validate(PoolGeometry geometry)
    {
        geometry.Validate();
        Require(Mtu is >= 576 and <= 65535, $"The MTU must be from 576 to 65535 bytes, not {Mtu}.");
        Require(Enum.IsDefined(Placement), $"There is no placement {Placement}; choose none, split, packed or merge.");
        Require(RxQueues is >= 1 and <= 16, $"The number of RX queues must be from 1 to 16, not {RxQueues}.");
        RequireRing(RxRingSize, "RX ring");
        RequireRing(TxRingSize, "TX ring");
        Require(RxUsecs is >= 0 and <= 1_000_000, $"rx-usecs must be from 0 to 1000000, not {RxUsecs}.");
        Require(RxFrames >= 0, $"rx-frames can't be negative ({RxFrames}).");
        Require(RssKey.IsEmpty || RssKey.Length == ToeplitzHash.KeyBytes, $"The RSS key must have {ToeplitzHash.KeyBytes} bytes, not {RssKey.Length}.");
        Require(MergeContexts is >= 1 and <= 1024, $"The number of merge contexts must be from 1 to 1024, not {MergeContexts}.");
        Require(MergeFlushUs is >= 1 and <= 1_000_000, $"The time until a merged page is flushed must be from 1 to 1000000 us, not {MergeFlushUs}.");
        int pagesPerFrame = MaxPagesPerFrame(geometry);
        Require(
            RxRingSize >= pagesPerFrame,
            $"A frame of MTU {Mtu} takes {pagesPerFrame} pages, but the RX ring has only {RxRingSize}: make the ring or the pages larger, or the MTU smaller.");
        Require(
            !SharesPages || RxRingSize > pagesPerFrame,
            $"A frame of MTU {Mtu} takes {pagesPerFrame} pages, and placement {Placement} keeps at least one open besides, but the RX ring has only {RxRingSize}: make the ring or the pages larger, or the MTU smaller.");
        if (RxCompletionQueueSize != 0)
        {
            // Its headers, its pages; where pages are shared, a page that it goes on in and one that it puts an end to.
            int completions = pagesPerFrame + (SharesPages ? 3 : 1);
            RequireRing(RxCompletionQueueSize, "RX completion queue");
            Require(
                RxCompletionQueueSize >= completions,
                $"A frame of MTU {Mtu} takes {completions} completions, but the completion queue has only {RxCompletionQueueSize}.");
        }
    }

    /// <summary>Fragments that a pool of that geometry should have for frames laid down like this; see <see cref="PagePool"/>'s constructor.</summary>
    public int FragmentCapacity(PoolGeometry geometry) => SharesPages ? checked(geometry.PageCount * geometry.FragmentsPerPage) : 0;

    internal int MaxFrameBytesAt(int mtu) => (DirectReceive && Lro ? Ipv4Header.MaxTotalLength : mtu) + EthernetHeader.Length + VlanTagBytes;

    /// <summary>Fresh data pages that the longest frame takes, if it were all payload.</summary>
    internal int MaxPagesPerFrame(PoolGeometry geometry)
    {
        int usable = geometry.PageSize - FirstByte(geometry);
        return (MaxFrameBytes + usable - 1) / usable;
    }

    /// <summary>Where the first byte goes in a fresh page.</summary>
    internal int FirstByte(PoolGeometry geometry) => Placement == Placement.Packed ? PackedPlacement.FirstByte(geometry) : geometry.Headroom;

    /// <summary>Most pages that the DMA engine keeps open on a queue for what is to come.</summary>
    internal int OpenPagesPerQueue(PoolGeometry geometry) => Placement switch
    {
        Placement.Packed => 1,
        Placement.Merge => Math.Max(1, Math.Min(Math.Min(MergeContexts, RxRingSize / 4), RxRingSize - MaxPagesPerFrame(geometry))),
        _ => 0,
    };

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
