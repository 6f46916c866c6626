using System.Buffers.Binary;
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
/// IPv6 beside IPv4: input, and the parts that do neighbour discovery, ICMPv6, reassembly and output. On every path a packet's chain is released or handed on exactly once, and its frame is delivered,
/// held by reassembly, or counted by a <see cref="DropReason"/>.
/// </summary>
internal sealed class Ipv6Layer : ICounterSource
{
    /// <summary>What is looked at of a packet whose headers go on in pages: as many extension headers as are walked, and the first bytes of what follows.</summary>
    private const int MaxGatheredBytes = Ipv6Header.Length + Ipv6Extensions.MaxBytes + 8;

    private readonly PagePool _pool;
    private readonly IpCounters _shared;
    private readonly DropCounters _drops;
    private readonly TcpSegmentInput _segments;
    private readonly Icmpv6Errors _errors;
    private readonly Icmpv6Echo _echo;
    private ITcpInput? _tcp;

    /// <summary>A packet on its way through input: what its IPv6 header says, found right.</summary>
    private readonly ref struct Packet
    {
        public IpAddress Source { get; init; }

        public IpAddress Destination { get; init; }

        public byte HopLimit { get; init; }

        public RxChecksum Checksum { get; init; }

        public int Frames { get; init; }

        /// <summary>Came in fragments.</summary>
        public bool IsReassembled { get; init; }

        /// <summary>Its bytes from the IPv6 header on, as far as they aren't in the chain.</summary>
        public ReadOnlySpan<byte> Head { get; init; }

        public int Chain { get; init; }

        public int ChainLength { get; init; }

        public int Length => Head.Length + ChainLength;
    }

    /// <summary>Throws <see cref="ArgumentException"/> with what to change, if the options' addresses can't be used.</summary>
    public Ipv6Layer(NetStackOptions options, PagePool pool, IFrameDevice device, HeldChains held, TcpSegmentInput segments, IpCounters shared, DropCounters drops)
    {
        _pool = pool;
        _shared = shared;
        _drops = drops;
        _segments = segments;
        Addresses = new Ipv6Addresses(options);
        Ndp = new NdpLayer(Addresses, options.MaxNeighbors, device, Counters);
        Output = new Ipv6Output(Addresses, Ndp, device, Counters, shared, options.Secret);
        _errors = new Icmpv6Errors(Addresses, pool, Output, device, Counters, options.IcmpRatePerSecond);
        _echo = new Icmpv6Echo(Addresses, pool, Output, device, held, Counters);
        Reassembly = new Reassembly(options, Reassembly.Ipv6TimeoutUs, pool, drops, AnswerTimeout);
    }

    /// <summary>Who gets segments and is told of neighbours and ICMPv6 errors. Set before the first packet.</summary>
    public ITcpInput? Tcp
    {
        get => _tcp;
        set
        {
            _tcp = value;
            Ndp.Listener = value;
            _errors.Listener = value;
        }
    }

    public Ipv6Addresses Addresses { get; }

    public NdpLayer Ndp { get; }

    public Ipv6Output Output { get; }

    public Reassembly Reassembly { get; }

    public Ipv6Counters Counters { get; } = new();

    public long NextDeadlineUs => Math.Min(Ndp.NextDeadlineUs, Reassembly.NextDeadlineUs);

