using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Nic.Rx;

namespace ZeroCopyDaemon.Nic.Dma;

/// <summary>The flow that a segment belongs to; the ports as they stand in the packet.</summary>
internal readonly record struct MergeFlow(IpAddress Source, IpAddress Destination, uint Ports);

/// <summary>What the merging DMA engine wants to know of a frame.</summary>
internal readonly ref struct MergeSegment
{
    private const TcpFlags Endings = TcpFlags.Syn | TcpFlags.Fin | TcpFlags.Rst | TcpFlags.Urg;

    /// <param name="frame">The frame, of which nothing has been taken yet.</param>
    public MergeSegment(in IncomingFrame frame)
    {
        FrameDissection headers = frame.Headers;
        int headerBytes = headers.HeaderLength - headers.L4Offset;
        if (headers.Protocol != IpProtocol.Tcp || !headers.HasPorts || headerBytes < TcpHeader.MinLength)
        {
            return;
        }

        ReadOnlySpan<byte> tcp = frame.Window[headers.L4Offset..headers.HeaderLength];
        IsTcp = true;
        Flow = new MergeFlow(headers.Source, headers.Destination, BinaryPrimitives.ReadUInt32LittleEndian(tcp));
        Sequence = BinaryPrimitives.ReadUInt32BigEndian(tcp[TcpHeader.SequenceOffset..]);
        PayloadBytes = frame.Length - headers.HeaderLength;
        var flags = (TcpFlags)tcp[TcpHeader.FlagsOffset];

        // Padding behind the payload, or options in front of it that somebody means something by: not the flow's next bytes and nothing else.
        bool isPlain = headers.L4Offset - headers.L3Offset == (headers.IsIpv4 ? Ipv4Header.MinLength : Ipv6Header.Length)
            && headers.L3Offset + headers.IpTotalLength == frame.Length
            && headerBytes == (tcp[TcpHeader.DataOffsetOffset] >> 4) * 4
            && (flags & (Endings | TcpFlags.Ack)) == TcpFlags.Ack;
        IsData = isPlain && PayloadBytes > 0;
        EndsRun = !isPlain && (PayloadBytes > 0 || (flags & Endings) != 0);
    }

    /// <summary>A whole TCP header was found. Without one, nothing else here means anything.</summary>
    public bool IsTcp { get; }

    public MergeFlow Flow { get; }

    public uint Sequence { get; }

    public int PayloadBytes { get; }

    /// <summary>Payload in a plain, unfragmented segment: it may continue a run, or begin one.</summary>
    public bool IsData { get; }

    /// <summary>Nothing to lay down in a run, and the end of one.</summary>
    public bool EndsRun { get; }
}
