using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>
/// ICMPv6 errors: those that we send, by the rules of RFC 4443 section 2.4 and at a limited rate, and those that quote one of our TCP segments. What we quote is a private copy, so that nothing of the
/// received packet is held.
/// </summary>
internal sealed class Icmpv6Errors(Ipv6Addresses addresses, PagePool pool, Ipv6Output output, IFrameDevice device, Ipv6Counters counters, int perSecond)
{
    private const int MinQuotedTcpBytes = 8;

    private readonly QuoteBuffers _quotes = new(device);
    private TokenBucket _bucket = new(perSecond);

    public ITcpInput? Listener { get; set; }

    /// <summary>
    /// Answers a packet by an error, unless the rules or the rate forbid it. The packet is what <paramref name="about"/> has as IP header, head and chain; the caller keeps the chain, and saw to it that the
    /// packet is not itself an ICMPv6 error in so far as its protocol is not ICMPv6 (that is looked at here).
    /// </summary>
    /// <param name="about">The packet.</param>
    /// <param name="type">The error.</param>
    /// <param name="code">Its code.</param>
    /// <param name="rest">The second word: a pointer.</param>
    /// <param name="mayAnswerGroup">A packet to a group is answered too.</param>
    /// <param name="nowUs">The time.</param>
    [SkipLocalsInit]
    public void Answer(in IpDatagram about, Icmpv6Type type, byte code, uint rest, bool mayAnswerGroup, long nowUs)
    {
        if ((about.Destination.IsMulticast && !mayAnswerGroup) || !Ipv6Addresses.IsSingleHost(about.Source))
        {
            return;
        }

        // Never about an error. What is too short to tell counts as one.
        Span<byte> first = stackalloc byte[Icmpv6Header.Length];
        if (about.Protocol == IpProtocol.Icmpv6 && (!Icmpv6View.TryParse(about.FirstBytes(pool, first), out Icmpv6View icmp) || icmp.IsErrorOrRedirect))
        {
            return;
        }

        if (!_bucket.TryTake(nowUs))
        {
            counters.IcmpOutRateLimitHost++;
            return;
        }

        IpAddress source = addresses.IsLocal(about.Destination) ? about.Destination : addresses.SourceFor(about.Source);
        if (!_quotes.TryGet(out Span<byte> quote) || output.FindRoute(source, about.Source, nowUs, out EthernetAddress hardware) != IpSendResult.Sent)
        {
            counters.IcmpOutErrors++;
            return;
        }

        // As much of it as the least MTU has room for (section 2.4 (c)).
        quote = quote[..Math.Min(quote.Length, device.Mtu - Ipv6Header.Length - Icmpv6Header.Length)];
        quote = quote[..Quote(about, quote)];
        int length = Icmpv6Header.Length + quote.Length;
        Span<byte> headers = stackalloc byte[EthernetHeader.Length + Ipv6Header.Length + Icmpv6Header.Length];
        int at = output.WriteIpHeaders(headers, hardware, source, about.Source, IpProtocol.Icmpv6, length, flowLabel: 0);
        Span<byte> message = headers[at..];
        Icmpv6Header.Write(message, type, code, rest, 0);
        var sum = new ChecksumAccumulator(InternetChecksum.PseudoHeader(source, about.Source, IpProtocol.Icmpv6, length));
        sum.Add(message);
        sum.Add(quote);
        BinaryPrimitives.WriteUInt16BigEndian(message[Icmpv6Header.ChecksumOffset..], sum.Finish());
        if (!device.TryTransmit(new TxFrame(headers, [_quotes.Chunk(quote.Length)], quote.Length)))
        {
            counters.IcmpOutErrors++;
            return;
        }

        _quotes.Posted();
        Count(type);
    }

