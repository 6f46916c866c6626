using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>
/// A received datagram of either family that IP found right, whole: for one of our addresses (or an IPv6 group of ours), without padding, reassembled if it came in fragments. What follows the IP
/// header is <see cref="Head"/> and then the chain. Whoever gets it takes the chain over; the spans are valid during the call.
/// </summary>
internal readonly ref struct IpDatagram
{
    public IpAddress Source { get; init; }

    public IpAddress Destination { get; init; }

    public IpProtocol Protocol { get; init; }

    /// <summary>The IP header (of the first fragment), IPv6's extension headers included.</summary>
    public ReadOnlySpan<byte> IpHeader { get; init; }

    /// <summary>The transport header as far as it lies in the header buffer; empty for a reassembled datagram.</summary>
    public ReadOnlySpan<byte> Head { get; init; }

    public int Payload { get; init; }

    /// <summary>Bytes in the chain.</summary>
    public int PayloadLength { get; init; }

    /// <summary>The device's verdict; <see cref="RxChecksum.None"/> for a reassembled datagram, which no device sees whole.</summary>
    public RxChecksum Checksum { get; init; }

    /// <summary>In how many frames it came.</summary>
    public int Frames { get; init; }

    /// <summary>Bytes after the IP header.</summary>
    public int Length => Head.Length + PayloadLength;

    /// <summary>The first bytes after the IP header: in place if the header buffer has enough of them, else gathered into <paramref name="scratch"/>.</summary>
    public ReadOnlySpan<byte> FirstBytes(PagePool pool, Span<byte> scratch)
    {
        if (Payload == PagePool.NoFragment || Head.Length >= scratch.Length)
        {
            return Head;
        }

        Head.CopyTo(scratch);
        return scratch[..(Head.Length + FragmentChain.CopyHeader(pool, Payload, scratch[Head.Length..]))];
    }
}
