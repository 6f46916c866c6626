using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Nic.Dma;
using ZeroCopyDaemon.Nic.Rss;
using ZeroCopyDaemon.Nic.Rx;
using ZeroCopyDaemon.Nic.Tx;

namespace ZeroCopyDaemon.Nic;

/// <summary>
/// A modelled NIC: RX queues with a ring of header buffers, a ring of data pages and a completion queue each; a DMA engine that places frames, RSS, checksum offload, interrupt
/// moderation, a TX ring with TSO. "Hardware" side: <see cref="ReceiveFromWire"/>, <see cref="ProcessTx"/>. Driver side: <see cref="NicDriver"/>.
/// <para>All its memory is taken at construction. Pages it only borrows: they are the driver's, who takes them back.</para>
/// Single-threaded.
/// </summary>
public sealed unsafe class NicModel : ICounterSource
{
    private readonly RxQueue[] _queues;
    private readonly TxEngine _tx;
    private readonly DmaPlacement _placement;
    private readonly ToeplitzHash _toeplitz;
    private readonly IndirectionTable _indirection;
    private readonly PinnedMemory<byte> _window = new(HeaderDissector.MaxHeaderBytes);
    private readonly DirectQueue[] _direct = [];
    private readonly bool _verifyChecksums;
    private readonly bool _pauseFrames;
    private readonly NicCounters _counters;

    /// <param name="options">Settings; validated against the geometry.</param>
    /// <param name="geometry">The geometry of the pool whose pages the driver will post.</param>
    public NicModel(NicOptions options, PoolGeometry geometry)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate(geometry);
        Options = options;
        Geometry = geometry;
        _placement = DmaPlacement.Create(options, geometry);
        _toeplitz = new ToeplitzHash(options.RssKey.Span);
        _indirection = new IndirectionTable(options.RxQueues);
        _tx = new TxEngine(options);
        Mtu = options.Mtu;
        MaxRxFrameBytes = options.MaxFrameBytes;
        _verifyChecksums = options.RxChecksumOffload;
        _pauseFrames = options.PauseFrames;
        _queues = new RxQueue[options.RxQueues];
        int maxPagesPerFrame = options.MaxPagesPerFrame(geometry);
        int openPages = options.OpenPagesPerQueue(geometry);
        for (int queue = 0; queue < _queues.Length; queue++)
        {
            _queues[queue] = new RxQueue(queue, options, geometry, maxPagesPerFrame, openPages);
        }

        if (options.DirectReceive)
        {
            _direct = Array.ConvertAll(_queues, queue => new DirectQueue(this, queue, options.Placement, geometry));
        }

