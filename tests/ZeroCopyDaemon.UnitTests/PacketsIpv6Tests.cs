using CsCheck;
using PacketDotNet;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.UnitTests;

public sealed class PacketsIpv6Tests
{
    private static readonly Gen<byte> Headers = Gen.Int[0, 4].Select(i => (byte)new[] { 0, 43, 44, 60, 6 }[i]);
    private static readonly IpAddress A = IpAddress.Parse("2001:db8::1"), B = IpAddress.Parse("fd00:1:2:3:4:5:6:7");

    [Fact]
    public void A_header_reads_as_it_was_written_and_as_others_read_it() =>
        Gen.Select(Gen.Byte, Gen.UInt, Gen.Int[0, 1400], Gen.Byte).Sample((trafficClass, label, length, hopLimit) =>
        {
            byte[] frame = new byte[54 + length];
            EthernetHeader.Write(frame, new EthernetAddress(2), new EthernetAddress(4), EtherType.Ipv6);
            Assert.Equal(40, Ipv6Header.Write(frame.AsSpan(14), A, B, IpProtocol.Udp, length, hopLimit, label, trafficClass));
            Assert.True(Ipv6View.TryParse(frame.AsSpan(14), out Ipv6View view));
            Assert.Equal(
                (trafficClass, label & 0xF_FFFF, length, length + 40, IpProtocol.Udp, hopLimit, A, B),
                (view.TrafficClass, view.FlowLabel, view.PayloadLength, view.TotalLength, view.NextHeader, view.HopLimit, view.Source, view.Destination));
            var oracle = ((EthernetPacket)Packet.ParsePacket(LinkLayers.Ethernet, frame)).Extract<IPv6Packet>();
            Assert.Equal(
                ((int)trafficClass, (int)(label & 0xF_FFFF), (int)hopLimit, A.ToString(), B.ToString()),
                (oracle.TrafficClass, oracle.FlowLabel, oracle.HopLimit, oracle.SourceAddress.ToString(), oracle.DestinationAddress.ToString()));
        });

    [Fact]
    public void Too_few_bytes_and_another_version_are_no_header()
    {
        byte[] header = new byte[40];
        Ipv6Header.Write(header, A, B, IpProtocol.Tcp, 0);
        Assert.True(Ipv6View.TryParse(header, out _));
        Assert.False(Ipv6View.TryParse(header.AsSpan(0, 39), out _));
        header[0] = 0x45;
        Assert.False(Ipv6View.TryParse(header, out _));
    }

    [Fact]
    public void A_fragment_header_reads_as_it_was_written() =>
        Gen.Select(Gen.Int[0, 8191], Gen.Bool, Gen.UInt).Sample((units, more, id) =>
        {
            byte[] header = new byte[8];
            Ipv6FragmentHeader.Write(header, IpProtocol.Tcp, units * 8, more, id);
            var view = new Ipv6FragmentView(header);
            Assert.Equal((IpProtocol.Tcp, units * 8, more, id), (view.NextHeader, view.FragmentOffset, view.MoreFragments, view.Identification));
        });

    [Fact]
    public void A_neighbour_message_reads_as_it_was_written_and_its_checksum_is_right()
    {
        byte[] message = new byte[32];
        var hardware = new EthernetAddress(0x0200_0000_00AB);
        NeighborMessage.Write(message, Icmpv6Type.NeighborAdvertisement, NeighborFlags.Solicited | NeighborFlags.Override, B, hardware, A, B);
        Assert.True(InternetChecksum.IsValid(message, InternetChecksum.PseudoHeader(A, B, IpProtocol.Icmpv6, 32)));
        Assert.Equal((136, 0, 0x60), (message[0], message[1], message[4]));
        Assert.True(NeighborView.TryParse(message, out NeighborView view));
        Assert.Equal((B, NeighborFlags.Solicited | NeighborFlags.Override), (view.Target, view.Flags));
        Assert.True(view.TryReadOptions(NeighborMessage.TargetLinkLayer, out EthernetAddress? told));
        Assert.Equal(hardware, told);
        Assert.True(view.TryReadOptions(NeighborMessage.SourceLinkLayer, out told));
        Assert.Null(told);
        Assert.False(NeighborView.TryParse(message.AsSpan(0, 23), out _));
        message[25] = 0;
        Assert.True(NeighborView.TryParse(message, out view));
        Assert.False(view.TryReadOptions(NeighborMessage.TargetLinkLayer, out _));
        message[25] = 2;
        Assert.False(view.TryReadOptions(NeighborMessage.TargetLinkLayer, out _));
    }

