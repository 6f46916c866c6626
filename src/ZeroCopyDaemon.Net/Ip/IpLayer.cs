using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>
/// Everything below TCP: Ethernet and IPv4 input, the parts that do ARP, ICMP, reassembly and output, and <see cref="Ipv6Layer"/> beside them if we have an IPv6 address. On every path a frame's chain is released or handed on exactly once,
/// and the frame is delivered, held by reassembly, or counted by a <see cref="DropReason"/>.
/// </summary>
internal sealed class IpLayer : IFrameReceiver, ICounterSource
{
    private readonly PagePool _pool;
    private readonly DropCounters _drops;
    private readonly AddressPlan _addresses;
    private readonly IcmpErrors _errors;
    private readonly IcmpEcho _echo;
    private readonly HeldChains _held;
    private readonly TcpSegmentInput _segments;
    private ITcpInput? _tcp;

    public IpLayer(NetStackOptions options, PagePool pool, IFrameDevice device, DropCounters drops)
    {
        _pool = pool;
        _drops = drops;
        _addresses = new AddressPlan(options);
        Arp = new ArpLayer(_addresses, options.MaxNeighbors, device, Counters, drops);
        var output = new Ipv4Output(_addresses, Arp, device, Counters, firstIdentification: (ushort)(options.Secret >> 56));
        _held = new HeldChains(pool, device);
        _errors = new IcmpErrors(_addresses, pool, output, device, Counters, options.IcmpRatePerSecond);
        _echo = new IcmpEcho(pool, output, device, _held, Counters);
        Reassembly = new Reassembly(options, Reassembly.TimeoutUs, pool, drops, AnswerTimeout);
        _segments = new TcpSegmentInput(pool, Counters);
        Ipv6 = options.Address6.IsAny ? null : new Ipv6Layer(options, pool, device, _held, _segments, Counters, drops);
        Output = new IpOutput(_addresses, output, Ipv6, Counters);
    }

    /// <summary>Who gets segments and is told of neighbours and ICMP errors. Set before the first frame.</summary>
    public ITcpInput? Tcp
    {
        get => _tcp;
        set
        {
            _tcp = value;
            Arp.Listener = value;
            _errors.Listener = value;
            if (Ipv6 is not null)
            {
                Ipv6.Tcp = value;
            }
        }
    }

    /// <summary>For TCP to send by.</summary>
    public IIpOutput Output { get; }

    public ArpLayer Arp { get; }

    public Reassembly Reassembly { get; }

    /// <summary>Null if we have no IPv6 address.</summary>
    public Ipv6Layer? Ipv6 { get; }

    public IpCounters Counters { get; } = new();

    /// <summary>Echo replies whose pages the device may still read.</summary>
    public int HeldEchoes => _held.Count;

    /// <summary>When <see cref="Poll"/> must be called next; <see cref="long.MaxValue"/> if nothing is due.</summary>
    public long NextDeadlineUs => Math.Min(
        Math.Min(Arp.NextDeadlineUs, Reassembly.NextDeadlineUs), Math.Min(_held.NextDeadlineUs, Ipv6?.NextDeadlineUs ?? long.MaxValue));

    /// <summary>Runs what is due, and gives back pages that the device has read.</summary>
    public void Poll(long nowUs)
    {
        _held.ReleaseCompleted(nowUs);
        Arp.RunTimers(nowUs);
        Reassembly.RunTimers(nowUs);
        Ipv6?.Poll(nowUs);
    }

