using System.Globalization;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Nic.Dma;
using ZeroCopyDaemon.Nic.Rx;
using ZeroCopyDaemon.Nic.Tx;

namespace ZeroCopyDaemon.Nic;

/// <summary>What the hardware counts, by the names that <c>ethtool -S</c> has for it.</summary>
internal sealed class NicCounters : ICounterSource
{
    private readonly RxQueue[] _queues;
    private readonly TxEngine _tx;
    private readonly DmaPlacement _placement;
    private readonly DirectQueue[] _direct;
    private readonly string[] _queuePackets;
    private readonly string[] _queueBytes;
    private long _checksumNone;
    private long _checksumUnnecessary;
    private long _checksumBad;

    public NicCounters(RxQueue[] queues, TxEngine tx, DmaPlacement placement, DirectQueue[] direct)
    {
        _direct = direct;
        _queues = queues;
        _tx = tx;
        _placement = placement;
        _queuePackets = Array.ConvertAll(queues, queue => string.Create(CultureInfo.InvariantCulture, $"nic.rx_queue_{queue.Number}_packets"));
        _queueBytes = Array.ConvertAll(queues, queue => string.Create(CultureInfo.InvariantCulture, $"nic.rx_queue_{queue.Number}_bytes"));
    }

    /// <summary>Frames dropped since the link was down.</summary>
    public long RxCarrierErrors { get; set; }

    /// <summary>Frames shorter than an Ethernet header.</summary>
    public long RxUndersize { get; set; }

    /// <summary>Frames longer than the MTU allows.</summary>
    public long RxOversize { get; set; }

    /// <summary>Frames dropped for want of posted buffers.</summary>
    public long RxOutOfBuffer { get; set; }

    /// <summary>Frames dropped since the driver had not taken enough completions.</summary>
    public long RxMissed { get; set; }

    /// <summary>Times that the wire's sender was told to hold back.</summary>
    public long TxPauses { get; set; }

    /// <summary>A frame was placed, with this verdict.</summary>
    public void Count(RxChecksum checksum)
    {
        switch (checksum)
        {
            case RxChecksum.Unnecessary:
                _checksumUnnecessary++;
                break;
            case RxChecksum.Bad:
                _checksumBad++;
                break;
            default:
                _checksumNone++;
                break;
        }
    }

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        long packets = 0, bytes = 0, interrupts = 0;
        for (int i = 0; i < _queues.Length; i++)
        {
            RxQueue queue = _queues[i];
            packets += queue.Packets;
            bytes += queue.Bytes;
            interrupts += queue.Interrupt.Raised;
            visitor.Counter(_queuePackets[i], queue.Packets);
            visitor.Counter(_queueBytes[i], queue.Bytes);
        }

        long osCopied = 0, osHeaders = 0, splits = _placement.HeaderSplits, fixupBytes = 0, fixupFrames = 0;
        foreach (DirectQueue queue in _direct)
        {
            osCopied += queue.DataBytes;
            osHeaders += queue.HeaderBytes;
            splits += queue.HeaderSplits;
            fixupBytes += queue.FixupBytes;
            fixupFrames += queue.FixupFrames;
        }

        visitor.Counter("nic.rx_packets", packets);
        visitor.Counter("nic.rx_bytes", bytes);
        visitor.Counter("nic.rx_header_split_packets", splits);
        visitor.Counter("nic.rx_merge_runs", _placement.MergeRuns);
        visitor.Counter("nic.rx_merge_match_packets", _placement.MergeMatches);
        visitor.Counter("nic.rx_merge_flushes", _placement.MergeFlushes);
        visitor.Counter("nic.rx_merge_evictions", _placement.MergeEvictions);
        visitor.Counter("nic.rx_csum_none", _checksumNone);
        visitor.Counter("nic.rx_csum_unnecessary", _checksumUnnecessary);
        visitor.Counter("nic.rx_csum_bad", _checksumBad);
        visitor.Counter("nic.rx_out_of_buffer", RxOutOfBuffer);
        visitor.Counter("nic.rx_missed_errors", RxMissed);
        visitor.Counter("nic.rx_length_errors", RxUndersize + RxOversize);
        visitor.Counter("nic.rx_undersize_packets", RxUndersize);
        visitor.Counter("nic.rx_oversize_packets", RxOversize);
        visitor.Counter("nic.rx_carrier_errors", RxCarrierErrors);
        visitor.Counter("nic.rx_interrupts", interrupts);
        visitor.Counter("nic.rx_pause_ctrl", _tx.HeldBack);
        visitor.Counter("nic.tx_pause_ctrl", TxPauses);
        visitor.Counter("nic.tx_packets", _tx.Packets);
        visitor.Counter("nic.tx_bytes", _tx.Bytes);
        visitor.Counter("nic.tx_tso_packets", _tx.TsoPackets);
        visitor.Counter("nic.tx_tso_bytes", _tx.TsoBytes);
        visitor.Counter("nic.tx_csum_partial", _tx.ChecksumsCompleted);
        visitor.Counter("nic.tx_errors", _tx.Errors);
        visitor.Counter("nic.tx_carrier_errors", _tx.CarrierErrors);
        visitor.Counter("nic.tx_queue_stopped", _tx.Stopped);
        visitor.Counter("rx.dma_bytes", _placement.DataBytes);
        visitor.Counter("rx.dma_header_bytes", _placement.HeaderBytes);

        // A modelled wire's bytes reach the pages by the DMA engine, a direct one's by the OS. The names are always shown together.
        visitor.Counter("rx.os_copied_bytes", osCopied);
        visitor.Counter("rx.os_copied_header_bytes", osHeaders);
        visitor.Counter("rx.split_fixup_bytes", fixupBytes);
        visitor.Counter("rx.split_fixup_packets", fixupFrames);
    }
}
