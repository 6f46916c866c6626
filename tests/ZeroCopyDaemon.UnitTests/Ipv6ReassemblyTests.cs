using CsCheck;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Ip;
using ZeroCopyDaemon.Net.Packets;
using static ZeroCopyDaemon.UnitTests.IpHost;

namespace ZeroCopyDaemon.UnitTests;

public sealed class Ipv6ReassemblyTests
{
    [Fact]
    public void A_packet_comes_together_from_its_fragments_in_any_order() =>
        Gen.Select(Gen.Int[0, 6000], Gen.Int[1, 20].Array[1, 30], Gen.Int, Gen.Int[0, 2]).Sample((length, cuts, shuffle, extensions) =>
        {
            using IpHost host = Ip6.Host(pageSize: 2048);
            byte[] payload = Pattern(length);
            byte[] tcp = Ip6.Tcp(payload, options: [2, 4, 1, 0, 1, 3, 3, 5]);

            // Headers that every fragment has, and headers that only the whole packet has.
            byte[] whole = extensions == 0 ? tcp : [.. Ip6.Options(IpProtocol.Ipv6Options, 1, 4, 0, 0, 0, 0), .. Ip6.Options(IpProtocol.Tcp, [1, 20, .. new byte[20]]), .. tcp];
            byte[]? before = extensions == 2 ? [0, .. Ip6.Options(IpProtocol.Ipv6Fragment, 5, 2, 0, 0)] : null;
            List<byte[]> frames = Fragments(extensions == 0 ? IpProtocol.Tcp : IpProtocol.Ipv6Options, whole, [.. cuts.Select(cut => cut * 64)], before);
            new Random(shuffle).Shuffle(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(frames));
            foreach (byte[] frame in frames)
            {
                Assert.Empty(host.Tcp.Segments);
                host.AssertAccounted();
                host.Receive(frame);
                host.Pool.CheckInvariants();
            }

            RecordedSegment segment = Assert.Single(host.Tcp.Segments);
            Assert.Equal(payload, segment.Payload);
            Assert.Equal(256, segment.Options.Mss);
            Assert.Equal(0, host.Ip.Ipv6!.Reassembly.Count + host.Ip.Ipv6.Reassembly.HeldBytes);
            host.AssertClean();
        });

    [Fact]
    public void A_fragment_that_is_a_whole_packet_is_taken_by_itself_whatever_else_has_its_identification()
    {
        using IpHost host = Ip6.Host();
        byte[] tcp = Ip6.Tcp(Pattern(1000));
        host.Receive(Ip6.Fragment(IpProtocol.Tcp, tcp.AsSpan(0, 800), 0, more: true));
        host.Receive(Ip6.Fragment(IpProtocol.Tcp, tcp, 0, more: false));
        Assert.Equal(Pattern(1000), Assert.Single(host.Tcp.Segments).Payload);
        host.Receive(Ip6.Fragment(IpProtocol.Tcp, tcp.AsSpan(800), 800, more: false));
        Assert.Equal(2, host.Tcp.Segments.Count);
        host.AssertClean();
    }

    [Fact]
    public void An_overlap_drops_the_packet_and_what_else_comes_of_it_and_nobody_is_told()
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        byte[] tcp = Ip6.Tcp(Pattern(2000));
        List<byte[]> frames = Fragments(IpProtocol.Tcp, tcp, [800]);
        host.Receive(frames[0]);
        host.Receive(Ip6.Fragment(IpProtocol.Tcp, Pattern(800), 792, more: true, id: 42));
        Assert.Equal(2, host.Drops[DropReason.FRAG_INVALID]);
        Assert.Equal(0, host.Pool.FragmentsInUse);
        frames.ForEach(frame => host.Receive(frame));
        Assert.Equal(5, host.Drops[DropReason.FRAG_INVALID]);
        Assert.Equal(1, host.Counter("ip6.ReasmFails"));