    public void Poll(long nowUs)
    {
        Ndp.RunTimers(nowUs);
        Reassembly.RunTimers(nowUs);
    }

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        Counters.VisitCounters(visitor);
        Ndp.Table.VisitCounters(visitor);
        visitor.Counter("ndisc.res_failed", Ndp.Failures);
        visitor.Counter("ip6.ReasmTimeout", Reassembly.TimedOut);
        visitor.Counter("ip6.ReasmReqds", Reassembly.Requests);
        visitor.Counter("ip6.ReasmOKs", Reassembly.Completed);
        visitor.Counter("ip6.ReasmFails", Reassembly.Failed);
        visitor.Counter("ip6.reasm_held_bytes", Reassembly.HeldBytes);
        visitor.Counter("ip6.reasm_held_frames", Reassembly.HeldFrames);
    }

    /// <summary>Takes a frame's packet in.</summary>
    /// <param name="frame">The frame, and its chain over.</param>
    /// <param name="bytes">Its header bytes from the IPv6 header on.</param>
    /// <param name="toMany">It was sent to a MAC of many.</param>
    /// <param name="nowUs">The time.</param>
    public void Receive(in RxFrame frame, ReadOnlySpan<byte> bytes, bool toMany, long nowUs)
    {
        Counters.InReceives++;
        int chain = frame.Payload;
        if (!Ipv6View.TryParse(bytes, out Ipv6View ip))
        {
            Counters.InHdrErrors++;
            Drop(DropReason.IP_INHDR, chain);
            return;
        }

        IpAddress source = ip.Source, destination = ip.Destination;
        bool toGroup = destination.IsMulticast;
        if ((toGroup ? !Addresses.IsJoined(destination) : !Addresses.IsLocal(destination)) || (!source.IsAny && Addresses.IsImpossibleSource(source)))
        {
            Counters.InAddrErrors++;
            Drop(DropReason.IP_INADDRERRORS, chain);
            return;
        }

        if (toMany && !toGroup)
        {
            Drop(DropReason.UNICAST_IN_L2_MULTICAST, chain);
            return;
        }

        // What the header buffer and the chain have beyond the packet's end is padding.
        ReadOnlySpan<byte> head = bytes[..Math.Min(bytes.Length, ip.TotalLength)];
        int inPages = ip.TotalLength - head.Length;
        if (frame.PayloadLength < inPages)
        {
            Counters.InTruncatedPkts++;
            Drop(DropReason.PKT_TOO_SMALL, chain);
            return;
        }

        FragmentChain.TrimBack(_pool, ref chain, inPages);
        Walk(
            new Packet
            {
                Source = source,
                Destination = destination,
                HopLimit = ip.HopLimit,
                Checksum = frame.Checksum,
                Frames = 1,
                Head = head,
                Chain = chain,
                ChainLength = inPages,
            },
            nowUs);
    }

    private void Walk(scoped in Packet packet, long nowUs)
    {
        Ipv6Layout layout = Ipv6Extensions.Walk(packet.Head, packet.Length);
        if (layout.End == Ipv6WalkEnd.Incomplete)
        {
            WalkGathered(packet, nowUs);
            return;
        }

        GoOn(packet, packet.Head, layout, nowUs);
    }

    /// <summary>Rare: more extension headers than the header buffer has bytes for, or those of a reassembled packet.</summary>
    [SkipLocalsInit]
    private void WalkGathered(scoped in Packet packet, long nowUs)
    {
        Span<byte> scratch = stackalloc byte[MaxGatheredBytes];
        ReadOnlySpan<byte> gathered = scratch[..Gather(packet.Head, packet.Chain, packet.ChainLength, scratch)];
        GoOn(packet, gathered, Ipv6Extensions.Walk(gathered, packet.Length), nowUs);
    }

    /// <param name="packet">The packet.</param>
    /// <param name="walked">The bytes that the walk went over.</param>
    /// <param name="layout">What it found.</param>
    /// <param name="nowUs">The time.</param>
    private void GoOn(scoped in Packet packet, scoped ReadOnlySpan<byte> walked, in Ipv6Layout layout, long nowUs)
    {
        switch (layout.End)
        {
            case Ipv6WalkEnd.UpperLayer:
                Deliver(Behind(packet, walked, layout), packet, layout, nowUs);
                break;
            case Ipv6WalkEnd.Fragment when !packet.IsReassembled:
                ReceiveFragment(Behind(packet, walked, layout), packet, nowUs);
                break;
            case Ipv6WalkEnd.Fragment:
                Counters.InHdrErrors++;
                Drop(DropReason.FRAG_INVALID, packet.Chain, packet.Frames);
                break;
            case Ipv6WalkEnd.Problem:
                Counters.InHdrErrors++;
                AnswerProblem(packet, walked, layout, nowUs);
                Drop(DropReason.IPV6_BAD_EXTHDR, packet.Chain, packet.Frames);
                break;
            default:
                Counters.InHdrErrors++;
                Drop(DropReason.IPV6_BAD_EXTHDR, packet.Chain, packet.Frames);
                break;
        }
    }

    /// <summary>What follows the headers that were walked. Those of their bytes that lie in the chain are trimmed off it.</summary>
    private IpDatagram Behind(scoped in Packet packet, ReadOnlySpan<byte> walked, scoped in Ipv6Layout layout)
    {
        int chain = packet.Chain;
        int inChain = Math.Max(layout.Offset - packet.Head.Length, 0);
        FragmentChain.TrimFront(_pool, ref chain, inChain);
        return new IpDatagram
        {
            Source = packet.Source,
            Destination = packet.Destination,
            Protocol = layout.Protocol,
            IpHeader = walked[..layout.Offset],
            Head = inChain > 0 ? default : packet.Head[layout.Offset..],
            Payload = chain,
            PayloadLength = packet.ChainLength - inChain,
            Checksum = packet.Checksum,
            Frames = packet.Frames,
        };
    }

    private void Deliver(in IpDatagram datagram, scoped in Packet packet, in Ipv6Layout layout, long nowUs)
    {
        // Only who looks for an address has none.
        if (datagram.Source.IsAny && datagram.Protocol != IpProtocol.Icmpv6)
        {
            Counters.InAddrErrors++;
            Drop(DropReason.IP_INADDRERRORS, datagram);
            return;
        }

        switch (datagram.Protocol)
        {
            case IpProtocol.Tcp when _tcp is not null:
                // RFC 9293 section 3.9.2.3 (MUST-57): nobody connects to a group.
                DropReason? reason = datagram.Destination.IsMulticast ? DropReason.IP_INADDRERRORS : _segments.Receive(datagram, _tcp, nowUs);
                Counters.InDelivers += reason is null ? 1 : 0;
                if (reason is { } why)
                {
                    Drop(why, datagram);
                }

                break;
            case IpProtocol.Icmpv6:
                Counters.InDelivers++;
                ReceiveIcmp(datagram, packet.HopLimit, layout.HasFragmentHeader || packet.IsReassembled, nowUs);
                break;
            case IpProtocol.Udp:
                _shared.UdpNoPorts++;
                _errors.Answer(datagram, Icmpv6Type.DestinationUnreachable, Icmpv6Code.PortUnreachable, 0, mayAnswerGroup: false, nowUs);
                Drop(DropReason.NO_SOCKET, datagram);
                break;
            case IpProtocol.Ipv6NoNext:
                Drop(DropReason.IP_NOPROTO, datagram);
                break;
            default:
                Counters.InUnknownProtos++;
                _errors.Answer(
                    datagram, Icmpv6Type.ParameterProblem, Icmpv6Code.UnrecognizedNextHeader, (uint)layout.AnnouncedAt, mayAnswerGroup: false, nowUs);
                Drop(DropReason.IP_NOPROTO, datagram);
                break;
        }
    }

    [SkipLocalsInit]
    private void ReceiveIcmp(in IpDatagram datagram, byte hopLimit, bool hasFragmentHeader, long nowUs)
    {
        Counters.IcmpInMsgs++;
        Span<byte> scratch = stackalloc byte[NdpLayer.MaxMessageBytes];
        if (!Icmpv6View.TryParse(datagram.FirstBytes(_pool, scratch[..Icmpv6Header.Length]), out Icmpv6View icmp))
        {
            Counters.IcmpInErrors++;
            Drop(DropReason.INVALID_PROTO, datagram);
            return;
        }

        // No device verifies this one.
        _shared.RxChecksumSoftwareBytes += datagram.Length;
        var sum = new ChecksumAccumulator(InternetChecksum.PseudoHeader(datagram.Source, datagram.Destination, IpProtocol.Icmpv6, datagram.Length));
        sum.Add(datagram.Head);
        FragmentChain.AddTo(ref sum, _pool, datagram.Payload);
        if (sum.Fold() != 0xFFFF)
        {
            Counters.IcmpInErrors++;
            Counters.IcmpInCsumErrors++;
            Drop(DropReason.ICMP_CSUM, datagram);
            return;
        }

        DropReason? reason;
        switch (icmp.Type)
        {
            case Icmpv6Type.NeighborSolicitation or Icmpv6Type.NeighborAdvertisement:
                reason = Ndp.Receive(datagram, datagram.FirstBytes(_pool, scratch), hopLimit, hasFragmentHeader, nowUs);
                break;
            case var _ when datagram.Source.IsAny:
                reason = DropReason.IP_INADDRERRORS;
                break;
            case Icmpv6Type.EchoRequest:
                Counters.IcmpInEchos++;
                if (_echo.Reply(datagram, icmp, nowUs) is { } failure)
                {
                    _drops.Count(failure, datagram.Frames);
                }
                else
                {
                    _shared.FramesDelivered += datagram.Frames;
                }

                return;
            default:
                reason = _errors.Receive(datagram, icmp, nowUs) ? null : DropReason.INVALID_PROTO;
                break;
        }

        if (reason is { } why)
        {
            Drop(why, datagram);
            return;
        }

        _shared.FramesDelivered += datagram.Frames;
        _pool.ReleaseChain(datagram.Payload);
    }

    /// <summary>RFC 8200 section 4.5. <paramref name="datagram"/>'s IP header ends with the fragment header.</summary>
    [SkipLocalsInit]
    private void ReceiveFragment(in IpDatagram datagram, scoped in Packet packet, long nowUs)
    {
        Invariant.That(datagram.Head.Length == 0, "the device puts payload into pages, not into the header buffer");
        int fragmentHeaderAt = datagram.IpHeader.Length - Ipv6FragmentHeader.Length;
        var fragment = new Ipv6FragmentView(datagram.IpHeader[fragmentHeaderAt..]);
        int length = datagram.PayloadLength;
        if (CheckFragment(fragment, datagram, fragmentHeaderAt) is { } problem)
        {
            Counters.InHdrErrors++;
            if (!IsUnknownUpperLayer(fragment))
            {
                _errors.Answer(datagram, Icmpv6Type.ParameterProblem, problem.Code, problem.Pointer, mayAnswerGroup: false, nowUs);
            }

            Drop(DropReason.FRAG_INVALID, datagram);
            return;
        }

        // Kept of the first one: the IPv6 header, as if no other extension header had been there (they have been gone through), and the fragment header.
        const int KeptLength = Ipv6Header.Length + Ipv6FragmentHeader.Length;
        Span<byte> kept = stackalloc byte[KeptLength];
        datagram.IpHeader[..Ipv6Header.Length].CopyTo(kept);
        datagram.IpHeader[fragmentHeaderAt..].CopyTo(kept[Ipv6Header.Length..]);
        SetNext(kept, IpProtocol.Ipv6Fragment, Ipv6FragmentHeader.Length + length);
        var part = new IpFragment
        {
            Source = datagram.Source,
            Destination = datagram.Destination,
            Identification = fragment.Identification,
            Offset = fragment.FragmentOffset,
            More = fragment.MoreFragments,
            Header = kept,
        };
        Span<byte> header = stackalloc byte[Ipv4Header.MaxLength];
        if (!Reassembly.TryComplete(part, datagram.Payload, length, nowUs, header, out _, out int chain, out int chainLength, out int frames))
        {
            return;
        }

        SetNext(header, (IpProtocol)header[Ipv6Header.Length], chainLength);
        Walk(
            new Packet
            {
                Source = datagram.Source,
                Destination = datagram.Destination,
                HopLimit = packet.HopLimit,
                Frames = frames,
                IsReassembled = true,
                Head = header[..Ipv6Header.Length],
                Chain = chain,
                ChainLength = chainLength,
            },
            nowUs);
    }

    /// <summary>The errors that a sender hears of at once; null if the fragment may go on.</summary>
    private (byte Code, uint Pointer)? CheckFragment(scoped in Ipv6FragmentView fragment, in IpDatagram datagram, int fragmentHeaderAt)
    {
        int length = datagram.PayloadLength;
        if (fragment.MoreFragments && length % 8 != 0)
        {
            return (Icmpv6Code.ErroneousHeaderField, Ipv6Header.PayloadLengthOffset);
        }

        if (fragment.FragmentOffset + length > Ipv6Header.MaxPayloadLength)
        {
            return (Icmpv6Code.ErroneousHeaderField, (uint)(fragmentHeaderAt + Ipv6FragmentHeader.OffsetOffset));
        }

        // RFC 7112: else nobody on the way could tell what it is.
        return fragment.FragmentOffset == 0 && !HasAllHeaders(fragment.NextHeader, datagram.Payload, length) ? (Icmpv6Code.IncompleteHeaderChain, 0) : null;
    }

    [SkipLocalsInit]
    private bool HasAllHeaders(IpProtocol next, int chain, int length)
    {
        if (next is not (IpProtocol.Ipv6Options or IpProtocol.Ipv6Route or IpProtocol.Ipv6Fragment))
        {
            return length >= LeastBytes(next);
        }

        Span<byte> scratch = stackalloc byte[MaxGatheredBytes];
        scratch[..Ipv6Header.Length].Clear();
        SetNext(scratch, next, length);
        Ipv6Layout layout = Ipv6Extensions.Walk(scratch[..Gather(scratch[..Ipv6Header.Length], chain, length, scratch)], Ipv6Header.Length + length);
        return layout.End switch
        {
            Ipv6WalkEnd.UpperLayer => Ipv6Header.Length + length - layout.Offset >= LeastBytes(layout.Protocol),

            // Told once the packet is whole.
            Ipv6WalkEnd.Problem => true,
            _ => false,
        };
    }

    private static int LeastBytes(IpProtocol protocol) => protocol switch
    {
        IpProtocol.Tcp => TcpHeader.MinLength,
        IpProtocol.Udp or IpProtocol.Icmpv6 => 8,
        IpProtocol.Ipv6NoNext => 0,
        _ => 1,
    };

    /// <summary>It can't be told whether a fragment is part of an ICMPv6 error, which must not be answered.</summary>
    private static bool IsUnknownUpperLayer(scoped in Ipv6FragmentView fragment) => fragment.NextHeader switch
    {
        IpProtocol.Icmpv6 => fragment.FragmentOffset != 0,
        IpProtocol.Ipv6Options or IpProtocol.Ipv6Route or IpProtocol.Ipv6Fragment => true,
        _ => false,
    };

    private static void SetNext(Span<byte> header, IpProtocol next, int payloadLength)
    {
        header[Ipv6Header.NextHeaderOffset] = (byte)next;
        BinaryPrimitives.WriteUInt16BigEndian(header[Ipv6Header.PayloadLengthOffset..], (ushort)payloadLength);
    }

    /// <summary>Copies headers together: <paramref name="head"/> (which may be the scratch's own beginning), then the chain. Returns the bytes.</summary>
    private int Gather(ReadOnlySpan<byte> head, int chain, int chainLength, Span<byte> scratch)
    {
        int inHead = Math.Min(head.Length, scratch.Length);
        head[..inHead].CopyTo(scratch);
        Span<byte> rest = scratch[inHead..];
        return inHead + FragmentChain.CopyHeader(_pool, chain, rest[..Math.Min(rest.Length, chainLength)]);
    }

    private void AnswerProblem(scoped in Packet packet, scoped ReadOnlySpan<byte> walked, in Ipv6Layout layout, long nowUs)
    {
        // An error about an error must not be, so it has to be known what this is.
        if (!Ipv6Extensions.TryFindUpperLayer(walked, out IpProtocol protocol, out int offset)
            || (protocol == IpProtocol.Icmpv6 && (!Icmpv6View.TryParse(walked[offset..], out Icmpv6View icmp) || icmp.IsErrorOrRedirect)))
        {
            return;
        }

        var about = new IpDatagram { Source = packet.Source, Destination = packet.Destination, IpHeader = packet.Head, Payload = packet.Chain, PayloadLength = packet.ChainLength };
        _errors.Answer(about, Icmpv6Type.ParameterProblem, layout.ProblemCode, (uint)layout.ProblemPointer, layout.EvenIfMulticast, nowUs);
    }

    private void AnswerTimeout(in IpDatagram about, long nowUs)
    {
        var fragment = new Ipv6FragmentView(about.IpHeader[Ipv6Header.Length..]);
        if (!IsUnknownUpperLayer(fragment))
        {
            IpDatagram first = about with { Protocol = fragment.NextHeader };
            _errors.Answer(first, Icmpv6Type.TimeExceeded, Icmpv6Code.FragmentReassembly, 0, mayAnswerGroup: false, nowUs);
        }
    }

    private void Drop(DropReason reason, int chain, int frames = 1)
    {
        _drops.Count(reason, frames);
        _pool.ReleaseChain(chain);
    }

    private void Drop(DropReason reason, in IpDatagram datagram) => Drop(reason, datagram.Payload, datagram.Frames);
}
