using System.Buffers.Binary;

namespace ZeroCopyDaemon.Net.Packets;

/// <summary>How a walk along a packet's extension headers ended.</summary>
public enum Ipv6WalkEnd
{
    /// <summary>At the upper-layer header.</summary>
    UpperLayer,

    /// <summary>After the header of a fragment: the rest is a part of something.</summary>
    Fragment,

    /// <summary>At a header that goes on beyond the bytes at hand.</summary>
    Incomplete,

    /// <summary>At a header that is malformed, or says that the packet is to be dropped.</summary>
    Discard,

    /// <summary>At a header that the sender should hear of.</summary>
    Problem,
}

/// <summary>What was found behind an IPv6 header. Offsets count from the IPv6 header's first byte.</summary>
public readonly struct Ipv6Layout
{
    public Ipv6WalkEnd End { get; init; }

    /// <summary>Where the upper-layer header, or a fragment's bytes, begin; else where the header begins that the walk ended at.</summary>
    public int Offset { get; init; }

    /// <summary>The upper layer's; of a fragment, what its header says; else <see cref="IpProtocol.None"/>.</summary>
    public IpProtocol Protocol { get; init; }

    /// <summary>Of an upper layer: where the byte stands that names it.</summary>
    public int AnnouncedAt { get; init; }

    /// <summary>There is a fragment header, be it that of a datagram in one piece (RFC 6946).</summary>
    public bool HasFragmentHeader { get; init; }

    /// <summary>Of a problem: the code of the ICMPv6 parameter problem (<see cref="Icmpv6Code"/>).</summary>
    public byte ProblemCode { get; init; }

    /// <summary>Of a problem: which byte is to blame.</summary>
    public int ProblemPointer { get; init; }

    /// <summary>Of a problem: the sender hears of it even if it wrote to a group.</summary>
    public bool EvenIfMulticast { get; init; }
}

/// <summary>
/// Walks IPv6 extension headers in the order they stand in (RFC 8200 section 4): hop-by-hop options, destination options, routing, fragment. No extension is made use of; what can be passed over is, and
/// what can't is said. Never throws, whatever the bytes are. Bounded in headers, bytes and options, as RFC 8504 section 5.3 lets a host be.
/// </summary>
public static class Ipv6Extensions
{
    /// <summary>Most bytes of extension headers.</summary>
    public const int MaxBytes = 512;

    /// <summary>Most extension headers.</summary>
    public const int MaxHeaders = 8;

    /// <summary>Most options in a header, padding not counted.</summary>
    public const int MaxOptions = 8;

    private const IpProtocol HopByHop = 0;
    private const int LeastHeaderBytes = 8;
    private const byte Pad1 = 0;
    private const byte PadN = 1;

    /// <summary>What an option wants that isn't known (RFC 8200 section 4.2): its two highest bits.</summary>
    private const byte ActionMask = 0xC0;
    private const byte ActionSkip = 0x00;
    private const byte ActionDiscard = 0x40;
    private const byte ActionTellAlways = 0x80;

    /// <summary>Walks as far as the bytes go.</summary>
    /// <param name="packet">The packet's first bytes from the IPv6 header on: that header at least.</param>
    /// <param name="packetLength">Bytes that the packet has, as its header says.</param>
    public static Ipv6Layout Walk(ReadOnlySpan<byte> packet, int packetLength)
    {
        int offset = Ipv6Header.Length;
        int announcedAt = Ipv6Header.NextHeaderOffset;
        bool hasFragmentHeader = false;
        for (int headers = 0; ; headers++)
        {
            var next = (IpProtocol)packet[announcedAt];
            if (next is not (HopByHop or IpProtocol.Ipv6Options or IpProtocol.Ipv6Route or IpProtocol.Ipv6Fragment))
            {
                return new Ipv6Layout { End = Ipv6WalkEnd.UpperLayer, Offset = offset, Protocol = next, AnnouncedAt = announcedAt, HasFragmentHeader = hasFragmentHeader };
            }

            // Hop-by-hop options come first or not at all.
            if (next == HopByHop && offset != Ipv6Header.Length)
            {
                return Problem(offset, Icmpv6Code.UnrecognizedNextHeader, announcedAt);
            }

            if (headers == MaxHeaders)
            {
                return Problem(offset, Icmpv6Code.TooManyExtensionHeaders, offset);
            }

            if (LengthOf(packet, packetLength, offset, next, out int length) is { } end)
            {
                return new Ipv6Layout { End = end, Offset = offset };
            }

            ReadOnlySpan<byte> header = packet.Slice(offset, length);
            switch (next)
            {
                case IpProtocol.Ipv6Fragment:
                    hasFragmentHeader = true;
                    if ((BinaryPrimitives.ReadUInt16BigEndian(header[Ipv6FragmentHeader.OffsetOffset..]) & 0xFFF9) != 0)
                    {
                        // Hop-by-hop options aren't for what is put together at the end of the way.
                        return header[0] == (byte)HopByHop
                            ? Problem(offset, Icmpv6Code.UnrecognizedNextHeader, offset)
                            : new Ipv6Layout { End = Ipv6WalkEnd.Fragment, Offset = offset + length, Protocol = (IpProtocol)header[0], HasFragmentHeader = true };
                    }

                    break;
                case IpProtocol.Ipv6Route when header[3] != 0:
                    // We forward nothing, so no type with a way left to go is known here; least of all type 0 (RFC 5095).
                    return Problem(offset, Icmpv6Code.ErroneousHeaderField, offset + 2);
                case HopByHop or IpProtocol.Ipv6Options:
                    if (CheckOptions(header, offset) is { } verdict)
                    {
                        return verdict;
                    }

                    break;
            }

            announcedAt = offset;
            offset += length;
        }
    }

