using System.Buffers.Binary;
using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Nic.Tx;

/// <summary>
/// The TX half of a NIC: a ring of frames, worked off in order onto the wire. It may stop in the middle of a super-frame and go on there later. A frame's payload is
/// read until the frame is completed, and not after.
/// </summary>
internal sealed unsafe class TxEngine(NicOptions options)
{
    /// <summary>Most payload bytes of a super-frame: its IPv4 total length, or IPv6 payload length, stays below 65536 with any headers.</summary>
    public const int MaxTsoBytes = 64_000;

    private readonly DescriptorRing<TxDescriptor> _ring = new(options.TxRingSize);
    private readonly Segmenter _segmenter = new();
    private readonly bool _tso = options.EffectiveTso;
    private readonly bool _checksumOffload = options.TxChecksumOffload;
    private WireOffloads _offloads;
    private bool _headStarted;
    private bool _processing;

    /// <summary>Longest frame that goes out as it is, Ethernet header included.</summary>
    public int MaxFrameBytes { get; set; } = options.Mtu + EthernetHeader.Length;

    /// <summary>Frames ever put on the ring.</summary>
    public long Posted { get; private set; }

    /// <summary>Frames ever completed.</summary>
    public long Completed { get; private set; }

    public int RingSize => _ring.Capacity;

    public int Waiting => _ring.Count;

    /// <summary>Wire frames carried.</summary>
    public long Packets { get; private set; }

    public long Bytes { get; private set; }

    public long TsoPackets { get; private set; }

    public long TsoBytes { get; private set; }

    public long ChecksumsCompleted { get; private set; }

    /// <summary>Frames that can't be sent as they are: too long, or in need of an offload that is off.</summary>
    public long Errors { get; private set; }

    /// <summary>Frames dropped since there was no wire, or its link was down.</summary>
    public long CarrierErrors { get; private set; }

    /// <summary>Times that the driver found the ring full.</summary>
    public long Stopped { get; private set; }

    /// <summary>Times that the wire held us back.</summary>
    public long HeldBack { get; private set; }

    /// <summary>Puts a frame on the ring: copies its headers, refers to its payload. False when the ring is full.</summary>
    public bool TryPost(in TxFrame frame)
    {
        Invariant.That(
            frame.Headers.Length is >= EthernetHeader.Length and <= TxFrame.MaxHeaderBytes, "the headers of a frame to send fit a TX descriptor");
        Invariant.That(frame.Payload.Length <= TxDescriptor.MaxChunks, "the chunks of a frame to send fit a TX descriptor");
        if (_ring.Free == 0)
        {
            Stopped++;
            return false;
        }

        ref TxDescriptor descriptor = ref _ring.Reserve(0);
        fixed (byte* headers = descriptor.Headers)
        {
            frame.Headers.CopyTo(new Span<byte>(headers, TxFrame.MaxHeaderBytes));
        }

        int payload = 0;
        int chunks = 0;
        foreach (TxChunk chunk in frame.Payload)
        {
            // A wire is never shown an empty piece.
            if (chunk.Length > 0)
            {
                descriptor.Chunks[chunks++] = chunk;
                payload += chunk.Length;
            }
        }

        Invariant.That(payload == frame.PayloadLength, "a frame's chunks are as long as it says");
        descriptor.HeaderLength = frame.Headers.Length;
        descriptor.ChunkCount = chunks;
        descriptor.PayloadLength = payload;
        descriptor.Mss = frame.Mss;
        descriptor.ChecksumPartial = frame.ChecksumPartial;
        _ring.Publish(1);
        Posted++;
        return true;
    }

    /// <summary>Works the ring off until it is empty or the wire holds back. Returns wire frames carried.</summary>
    public int Process(IWirePort? wire, bool linkUp, long nowUs)
    {
        Invariant.That(!_processing, "a wire doesn't call back into the TX ring that is calling it");
        _processing = true;
        long before = Packets;
        _offloads = wire?.TxOffloads ?? WireOffloads.None;
        try
        {
            while (_ring.Count > 0)
            {
                ref TxDescriptor head = ref _ring[0];
                if (wire is null || !linkUp)
                {
                    CarrierErrors++;
                }
                else if (!_headStarted && !TryStart(ref head))
                {
                    Errors++;
                }
                else if (!TryCarry(wire, ref head, nowUs))
                {
                    HeldBack++;
                    break;
                }

                Complete();
            }
        }
        finally
        {
            _processing = false;
        }

        return (int)(Packets - before);
    }

