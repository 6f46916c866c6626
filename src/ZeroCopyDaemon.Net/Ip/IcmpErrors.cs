using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>
/// ICMP errors: those that we send, by the rules of RFC 1122 section 3.2.2 and at a limited rate, and those that quote one of our TCP segments. The quote we
/// send is a private copy of at most 88 bytes, so that nothing of the received datagram is held.
/// </summary>
internal sealed class IcmpErrors(AddressPlan addresses, PagePool pool, Ipv4Output output, IFrameDevice device, IpCounters counters, int perSecond)
{
    /// <summary>RFC 792 wants 8 bytes after the quoted IP header; 28 hold the usual TCP header and some options.</summary>
    private const int QuotedBytes = 28;

    private const int MinQuotedBytes = 8;

    private TokenBucket _bucket = new(perSecond);

    public ITcpInput? Listener { get; set; }

    /// <summary>
    /// Answers a datagram by an error, unless the rules or the rate forbid it. The caller saw to it that the datagram was for one of our addresses and from a single
    /// host, and keeps the chain.
    /// </summary>
    [SkipLocalsInit]
    public void Answer(in IpDatagram about, IcmpType type, byte code, long nowUs)
    {
        Span<byte> first = stackalloc byte[QuotedBytes];
        ReadOnlySpan<byte> quoted = about.FirstBytes(pool, first);
        quoted = quoted[..Math.Min(quoted.Length, QuotedBytes)];

        // Never about an error. What is too short to tell counts as one.
        if (about.Protocol == IpProtocol.Icmp && (!IcmpView.TryParse(quoted, out IcmpView quotedIcmp) || quotedIcmp.IsError))
        {
            return;
        }

        if (!_bucket.TryTake(nowUs))
        {
            counters.IcmpOutRateLimitGlobal++;
            return;
        }

        if (output.FindRoute(about.Destination, about.Source, nowUs, out EthernetAddress hardware) != IpSendResult.Sent)
        {
            counters.IcmpOutErrors++;
            return;
        }

        Span<byte> frame = stackalloc byte[TxFrame.MaxHeaderBytes];
        int length = IcmpHeader.Length + about.IpHeader.Length + quoted.Length;
        int at = output.WriteIpHeaders(frame, hardware, about.Destination, about.Source, IpProtocol.Icmp, length, output.NextIdentification(), 0);
        Span<byte> message = frame.Slice(at, length);
        IcmpHeader.Write(message, type, code, 0, 0);
        about.IpHeader.CopyTo(message[IcmpHeader.Length..]);
        quoted.CopyTo(message[(IcmpHeader.Length + about.IpHeader.Length)..]);
        BinaryPrimitives.WriteUInt16BigEndian(message[IcmpHeader.ChecksumOffset..], InternetChecksum.Compute(message));
        if (!device.TryTransmit(new TxFrame(frame[..(at + length)], default, 0)))
        {
            counters.IcmpOutErrors++;
            return;
        }

        counters.IpOutRequests++;
        counters.IcmpOutMsgs++;
        if (type == IcmpType.TimeExceeded)
        {
            counters.IcmpOutTimeExcds++;
        }
        else
        {
            counters.IcmpOutDestUnreachs++;
        }
    }

    /// <summary>Takes in an error whose checksum is right; the caller keeps the chain. False if it is of no use: it doesn't quote a TCP segment that we could have sent.</summary>
    [SkipLocalsInit]
    public bool Receive(in IpDatagram datagram, scoped in IcmpView icmp, long nowUs)
    {
        switch (icmp.Type)
        {
            case IcmpType.DestinationUnreachable:
                counters.IcmpInDestUnreachs++;
                break;
            case IcmpType.TimeExceeded:
                counters.IcmpInTimeExcds++;
                break;
            case IcmpType.ParameterProblem:
                counters.IcmpInParmProbs++;
                break;
            default:
                // Source quench is history (RFC 6633), and redirects aren't followed.
                return false;
        }

        Span<byte> scratch = stackalloc byte[IcmpHeader.Length + Ipv4Header.MaxLength + MinQuotedBytes];
        ReadOnlySpan<byte> message = datagram.FirstBytes(pool, scratch);
        if (!Ipv4View.TryParse(message[IcmpHeader.Length..], out Ipv4View quote) || quote.FragmentOffset != 0 || quote.Protocol != IpProtocol.Tcp)
        {
            return false;
        }

        ReadOnlySpan<byte> segment = quote.AfterHeader;
        if (segment.Length < MinQuotedBytes || quote.Source != datagram.Destination || !addresses.IsSingleHost(quote.Destination))
        {
            return false;
        }

        bool tooBig = icmp.Type == IcmpType.DestinationUnreachable && icmp.Code == IcmpCode.FragmentationNeeded;
        Listener?.OnIcmpError(
            new IpEndpoint(quote.Source, BinaryPrimitives.ReadUInt16BigEndian(segment)),
            new IpEndpoint(quote.Destination, BinaryPrimitives.ReadUInt16BigEndian(segment[TcpHeader.DestinationPortOffset..])),
            new SeqNumber(BinaryPrimitives.ReadUInt32BigEndian(segment[TcpHeader.SequenceOffset..])),
            (byte)icmp.Type,
            icmp.Code,
            tooBig ? icmp.NextHopMtu : 0,
            nowUs);
        return true;
    }
}