    /// <summary>
    /// Finds the upper-layer header without a look at what is in the headers before it, as when the walk has ended and it is to be known what the packet was. False if the bytes don't reach so far.
    /// </summary>
    public static bool TryFindUpperLayer(ReadOnlySpan<byte> packet, out IpProtocol protocol, out int offset)
    {
        offset = Ipv6Header.Length;
        protocol = (IpProtocol)packet[Ipv6Header.NextHeaderOffset];
        while (protocol is HopByHop or IpProtocol.Ipv6Options or IpProtocol.Ipv6Route or IpProtocol.Ipv6Fragment)
        {
            if (offset + LeastHeaderBytes > packet.Length)
            {
                return false;
            }

            int length = protocol == IpProtocol.Ipv6Fragment ? Ipv6FragmentHeader.Length : (packet[offset + 1] + 1) * 8;
            if (protocol == IpProtocol.Ipv6Fragment && new Ipv6FragmentView(packet[offset..]).FragmentOffset != 0)
            {
                return false;
            }

            protocol = (IpProtocol)packet[offset];
            offset += length;
        }

        return offset <= packet.Length;
    }

    private static Ipv6WalkEnd? LengthOf(ReadOnlySpan<byte> packet, int packetLength, int offset, IpProtocol header, out int length)
    {
        length = LeastHeaderBytes;
        if (offset + LeastHeaderBytes > packetLength)
        {
            return Ipv6WalkEnd.Discard;
        }

        if (offset + LeastHeaderBytes <= packet.Length && header != IpProtocol.Ipv6Fragment)
        {
            length = (packet[offset + 1] + 1) * 8;
        }

        if (offset + length > Math.Min(packetLength, Ipv6Header.Length + MaxBytes))
        {
            return Ipv6WalkEnd.Discard;
        }

        return offset + length > packet.Length ? Ipv6WalkEnd.Incomplete : null;
    }

    private static Ipv6Layout? CheckOptions(ReadOnlySpan<byte> header, int headerOffset)
    {
        int options = 0;
        for (int at = 2; at < header.Length;)
        {
            byte type = header[at];
            if (type == Pad1)
            {
                at++;
                continue;
            }

            int length = at + 1 < header.Length ? header[at + 1] + 2 : int.MaxValue;
            if (length > header.Length - at)
            {
                return new Ipv6Layout { End = Ipv6WalkEnd.Discard, Offset = headerOffset };
            }

            if (type != PadN)
            {
                if (++options > MaxOptions)
                {
                    return Problem(headerOffset, Icmpv6Code.TooManyOptions, headerOffset + at);
                }

                switch (type & ActionMask)
                {
                    case ActionSkip:
                        break;
                    case ActionDiscard:
                        return new Ipv6Layout { End = Ipv6WalkEnd.Discard, Offset = headerOffset };
                    default:
                        return Problem(headerOffset, Icmpv6Code.UnrecognizedOption, headerOffset + at, evenIfMulticast: (type & ActionMask) == ActionTellAlways);
                }
            }

            at += length;
        }

        return null;
    }

    private static Ipv6Layout Problem(int offset, byte code, int pointer, bool evenIfMulticast = false) =>
        new() { End = Ipv6WalkEnd.Problem, Offset = offset, ProblemCode = code, ProblemPointer = pointer, EvenIfMulticast = evenIfMulticast };
}