    [Fact]
    public void A_MAC_makes_a_link_local_address_and_an_address_its_group()
    {
        Assert.Equal(IpAddress.Parse("fe80::5a:aff:fe2c:2"), IpAddress.LinkLocalOf(EthernetAddress.ForHost(IpAddress.Parse("10.44.0.2"))));
        Assert.Equal(IpAddress.Parse("fe80::200:5eff:fe00:5301"), IpAddress.LinkLocalOf(new EthernetAddress(0x0000_5E00_5301)));
        Assert.Equal(IpAddress.Parse("ff02::1:ff06:7"), B.SolicitedNode);
        Assert.Equal(new EthernetAddress(0x3333_FF06_0007), EthernetAddress.ForGroup(B.SolicitedNode));
        Assert.True(EthernetAddress.ForGroup(IpAddress.AllNodes).IsGroup);
        Assert.Equal(
            [true, false, false, true],
            new[] { "fe80::1", "fec0::1", "::ffff:254.128.0.1", "febf::1" }.Select(text => IpAddress.Parse(text).IsLinkLocal));
        Assert.Equal([true, true, false], new[] { "::1", "127.3.4.5", "::2" }.Select(text => IpAddress.Parse(text).IsLoopback));
    }

    [Fact]
    public void Extension_headers_are_walked_to_the_upper_layer()
    {
        byte[] packet = Packet6(
            0, [.. Ip6.Options((IpProtocol)60, 1, 4, 0, 0, 0, 0), .. Ip6.Options((IpProtocol)43, 0x05, 2, 0, 0, 0, 0), 6, 2, 4, 0, .. new byte[20], .. new byte[30]]);
        Ipv6Layout layout = Ipv6Extensions.Walk(packet, packet.Length);
        Assert.Equal((Ipv6WalkEnd.UpperLayer, 40 + 8 + 8 + 24, IpProtocol.Tcp, 56, false), (layout.End, layout.Offset, layout.Protocol, layout.AnnouncedAt, layout.HasFragmentHeader));
        Assert.True(Ipv6Extensions.TryFindUpperLayer(packet, out IpProtocol protocol, out int offset));
        Assert.Equal((IpProtocol.Tcp, 80), (protocol, offset));

        // Fewer bytes than there are headers: where the walk stood.
        Assert.Equal((Ipv6WalkEnd.Incomplete, 56), End(packet.AsSpan(0, 79), packet.Length));
        Assert.Equal((Ipv6WalkEnd.Incomplete, 48), End(packet.AsSpan(0, 50), packet.Length));
        Assert.Equal((Ipv6WalkEnd.Incomplete, 40), End(packet.AsSpan(0, 40), packet.Length));

        // A packet that is shorter than its headers.
        Assert.Equal((Ipv6WalkEnd.Discard, 56), End(packet, 79));
        Assert.Equal((Ipv6WalkEnd.Discard, 48), End(packet, 50));
    }

    [Fact]
    public void A_fragment_ends_the_walk_and_one_that_is_a_whole_datagram_does_not()
    {
        byte[] fragment = new byte[8];
        Ipv6FragmentHeader.Write(fragment, IpProtocol.Tcp, 800, more: false, 9);
        Ipv6Layout layout = Walk(44, fragment);
        Assert.Equal((Ipv6WalkEnd.Fragment, 48, IpProtocol.Tcp, true), (layout.End, layout.Offset, layout.Protocol, layout.HasFragmentHeader));
        Ipv6FragmentHeader.Write(fragment, IpProtocol.Tcp, 0, more: true, 9);
        Assert.Equal(Ipv6WalkEnd.Fragment, Walk(44, fragment).End);
        Ipv6FragmentHeader.Write(fragment, IpProtocol.Tcp, 0, more: false, 9);
        layout = Walk(44, fragment);
        Assert.Equal((Ipv6WalkEnd.UpperLayer, 48, IpProtocol.Tcp, true), (layout.End, layout.Offset, layout.Protocol, layout.HasFragmentHeader));
    }

