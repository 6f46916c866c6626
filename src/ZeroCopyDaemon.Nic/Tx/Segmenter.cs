using System.Buffers.Binary;
using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Nic.Tx;

/// <summary>
/// TSO: cuts one super-frame after the other into wire frames, whose headers it builds in its own memory; payload is only referenced. It stands at one segment until
/// <see cref="MoveNext"/>, however often the wire refuses it.
/// </summary>
internal sealed unsafe class Segmenter
{
    private const byte FlagFin = 0x01;
    private const byte FlagPsh = 0x08;
    private const byte FlagCwr = 0x80;

    private readonly PinnedMemory<byte> _headers = new(TxFrame.MaxHeaderBytes);
    private readonly PinnedMemory<TxChunk> _chunks = new(TxDescriptor.MaxChunks);
    private bool _isIpv6;
    private int _ipOffset;
    private int _tcpOffset;
    private int _headerLength;
    private int _payloadLength;
    private int _mss;
    private int _index;
    private int _sent;
    private int _nextChunk;
    private int _nextChunkOffset;
    private int _segmentLength;
    private int _segmentChunks;

    /// <summary>The segment that it stands at: a wire frame, its checksums complete.</summary>
    public TxFrame Current => new(
        new ReadOnlySpan<byte>(_headers.Pointer, _headerLength), new ReadOnlySpan<TxChunk>(_chunks.Pointer, _segmentChunks), _segmentLength);

    /// <summary>Stands at the super-frame's first segment; false if it isn't one that can be cut: not TCP over IP, or bytes of payload among its headers.</summary>
    public bool TryBegin(ref TxDescriptor super)
    {
        fixed (byte* headers = super.Headers)
        {
            var span = new ReadOnlySpan<byte>(headers, super.HeaderLength);
            FrameDissection found = HeaderDissector.Dissect(span);
            if (found.Protocol != IpProtocol.Tcp
                || found.IsFragment
                || span.Length < found.L4Offset + TcpHeader.MinLength
                || span.Length != found.L4Offset + ((span[found.L4Offset + TcpHeader.DataOffsetOffset] >> 4) * 4))
            {
                return false;
            }

            _isIpv6 = found.IsIpv6;
            _ipOffset = found.L3Offset;
            _tcpOffset = found.L4Offset;
        }

        _headerLength = super.HeaderLength;
        _payloadLength = super.PayloadLength;
        _mss = super.Mss;
        _index = 0;
        _sent = 0;
        _nextChunk = 0;
        _nextChunkOffset = 0;
        Cut(ref super);
        return true;
    }

    /// <summary>Goes on to the next segment; false after the last one.</summary>
    public bool MoveNext(ref TxDescriptor super)
    {
        _sent += _segmentLength;
        if (_sent >= _payloadLength)
        {
            return false;
        }

        _index++;
        Cut(ref super);
        return true;
    }

    private void Cut(ref TxDescriptor super)
    {
        _segmentLength = Math.Min(_mss, _payloadLength - _sent);
        _segmentChunks = 0;
        int missing = _segmentLength;
        while (missing > 0)
        {
            Invariant.That(_nextChunk < super.ChunkCount, "a frame's chunks are as long as it says");
            TxChunk whole = super.Chunks[_nextChunk];
            int length = Math.Min(missing, whole.Length - _nextChunkOffset);
            _chunks.Pointer[_segmentChunks++] = new TxChunk(whole.Pointer + _nextChunkOffset, length);
            missing -= length;
            _nextChunkOffset += length;
            if (_nextChunkOffset == whole.Length)
            {
                _nextChunk++;
                _nextChunkOffset = 0;
            }
        }

        fixed (byte* headers = super.Headers)
        {
            new ReadOnlySpan<byte>(headers, _headerLength).CopyTo(new Span<byte>(_headers.Pointer, _headerLength));
        }

        WriteHeaders();
    }

    private void WriteHeaders()
    {
        bool first = _index == 0;
        bool last = _sent + _segmentLength == _payloadLength;
        var ip = new Span<byte>(_headers.Pointer + _ipOffset, _tcpOffset - _ipOffset);
        var tcp = new Span<byte>(_headers.Pointer + _tcpOffset, _headerLength - _tcpOffset);

        WriteIpHeader(ip, tcp.Length + _segmentLength);
        uint sequence = BinaryPrimitives.ReadUInt32BigEndian(tcp[TcpHeader.SequenceOffset..]);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[TcpHeader.SequenceOffset..], sequence + (uint)_sent);
        // RFC 3168 section 6.1.2: CWR answers once, so only the first segment has it. FIN and PSH speak of the last byte.
        tcp[TcpHeader.FlagsOffset] &= (byte)~((last ? 0 : FlagFin | FlagPsh) | (first ? 0 : FlagCwr));

        // The field holds the pseudo-header's sum with the super-segment's length: take that length off (add its complement), and this one's on.
        var sum = new ChecksumAccumulator((ulong)(ushort)~(tcp.Length + _payloadLength) + (ulong)(tcp.Length + _segmentLength));
        sum.Add(tcp);
        for (int i = 0; i < _segmentChunks; i++)
        {
            sum.Add(_chunks.Pointer[i].Span);
        }

        BinaryPrimitives.WriteUInt16BigEndian(tcp[TcpHeader.ChecksumOffset..], sum.Finish());
    }
    /// <summary>This segment's own length, and with IPv4 its own identification and checksum.</summary>
    private void WriteIpHeader(Span<byte> ip, int length)
    {
        if (_isIpv6)
        {
            BinaryPrimitives.WriteUInt16BigEndian(ip[Ipv6Header.PayloadLengthOffset..], (ushort)(ip.Length - Ipv6Header.Length + length));
            return;
        }

        BinaryPrimitives.WriteUInt16BigEndian(ip[Ipv4Header.TotalLengthOffset..], (ushort)(ip.Length + length));
        ushort id = BinaryPrimitives.ReadUInt16BigEndian(ip[Ipv4Header.IdentificationOffset..]);
        BinaryPrimitives.WriteUInt16BigEndian(ip[Ipv4Header.IdentificationOffset..], (ushort)(id + _index));
        BinaryPrimitives.WriteUInt16BigEndian(ip[Ipv4Header.ChecksumOffset..], 0);
        BinaryPrimitives.WriteUInt16BigEndian(ip[Ipv4Header.ChecksumOffset..], InternetChecksum.Compute(ip));
    }
}