    /// <summary>Completes all that waits without sending it: the driver takes its memory back.</summary>
    public void Abandon()
    {
        while (_ring.Count > 0)
        {
            Complete();
        }
    }

    /// <summary>Is this left to the wire?</summary>
    private bool Leaves(WireOffloads offload) => (_offloads & offload) != 0;

    private void Complete()
    {
        _ring.Skip(1);
        _headStarted = false;
        Completed++;
    }

    private bool TryStart(ref TxDescriptor head)
    {
        int perFrame = head.Mss == 0 ? head.PayloadLength : Math.Min(head.Mss, head.PayloadLength);
        if (head.HeaderLength + perFrame > MaxFrameBytes || (head.ChecksumPartial && !_checksumOffload))
        {
            return false;
        }

        if (head.Mss != 0)
        {
            if (!_tso || !head.ChecksumPartial || head.Mss < 0 || head.PayloadLength > MaxTsoBytes || (!Leaves(WireOffloads.Tso) && !_segmenter.TryBegin(ref head)))
            {
                return false;
            }

            TsoPackets++;
            TsoBytes += head.PayloadLength;
        }
        else if (head.ChecksumPartial && !Leaves(WireOffloads.Checksum) && !TryCompleteChecksum(ref head))
        {
            return false;
        }

        ChecksumsCompleted += head.ChecksumPartial ? 1 : 0;
        _headStarted = true;
        return true;
    }

    private bool TryCarry(IWirePort wire, ref TxDescriptor head, long nowUs)
    {
        if (head.Mss == 0 || Leaves(WireOffloads.Tso))
        {
            fixed (byte* headers = head.Headers)
            {
                bool partial = head.ChecksumPartial && Leaves(WireOffloads.Checksum);
                return TryCarry(wire, new TxFrame(new ReadOnlySpan<byte>(headers, head.HeaderLength), head.Chunks[..head.ChunkCount], head.PayloadLength, head.Mss, partial), nowUs);
            }
        }

        do
        {
            if (!TryCarry(wire, _segmenter.Current, nowUs))
            {
                return false;
            }
        }
        while (_segmenter.MoveNext(ref head));
        return true;
    }

    private bool TryCarry(IWirePort wire, in TxFrame frame, long nowUs)
    {
        if (!wire.TryCarry(frame, nowUs))
        {
            return false;
        }

        Packets++;
        Bytes += frame.Length;
        return true;
    }

    private static bool TryCompleteChecksum(ref TxDescriptor head)
    {
        const int UdpHeaderBytes = 8;
        const int UdpChecksumOffset = 6;

        fixed (byte* headers = head.Headers)
        {
            var span = new Span<byte>(headers, head.HeaderLength);
            FrameDissection found = HeaderDissector.Dissect(span);
            Span<byte> transport = span[found.L4Offset..];
            bool udp = found.Protocol == IpProtocol.Udp;
            if (found.IsFragment || !(udp ? transport.Length >= UdpHeaderBytes : found.Protocol == IpProtocol.Tcp && transport.Length >= TcpHeader.MinLength))
            {
                return false;
            }

            // The field already holds the pseudo-header's sum, and is summed up with the rest.
            var sum = default(ChecksumAccumulator);
            sum.Add(transport);
            for (int i = 0; i < head.ChunkCount; i++)
            {
                sum.Add(head.Chunks[i].Span);
            }

            ushort checksum = sum.Finish();
            // RFC 768: a UDP checksum that comes out as 0 is sent as all ones, for 0 says that there is none.
            if (checksum == 0 && udp)
            {
                checksum = 0xffff;
            }

            BinaryPrimitives.WriteUInt16BigEndian(transport[(udp ? UdpChecksumOffset : TcpHeader.ChecksumOffset)..], checksum);
            return true;
        }
    }
}