    [Theory]
    [InlineData(0x3E, Ipv6WalkEnd.UpperLayer, 0, false)]
    [InlineData(0x7E, Ipv6WalkEnd.Discard, 0, false)]
    [InlineData(0x9E, Ipv6WalkEnd.Problem, 2, true)]
    [InlineData(0xDE, Ipv6WalkEnd.Problem, 2, false)]
    public void An_unknown_options_action_bits_say_what_becomes_of_the_packet(byte option, Ipv6WalkEnd end, byte code, bool evenIfMulticast)
    {
        foreach (byte first in new byte[] { 0, 60 })
        {
            Ipv6Layout layout = Walk(first, Ip6.Options(IpProtocol.Tcp, 1, 1, 0, option, 1, 0));
            Assert.Equal((end, code, evenIfMulticast), (layout.End, layout.ProblemCode, layout.EvenIfMulticast));
            Assert.Equal(end == Ipv6WalkEnd.Problem ? 45 : 0, layout.ProblemPointer);
        }
    }

    [Fact]
    public void A_way_left_to_go_hop_by_hop_options_late_and_too_much_of_anything_are_problems()
    {
        AssertProblem(Walk(43, [6, 2, 0, 1, .. new byte[20]]), Icmpv6Code.ErroneousHeaderField, 42);
        AssertProblem(Walk(43, [6, 0, 253, 1, 0, 0, 0, 0]), Icmpv6Code.ErroneousHeaderField, 42);
        AssertProblem(Walk(60, [.. Ip6.Options(0), .. Ip6.Options(IpProtocol.Tcp)]), Icmpv6Code.UnrecognizedNextHeader, 40);
        AssertProblem(Walk(44, [0, 0, 0, 1, 0, 0, 0, 9]), Icmpv6Code.UnrecognizedNextHeader, 40);
        AssertProblem(Walk(60, [.. Enumerable.Repeat(Ip6.Options(IpProtocol.Ipv6Options), 8).SelectMany(h => h), .. Ip6.Options(IpProtocol.Tcp)]), Icmpv6Code.TooManyExtensionHeaders, 104);
        AssertProblem(Walk(60, Ip6.Options(IpProtocol.Tcp, [.. Enumerable.Repeat<byte[]>([0x1E, 0], 9).SelectMany(o => o)])), Icmpv6Code.TooManyOptions, 58);
        Assert.Equal(Ipv6WalkEnd.UpperLayer, Walk(60, Ip6.Options(IpProtocol.Tcp, [.. Enumerable.Repeat<byte[]>([0x1E, 0, 0], 8).SelectMany(o => o)])).End);

        // More bytes than are walked; an option beyond its header.
        Assert.Equal(Ipv6WalkEnd.Discard, Walk(60, [6, 64, 1, 255, .. new byte[255], 1, 255, .. new byte[255], .. new byte[2]]).End);
        Assert.Equal(Ipv6WalkEnd.Discard, Walk(60, [6, 0, 1, 5, 0, 0, 0, 0]).End);
        Assert.Equal(Ipv6WalkEnd.Discard, Walk(60, [6, 0, 1, 3, 0, 0, 0, 7]).End);
    }

    [Fact]
    public void Any_bytes_at_all_are_walked_within_their_bounds() =>
        Gen.Select(Gen.Byte.Array[40, 700], Headers, Headers, Gen.Int[40, 700]).Sample((bytes, first, second, length) =>
        {
            bytes[6] = first;
            if (bytes.Length > 41)
            {
                (bytes[40], bytes[41]) = (second, (byte)(bytes[41] & 3));
            }

            Ipv6Layout layout = Ipv6Extensions.Walk(bytes, length);
            int within = Math.Min(bytes.Length, length);
            return layout.Offset >= 40 && layout.Offset <= within && layout.ProblemPointer <= within
                && (layout.End != Ipv6WalkEnd.Incomplete || bytes.Length < length)
                && (!Ipv6Extensions.TryFindUpperLayer(bytes, out _, out int offset) || offset <= bytes.Length);
        });

    private static void AssertProblem(Ipv6Layout layout, byte code, int pointer) =>
        Assert.Equal((Ipv6WalkEnd.Problem, code, pointer), (layout.End, layout.ProblemCode, layout.ProblemPointer));

    private static Ipv6Layout Walk(byte first, byte[] rest)
    {
        byte[] packet = Packet6(first, rest);
        return Ipv6Extensions.Walk(packet, packet.Length);
    }

    private static (Ipv6WalkEnd End, int Offset) End(ReadOnlySpan<byte> packet, int length)
    {
        Ipv6Layout layout = Ipv6Extensions.Walk(packet, length);
        return (layout.End, layout.Offset);
    }

    private static byte[] Packet6(byte first, byte[] rest)
    {
        byte[] packet = new byte[40 + rest.Length];
        Ipv6Header.Write(packet, A, B, (IpProtocol)first, rest.Length);
        rest.CopyTo(packet, 40);
        return packet;
    }
}
