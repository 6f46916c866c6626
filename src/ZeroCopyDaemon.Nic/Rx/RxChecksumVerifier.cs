using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Nic.Rx;

/// <summary>
/// Verifies a frame's IPv4 header (IPv6's has no checksum) and TCP or UDP checksum while its bytes go by. The default value verifies nothing, and neither does one for a frame that can't be verified alone:
/// a fragment, another protocol, a UDP datagram without checksum, a packet longer than its frame.
/// </summary>
internal struct RxChecksumVerifier
{
    private readonly int _start;
    private readonly int _end;
    private readonly bool _headerWrong;
    private ChecksumAccumulator _sum;

    /// <param name="window">The frame's first bytes: all headers.</param>
    /// <param name="headers">What the dissector made of them.</param>
    /// <param name="frameLength">Bytes of the frame.</param>
    public RxChecksumVerifier(ReadOnlySpan<byte> window, in FrameDissection headers, int frameLength)
    {
        if (!headers.IsIp || headers.IsFragment || headers.L3Offset + headers.IpTotalLength > frameLength)
        {
            return;
        }

        int length = headers.L3Offset + headers.IpTotalLength - headers.L4Offset;
        switch (headers.Protocol)
        {
            case IpProtocol.Tcp when length >= TcpHeader.MinLength:
                break;
            case IpProtocol.Udp when length >= UdpHeaderBytes:
                int said = BinaryPrimitives.ReadUInt16BigEndian(window[(headers.L4Offset + UdpLengthOffset)..]);
                bool sums = BinaryPrimitives.ReadUInt16BigEndian(window[(headers.L4Offset + UdpChecksumOffset)..]) != 0;
                if (!sums || said < UdpHeaderBytes || said > length)
                {
                    return;
                }

                length = said;
                break;
            default:
                return;
        }

        _start = headers.L4Offset;
        _end = headers.L4Offset + length;
        _headerWrong = headers.IsIpv4 && !InternetChecksum.IsValid(window[headers.L3Offset..headers.L4Offset]);
        _sum = new ChecksumAccumulator(InternetChecksum.PseudoHeader(headers.Source, headers.Destination, headers.Protocol, length));
    }

    private const int UdpHeaderBytes = 8;
    private const int UdpLengthOffset = 4;
    private const int UdpChecksumOffset = 6;

    /// <summary>What came of it, once all bytes have been added.</summary>
    public readonly RxChecksum Verdict => _end == 0 ? RxChecksum.None
        : !_headerWrong && _sum.Fold() == 0xffff ? RxChecksum.Unnecessary
        : RxChecksum.Bad;

    /// <summary>Adds the frame's bytes from <paramref name="position"/> on; pieces come in order and leave nothing out.</summary>
    public void Add(int position, ReadOnlySpan<byte> bytes)
    {
        int from = Math.Max(_start - position, 0);
        int to = Math.Min(_end - position, bytes.Length);
        if (from < to)
        {
            _sum.Add(bytes[from..to]);
        }
    }
}
