namespace ZeroCopyDaemon.Nic;

/// <summary>How the NIC lays a frame down. (`packed` and `merge` come later: they are further members, and further classes behind the DMA engine.)</summary>
public enum Placement
{
    /// <summary>The whole frame in data pages, from the first page's start.</summary>
    None,

    /// <summary>Headers in a header buffer, payload from the start of a fresh data page.</summary>
    Split,
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

    /// <summary>Segment super-frames on transmit (ethtool -K tso). Needs <see cref="TxChecksumOffload"/>.</summary>
    public bool Tso { get; init; } = true;

    /// <summary>RX queues, each with its rings: 1 to 16.</summary>
    public int RxQueues { get; init; } = 1;

    /// <summary>Data pages posted per RX queue; a power of two.</summary>
    public int RxRingSize { get; init; } = 1024;

    /// <summary>TX descriptors; a power of two.</summary>
    public int TxRingSize { get; init; } = 1024;

    /// <summary>Interrupt moderation: raise the interrupt at most this long after the first completion (ethtool -C rx-usecs).</summary>
    public int RxUsecs { get; init; } = 8;

    /// <summary>Interrupt moderation: or when this many completions wait (ethtool -C rx-frames).</summary>
    public int RxFrames { get; init; } = 64;

    /// <summary>Toeplitz key, 40 bytes; empty = the well-known default key of Microsoft's RSS specification.</summary>
    public ReadOnlyMemory<byte> RssKey { get; init; }

    /// <summary>Honour flow control: hold the wire's sender back instead of dropping when posted buffers run low (ethtool -A rx).</summary>
    public bool PauseFrames { get; init; }
}