    /// <inheritdoc/>
    public void Receive(in RxFrame frame, long nowUs)
    {
        Counters.Frames++;
        if (!EthernetView.TryParse(frame.Headers, out EthernetView ethernet))
        {
            Drop(DropReason.PKT_TOO_SMALL, frame.Payload);
            return;
        }

        EthernetAddress destination = ethernet.Destination;
        bool isBroadcast = destination == EthernetAddress.Broadcast;
        bool isIpv6 = ethernet.EtherType == EtherType.Ipv6 && Ipv6 is not null;
        if (!isBroadcast && !_addresses.IsOwnHardware(destination) && !(isIpv6 && Ipv6!.Addresses.IsJoined(destination)))
        {
            Drop(DropReason.OTHERHOST, frame.Payload);
            return;
        }

        switch (ethernet.EtherType)
        {
            case EtherType.Ipv4:
                ReceiveIpv4(frame, ethernet.Payload, isBroadcast, nowUs);
                break;
            case EtherType.Ipv6 when isIpv6:
                Ipv6!.Receive(frame, ethernet.Payload, destination.IsGroup, nowUs);
                break;
            case EtherType.Arp:
                _pool.ReleaseChain(frame.Payload);
                Arp.Receive(ethernet.Payload, nowUs);
                break;
            default:
                Drop(DropReason.UNHANDLED_PROTO, frame.Payload);
                break;
        }
    }

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        Counters.VisitCounters(visitor);
        Arp.Table.VisitCounters(visitor);
        visitor.Counter("arp.res_failed", Arp.Failures);
        visitor.Counter("ip.ReasmTimeout", Reassembly.TimedOut);
        visitor.Counter("ip.ReasmReqds", Reassembly.Requests);
        visitor.Counter("ip.ReasmOKs", Reassembly.Completed);
        visitor.Counter("ip.ReasmFails", Reassembly.Failed);
        visitor.Counter("ip.reasm_held_bytes", Reassembly.HeldBytes);
        visitor.Counter("ip.reasm_held_frames", Reassembly.HeldFrames);
        Ipv6?.VisitCounters(visitor);
    }

    [SkipLocalsInit]
    private void ReceiveIpv4(in RxFrame frame, ReadOnlySpan<byte> bytes, bool isBroadcast, long nowUs)
    {
        Counters.IpInReceives++;
        int chain = frame.Payload;
        if (!Ipv4View.TryParse(bytes, out Ipv4View ip))
        {
            Counters.IpInHdrErrors++;
            Drop(DropReason.IP_INHDR, chain);
            return;
        }

        if (frame.Checksum != RxChecksum.Unnecessary && !ip.IsChecksumValid && !Faults.IsOn(Fault.ChecksumNotVerified))
        {
            Counters.IpInHdrErrors++;
            Drop(DropReason.IP_CSUM, chain);
            return;
        }

        if (Validate(ip, isBroadcast) is { } reason)
        {
            Drop(reason, chain);
            return;
        }

        // What the header buffer and the chain have beyond the datagram's end is padding.
        ReadOnlySpan<byte> head = ip.AfterHeader;
        int length = ip.TotalLength - ip.HeaderLength;
        head = head[..Math.Min(head.Length, length)];
        int inPages = length - head.Length;
        if (frame.PayloadLength < inPages)
        {
            Counters.IpInTruncatedPkts++;
            Drop(DropReason.PKT_TOO_SMALL, chain);
            return;
        }

        FragmentChain.TrimBack(_pool, ref chain, inPages);
        if (!ip.IsFragment)
        {
            Deliver(
                new IpDatagram
                {
                    Source = ip.Source,
                    Destination = ip.Destination,
                    Protocol = ip.Protocol,
                    IpHeader = ip.Header,
                    Head = head,
                    Payload = chain,
                    PayloadLength = inPages,
                    Checksum = frame.Checksum,
                    Frames = 1,
                },
                nowUs);
            return;
        }

        Invariant.That(head.Length == 0, "the device puts payload into pages, not into the header buffer");
        Span<byte> header = stackalloc byte[Ipv4Header.MaxLength];
        var part = new IpFragment
        {
            Source = ip.Source,
            Destination = ip.Destination,
            Protocol = ip.Protocol,
            Identification = ip.Identification,
            Offset = ip.FragmentOffset,
            More = ip.MoreFragments,
            Header = ip.Header,
            CountedHeaderLength = ip.HeaderLength,
        };
        if (Reassembly.TryComplete(part, chain, inPages, nowUs, header, out int headerLength, out int datagram, out int datagramLength, out int frames))
        {
            Deliver(
                new IpDatagram
                {
                    Source = ip.Source,
                    Destination = ip.Destination,
                    Protocol = ip.Protocol,
                    IpHeader = header[..headerLength],
                    Payload = datagram,
                    PayloadLength = datagramLength,
                    Frames = frames,
                },
                nowUs);
        }
    }

    /// <summary>Addresses and options (RFC 1122 sections 3.2.1.3, 3.2.1.8 and 3.3.6). Null if the datagram may go on.</summary>
    private DropReason? Validate(scoped in Ipv4View ip, bool isBroadcast)
    {
        if (!_addresses.IsLocal(ip.Destination) || _addresses.IsImpossibleSource(ip.Source))
        {
            Counters.IpInAddrErrors++;
            return DropReason.IP_INADDRERRORS;
        }

        if (isBroadcast)
        {
            return DropReason.UNICAST_IN_L2_MULTICAST;
        }

        if (ip.HeaderLength == Ipv4Header.MinLength)
        {
            return null;
        }

        Ipv4OptionsVerdict verdict = Ipv4Options.Check(ip.Options);
        if (verdict == Ipv4OptionsVerdict.Acceptable)
        {
            return null;
        }

        Counters.IpInHdrErrors++;
        return verdict == Ipv4OptionsVerdict.SourceRoute ? DropReason.IP_OPTIONS : DropReason.IP_INHDR;
    }

    private void Deliver(in IpDatagram datagram, long nowUs)
    {
        switch (datagram.Protocol)
        {
            case IpProtocol.Tcp when _tcp is not null:
                if (_segments.Receive(datagram, _tcp, nowUs) is { } reason)
                {
                    Drop(reason, datagram);
                    break;
                }

                Counters.IpInDelivers++;

                break;
            case IpProtocol.Icmp:
                Counters.IpInDelivers++;
                ReceiveIcmp(datagram, nowUs);
                break;
            case IpProtocol.Udp:
                Counters.UdpNoPorts++;
                _errors.Answer(datagram, IcmpType.DestinationUnreachable, IcmpCode.PortUnreachable, nowUs);
                Drop(DropReason.NO_SOCKET, datagram);
                break;
            default:
                Counters.IpInUnknownProtos++;
                _errors.Answer(datagram, IcmpType.DestinationUnreachable, IcmpCode.ProtocolUnreachable, nowUs);
                Drop(DropReason.IP_NOPROTO, datagram);
                break;
        }
    }

    [SkipLocalsInit]
    private void ReceiveIcmp(in IpDatagram datagram, long nowUs)
    {
        Counters.IcmpInMsgs++;
        Span<byte> scratch = stackalloc byte[IcmpHeader.Length];
        if (!IcmpView.TryParse(datagram.FirstBytes(_pool, scratch), out IcmpView icmp))
        {
            Counters.IcmpInErrors++;
            Drop(DropReason.INVALID_PROTO, datagram);
            return;
        }

        // No device verifies this one.
        Counters.RxChecksumSoftwareBytes += datagram.Length;
        var sum = new ChecksumAccumulator(0);
        sum.Add(datagram.Head);
        FragmentChain.AddTo(ref sum, _pool, datagram.Payload);
        if (sum.Fold() != 0xFFFF)
        {
            Counters.IcmpInErrors++;
            Counters.IcmpInCsumErrors++;
            Drop(DropReason.ICMP_CSUM, datagram);
            return;
        }

        if (icmp.Type == IcmpType.Echo)
        {
            Counters.IcmpInEchos++;
            if (_echo.Reply(datagram, icmp, nowUs) is { } reason)
            {
                _drops.Count(reason, datagram.Frames);
            }
            else
            {
                Counters.FramesDelivered += datagram.Frames;
            }

            return;
        }

        if (!_errors.Receive(datagram, icmp, nowUs))
        {
            Drop(DropReason.INVALID_PROTO, datagram);
            return;
        }

        Counters.FramesDelivered += datagram.Frames;
        _pool.ReleaseChain(datagram.Payload);
    }

    private void AnswerTimeout(in IpDatagram about, long nowUs) => _errors.Answer(about, IcmpType.TimeExceeded, IcmpCode.FragmentReassembly, nowUs);

    private void Drop(DropReason reason, int chain)
    {
        _drops.Count(reason);
        _pool.ReleaseChain(chain);
    }

    private void Drop(DropReason reason, in IpDatagram datagram)
    {
        _drops.Count(reason, datagram.Frames);
        _pool.ReleaseChain(datagram.Payload);
    }
}