    /// <summary>Takes in an error whose checksum is right; the caller keeps the chain. False if it is of no use: it doesn't quote a packet that we could have sent.</summary>
    [SkipLocalsInit]
    public bool Receive(in IpDatagram datagram, scoped in Icmpv6View icmp, long nowUs)
    {
        switch (icmp.Type)
        {
            case Icmpv6Type.DestinationUnreachable:
                counters.IcmpInDestUnreachs++;
                break;
            case Icmpv6Type.PacketTooBig:
                counters.IcmpInPktTooBigs++;
                break;
            case Icmpv6Type.TimeExceeded:
                counters.IcmpInTimeExcds++;
                break;
            case Icmpv6Type.ParameterProblem:
                counters.IcmpInParmProblems++;
                break;
            default:
                return false;
        }

        Span<byte> scratch = stackalloc byte[Icmpv6Header.Length + Ipv6Header.Length + MinQuotedTcpBytes];
        ReadOnlySpan<byte> message = datagram.FirstBytes(pool, scratch);
        if (!Ipv6View.TryParse(message[Icmpv6Header.Length..], out Ipv6View quote) || quote.Source != datagram.Destination || !Ipv6Addresses.IsSingleHost(quote.Destination))
        {
            return false;
        }

        int mtu = 0;
        if (icmp.Type == Icmpv6Type.PacketTooBig)
        {
            // No link has less than the least MTU; who says so is not believed (RFC 8201 section 4).
            mtu = (int)Math.Min(icmp.RestOfHeader, int.MaxValue);
            if (mtu < Ipv6Header.MinMtu)
            {
                return false;
            }
        }

        ReadOnlySpan<byte> segment = message[(Icmpv6Header.Length + Ipv6Header.Length)..];
        if (quote.NextHeader != IpProtocol.Tcp)
        {
            if (mtu > 0)
            {
                output.PathMtu.Learn(quote.Destination, mtu, nowUs);
            }

            return mtu > 0;
        }

        if (segment.Length < MinQuotedTcpBytes)
        {
            return false;
        }

        (IcmpType type, byte code) = Translate(icmp.Type, icmp.Code);
        Listener?.OnIcmpError(
            new IpEndpoint(quote.Source, BinaryPrimitives.ReadUInt16BigEndian(segment)),
            new IpEndpoint(quote.Destination, BinaryPrimitives.ReadUInt16BigEndian(segment[TcpHeader.DestinationPortOffset..])),
            new SeqNumber(BinaryPrimitives.ReadUInt32BigEndian(segment[TcpHeader.SequenceOffset..])),
            (byte)type,
            code,
            mtu,
            nowUs);
        return true;
    }

    /// <summary>What ICMP calls it (RFC 7915 section 5.2), so that TCP has one list of cases for both.</summary>
    private static (IcmpType Type, byte Code) Translate(Icmpv6Type type, byte code) => (type, code) switch
    {
        (Icmpv6Type.PacketTooBig, _) => (IcmpType.DestinationUnreachable, IcmpCode.FragmentationNeeded),
        (Icmpv6Type.DestinationUnreachable, Icmpv6Code.PortUnreachable) => (IcmpType.DestinationUnreachable, IcmpCode.PortUnreachable),
        (Icmpv6Type.DestinationUnreachable, Icmpv6Code.NoRoute) => (IcmpType.DestinationUnreachable, IcmpCode.NetUnreachable),
        (Icmpv6Type.DestinationUnreachable, Icmpv6Code.Prohibited) => (IcmpType.DestinationUnreachable, IcmpCode.HostProhibited),
        (Icmpv6Type.DestinationUnreachable, _) => (IcmpType.DestinationUnreachable, IcmpCode.HostUnreachable),
        (Icmpv6Type.ParameterProblem, Icmpv6Code.UnrecognizedNextHeader) => (IcmpType.DestinationUnreachable, IcmpCode.ProtocolUnreachable),
        (Icmpv6Type.TimeExceeded, _) => (IcmpType.TimeExceeded, code),
        _ => (IcmpType.ParameterProblem, code),
    };

    private int Quote(in IpDatagram about, Span<byte> quote)
    {
        int length = Copy(about.IpHeader, quote);
        length += Copy(about.Head, quote[length..]);
        Span<byte> rest = quote[length..];
        return length + FragmentChain.CopyHeader(pool, about.Payload, rest[..Math.Min(rest.Length, about.PayloadLength)]);
    }

    private static int Copy(ReadOnlySpan<byte> bytes, Span<byte> destination)
    {
        bytes = bytes[..Math.Min(bytes.Length, destination.Length)];
        bytes.CopyTo(destination);
        return bytes.Length;
    }

    private void Count(Icmpv6Type type)
    {
        counters.OutRequests++;
        counters.IcmpOutMsgs++;
        switch (type)
        {
            case Icmpv6Type.TimeExceeded:
                counters.IcmpOutTimeExcds++;
                break;
            case Icmpv6Type.ParameterProblem:
                counters.IcmpOutParmProblems++;
                break;
            default:
                counters.IcmpOutDestUnreachs++;
                break;
        }
    }
}