        // Its time over, the identification can be used again.
        host.NowUs = Reassembly.Ipv6TimeoutUs;
        host.Ip.Poll(host.NowUs);
        frames.ForEach(frame => host.Receive(frame));
        Assert.Single(host.Tcp.Segments);
        Assert.Empty(host.Device.Frames);
        host.AssertClean();
    }

    [Fact]
    public void A_repeated_fragment_is_dropped_alone()
    {
        using IpHost host = Ip6.Host();
        List<byte[]> frames = Fragments(IpProtocol.Tcp, Ip6.Tcp(Pattern(2000)), [800]);
        host.Receive(frames[1]);
        Assert.Equal(DropReason.DUP_FRAG, host.DropOf(() => host.Receive(frames[1])));
        host.Receive(frames[2]);
        host.Receive(frames[0]);
        Assert.Single(host.Tcp.Segments);
        host.AssertClean();
    }

    [Fact]
    public void A_packet_that_does_not_come_together_in_a_minute_is_given_up_and_its_sender_told_if_it_sent_the_beginning()
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        byte[] tcp = Ip6.Tcp(Pattern(2000));
        byte[] first = Ip6.Fragment(IpProtocol.Tcp, tcp.AsSpan(0, 800), 0, more: true, id: 5);
        host.Receive(first);
        host.Receive(Ip6.Fragment(IpProtocol.Tcp, tcp.AsSpan(1600), 1600, more: false, id: 5));
        host.Receive(Ip6.Fragment(IpProtocol.Tcp, tcp.AsSpan(800, 800), 800, more: true, id: 6));
        Assert.Equal(60_000_000, host.Ip.NextDeadlineUs);
        host.Ip.Poll(59_999_999);
        Assert.Equal(3, host.Ip.Ipv6!.Reassembly.HeldFrames);
        host.NowUs = 60_000_000;
        host.Ip.Poll(host.NowUs);
        byte[] error = Assert.Single(host.Device.TakeAll(), frame => frame[54] == (byte)Icmpv6Type.TimeExceeded);
        Ip6.AssertChecksum(error);
        Assert.Equal(1, error[55]);

        // The quote is the first fragment as it came, and nothing of another one.
        Assert.Equal(first[14..], error[62..]);
        Assert.Equal((3, 2), (host.Drops[DropReason.FRAG_REASM_TIMEOUT], host.Counter("ip6.ReasmTimeout")));
        host.AssertClean();
    }

    [Theory]
    [InlineData((byte)Icmpv6Type.EchoRequest, true)]
    [InlineData((byte)Icmpv6Type.PacketTooBig, false)]
    [InlineData((byte)Icmpv6Type.Redirect, false)]
    public void A_timeout_of_an_ICMPv6_error_is_not_told(byte type, bool told)
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        host.Receive(Ip6.Fragment(IpProtocol.Icmpv6, Ip6.Icmp((Icmpv6Type)type, 0, 1400, Pattern(100)).AsSpan(0, 80), 0, more: true));
        host.Receive(Ip6.Fragment(IpProtocol.Ipv6Options, [.. Ip6.Options(IpProtocol.Icmpv6), .. Ip6.Icmp((Icmpv6Type)type, 0, 1400, Pattern(96))], 0, more: true, id: 8));
        host.Ip.Poll(60_000_000);
        Assert.Equal(told ? 1 : 0, host.Counter("icmp6.OutTimeExcds"));
    }

    [Fact]
    public void Fragments_that_cannot_be_are_dropped_and_the_sender_is_told_which_byte_is_to_blame()
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        Blamed(Ip6.Fragment(IpProtocol.Tcp, Pattern(63), 0, more: true), 0, 4);
        Blamed(Ip6.Fragment(IpProtocol.Tcp, Pattern(104), 65528, more: false), 0, 42);
        Blamed(Ip6.Fragment(IpProtocol.Tcp, Pattern(104), 65528, more: false, before: [0, .. Ip6.Options(IpProtocol.Ipv6Fragment)]), 0, 50);

        // RFC 7112: a first fragment without all the headers.
        Blamed(Ip6.Fragment(IpProtocol.Tcp, Pattern(16), 0, more: true), 3, 0);
        Blamed(Ip6.Fragment(IpProtocol.Udp, [], 0, more: true), 3, 0);
        Assert.Equal(DropReason.FRAG_INVALID, host.DropOf(() => host.Receive(Ip6.Fragment(IpProtocol.Ipv6Options, Ip6.Options(IpProtocol.Tcp), 0, more: true))));
        Assert.Equal(DropReason.FRAG_INVALID, host.DropOf(() => host.Receive(Ip6.Fragment(IpProtocol.Ipv6Options, [6, 9, 0, 0, 0, 0, 0, 0], 0, more: true))));
        Assert.Empty(host.Device.Frames);
        Assert.Equal(DropReason.FRAG_INVALID, host.DropOf(() => host.Receive(Ip6.Fragment(IpProtocol.Tcp, [], 800, more: false))));
        Assert.Equal(0, host.Ip.Ipv6!.Reassembly.Count);

        // Fragments within fragments.
        byte[] inner = Ip6.Fragment(IpProtocol.Tcp, Pattern(80), 0, more: true)[54..];
        Assert.Equal(DropReason.FRAG_INVALID, host.DropOf(() => host.Receive(Ip6.Fragment(IpProtocol.Ipv6Fragment, inner, 0, more: true))));
        host.AssertClean();

        void Blamed(byte[] frame, byte code, uint pointer)
        {
            Assert.Equal(DropReason.FRAG_INVALID, host.DropOf(() => host.Receive(frame)));
            byte[] error = host.Device.TakeOne();
            Ip6.AssertChecksum(error);
            Assert.Equal((4, code, pointer), (error[54], error[55], System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(error.AsSpan(58))));
            Assert.Equal(frame.AsSpan(14, error.Length - 62), error.AsSpan(62));
        }
    }

    [Fact]
    public void The_longest_packet_comes_together()
    {
        using IpHost host = Ip6.Host().KnowNeighbors();
        host.Device.Mtu = 9000;
        byte[] longest = Ip6.Icmp(Icmpv6Type.EchoRequest, 0, 1, Pattern(65535 - 8));
        Fragments(IpProtocol.Icmpv6, longest, [8000]).ForEach(frame => host.Receive(frame));
        Assert.Equal((1, 1), (host.Counter("icmp6.InEchos"), host.Counter("ip6.FragOKs")));
        host.Ip.Poll(1000);
        host.AssertClean();
    }

    [Fact]
    public void Limits_hold_in_packets_and_in_bytes()
    {
        using IpHost host = Ip6.Host(options => options with { MaxReassemblies = 4, MaxReassemblyBytes = 8 * 4096 });
        for (uint id = 0; id < 100; id++)
        {
            host.Receive(Ip6.Fragment(IpProtocol.Tcp, Pattern(800), (int)(id % 3) * 800, more: true, id: id));
            host.Receive(Ip6.Fragment(IpProtocol.Tcp, Pattern(8000), 80_00, more: true, id: id));
            Assert.True(host.Ip.Ipv6!.Reassembly.Count <= 4 && host.Ip.Ipv6.Reassembly.HeldBytes <= 8 * 4096);
            host.AssertAccounted();
        }

        Assert.True(host.Drops[DropReason.FRAG_LIMIT] > 100);
        host.Ip.Poll(Reassembly.Ipv6TimeoutUs);
        host.AssertClean();
    }

    [Fact]
    public void Both_families_hold_their_fragments_apart()
    {
        using IpHost host = Ip6.Host();
        byte[] six = Ip6.Tcp(Pattern(1000)), four = TcpBytes(Pattern(1000));
        host.Receive(Ip6.Fragment(IpProtocol.Tcp, six.AsSpan(0, 800), 0, more: true, id: 7));
        host.Receive(Ipv4(IpProtocol.Tcp, four.AsSpan(0, 800), id: 7, more: true));
        Assert.Equal((1, 1), (host.Ip.Reassembly.Count, host.Ip.Ipv6!.Reassembly.Count));
        Assert.Equal(2, host.Pool.FragmentsInUse);
        host.Receive(Ipv4(IpProtocol.Tcp, four.AsSpan(800), id: 7, offset: 800));
        host.Receive(Ip6.Fragment(IpProtocol.Tcp, six.AsSpan(800), 800, more: false, id: 7));
        Assert.Equal([IpHost.Peer, Ip6.Peer], host.Tcp.Segments.Select(segment => segment.Source.Address));
        host.AssertClean();
    }

    /// <summary>Cuts what is to be fragmented into fragments of the given lengths, in turn.</summary>
    private static List<byte[]> Fragments(IpProtocol next, byte[] whole, int[] lengths, byte[]? before = null)
    {
        var frames = new List<byte[]>();

        // The first one has to have all headers.
        for (int offset = 0, i = 0; offset < whole.Length || i == 0; i++)
        {
            int length = Math.Min(Math.Max(lengths[i % lengths.Length], i == 0 ? 128 : 0), whole.Length - offset);
            if (i == 0 && length == whole.Length && length > 8)
            {
                length = Math.Max((length / 2) & ~7, Math.Min(128, (length - 1) & ~7));
            }

            frames.Add(Ip6.Fragment(next, whole.AsSpan(offset, length), offset, more: offset + length < whole.Length, id: 42, before: before));
            offset += length;
        }

        return frames;
    }
}