        _counters = new NicCounters(_queues, _tx, _placement, _direct);
    }

    public NicOptions Options { get; }

    /// <summary>The wire; set once, before traffic.</summary>
    public IWirePort? Wire { get; set; }

    /// <summary>Link state; while down, frames in either direction are dropped and counted (carrier errors).</summary>
    public bool LinkUp { get; set; } = true;

    /// <summary>Largest IP packet in bytes; see <see cref="SetMtu"/>.</summary>
    public int Mtu { get; private set; }

    /// <summary>With <see cref="NicOptions.DirectReceive"/>: the RX queues as the wire fills them.</summary>
    public ReadOnlySpan<DirectQueue> DirectQueues => _direct;

    /// <summary>The queue that each of the 128 entries of the RSS indirection table names.</summary>
    public ReadOnlySpan<byte> Indirection => _indirection.Entries;

    /// <summary>Longest frame taken from the wire, Ethernet header included.</summary>
    internal int MaxRxFrameBytes { get; private set; }

    internal PoolGeometry Geometry { get; }

    internal TxEngine Tx => _tx;

    internal ReadOnlySpan<RxQueue> RxQueues => _queues;

    /// <summary>With <see cref="NicOptions.PauseFrames"/>: true while posted buffers are low and the wire's sender should hold back.</summary>
    public bool RxPaused
    {
        get
        {
            if (_pauseFrames)
            {
                foreach (RxQueue queue in _queues)
                {
                    if (queue.RunsLow)
                    {
                        return true;
                    }
                }
            }

            return false;
        }
    }

    /// <summary>When the next moderated interrupt, or the next flush of a page that is open for nothing any more, is due, or <see cref="long.MaxValue"/>.</summary>
    public long NextInterruptUs
    {
        get
        {
            long next = long.MaxValue;
            foreach (RxQueue queue in _queues)
            {
                next = Math.Min(next, Math.Min(queue.Interrupt.DueUs, _placement.NextFlushUs(queue)));
            }

            return next;
        }
    }

    /// <summary>Sets the RSS indirection table (ethtool -X): 128 queue numbers. Frames that are placed already stay where they are.</summary>
    public void SetIndirection(ReadOnlySpan<byte> queues) => _indirection.Set(queues);

    /// <summary>A frame arrives from the wire: DMA into posted buffers, or a drop counted by reason. Returns false if it was dropped.</summary>
    public bool ReceiveFromWire(in TxFrame frame, long nowUs)
    {
        Invariant.That(frame.Mss == 0 && !frame.ChecksumPartial, "a frame on the wire is cut to size and its checksums are complete");
        int length = frame.Length;
        if (!Admit(length))
        {
            return false;
        }

        ReadOnlySpan<byte> window = Window(frame, length);
        FrameDissection headers = HeaderDissector.Dissect(window);
        uint hash = headers.IsIp ? Hash(window, headers) : 0;
        // As on a real NIC, what can't be hashed goes to the first queue.
        RxQueue queue = _queues[headers.IsIp ? _indirection.QueueFor(hash) : 0];
        var incoming = new IncomingFrame(frame, window, headers, hash, _verifyChecksums);
        switch (_placement.Place(queue, ref incoming, nowUs))
        {
            case DmaResult.OutOfBuffers:
                _counters.RxOutOfBuffer++;
                return false;
            case DmaResult.CompletionQueueFull:
                _counters.RxMissed++;
                return false;
        }

        Invariant.That(incoming.Remaining == 0, "a frame is placed whole");
        queue.Packets++;
        queue.Bytes += length;
        queue.Interrupt.OnFrame(nowUs);
        _counters.Count(incoming.Checksum);
        UpdatePressure(queue);
        return true;
    }

    /// <summary>
    /// The link's MTU changed, from 576 to what the rings can take. Frames on the TX ring that are too long for it now are dropped and counted; the stack has to be told by whoever calls this.
    /// Throws <see cref="ArgumentException"/> with what to change.
    /// </summary>
    public void SetMtu(int mtu)
    {
        (Options with { Mtu = mtu }).Validate(Geometry);
        Mtu = mtu;
        MaxRxFrameBytes = Options.MaxFrameBytesAt(mtu);
        _tx.MaxFrameBytes = mtu + EthernetHeader.Length;
    }

    /// <summary>Works off the TX ring onto the wire (segmenting, completing checksums) until done or the wire holds back. Returns wire frames carried.</summary>
    public int ProcessTx(long nowUs) => _tx.Waiting == 0 ? 0 : _tx.Process(Wire, LinkUp, nowUs);

    /// <summary>A snapshot for the inspector. Allocates.</summary>
    public NicDescription Describe()
    {
        var queues = new RxQueueDescription[_queues.Length];
        for (int i = 0; i < queues.Length; i++)
        {
            RxQueue queue = _queues[i];
            queues[i] = new RxQueueDescription(
                queue.Number,
                queue.Pages.Capacity,
                queue.Pages.Count,
                queue.HeaderBuffers.Count,
                queue.Completions.Capacity,
                queue.Completions.Count,
                queue.Interrupt.Enabled,
                queue.Interrupt.DueUs == long.MaxValue ? null : queue.Interrupt.DueUs,
                queue.Interrupt.Raised,
                queue.RunsLow,
                queue.Packets,
                queue.Bytes);
        }

        int[] indirection = new int[IndirectionTable.Size];
        for (int entry = 0; entry < indirection.Length; entry++)
        {
            indirection[entry] = Indirection[entry];
        }

        return new NicDescription(
            Options,
            Options.EffectiveTso,
            LinkUp,
            RxPaused,
            queues,
            new TxRingDescription(_tx.RingSize, _tx.Waiting, _tx.Posted, _tx.Completed),
            indirection,
            Convert.ToHexStringLower(_toeplitz.Key));
    }

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor) => _counters.VisitCounters(visitor);

    /// <summary>The number of posted buffers has changed: with pause frames, the sender may have to be told.</summary>
    internal void UpdatePressure(RxQueue queue)
    {
        bool paused = RxPaused;
        _counters.TxPauses += queue.UpdatePressure() && _pauseFrames && !paused ? 1 : 0;
    }

    /// <summary>May a frame of that length be placed? Else it is dropped, and counted by reason.</summary>
    internal bool Admit(int length)
    {
        if (!LinkUp)
        {
            _counters.RxCarrierErrors++;
            return false;
        }

        if (length < EthernetHeader.Length)
        {
            _counters.RxUndersize++;
            return false;
        }

        if (length > MaxRxFrameBytes)
        {
            _counters.RxOversize++;
            return false;
        }

        return true;
    }

    /// <summary>A wire placed a frame by itself.</summary>
    internal void OnDirect(RxQueue queue, RxChecksum checksum)
    {
        _counters.Count(checksum);
        UpdatePressure(queue);
    }

    /// <summary>True if <see cref="RunTimers"/> has something to do on a queue.</summary>
    internal bool IsFlushDue(RxQueue queue, long nowUs) => _placement.NextFlushUs(queue) <= nowUs;

    /// <summary>The NIC's own timers; the driver runs them whenever it polls, as the model has no clock.</summary>
    internal void RunTimers(RxQueue queue, long nowUs) => _placement.Flush(queue, nowUs);

    /// <summary>Takes a data page that the DMA engine may still write into away from it; false when it has none (left).</summary>
    internal bool TryTakeOpenPage(RxQueue queue, out int page) =>
        _direct.Length > 0 ? _direct[queue.Number].TryTakeOpenPage(out page) : _placement.TryTakeOpenPage(queue, out page);

    private ReadOnlySpan<byte> Window(in TxFrame frame, int length)
    {
        int bytes = Math.Min(length, HeaderDissector.MaxHeaderBytes);
        if (frame.Headers.Length >= bytes)
        {
            return frame.Headers[..bytes];
        }

        var window = new Span<byte>(_window.Pointer, bytes);
        new FrameReader(frame).CopyTo(window);
        return window;
    }

    private uint Hash(ReadOnlySpan<byte> window, in FrameDissection headers)
    {
        const int Ipv4AddressesBytes = 8;
        const int Ipv6AddressesBytes = 32;
        const int PortsBytes = 4;

        ReadOnlySpan<byte> addresses = headers.IsIpv4
            ? window.Slice(headers.L3Offset + Ipv4Header.SourceOffset, Ipv4AddressesBytes)
            : window.Slice(headers.L3Offset + Ipv6Header.SourceOffset, Ipv6AddressesBytes);
        if (!headers.HasPorts)
        {
            return _toeplitz.Hash(addresses);
        }

        Span<byte> input = stackalloc byte[Ipv6AddressesBytes + PortsBytes];
        addresses.CopyTo(input);
        window.Slice(headers.L4Offset, PortsBytes).CopyTo(input[addresses.Length..]);
        return _toeplitz.Hash(input[..(addresses.Length + PortsBytes)]);
    }
}
