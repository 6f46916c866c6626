using CsCheck;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Ip;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.UnitTests.IpHost;

namespace ZeroCopyDaemon.UnitTests;

public sealed class IpReassemblyTests
{
    [Fact]
    public void A_datagram_comes_together_from_its_fragments_in_any_order() =>
        Gen.Select(Gen.Int[0, 6000], Gen.Int[1, 20].Array[1, 30], Gen.Int, Gen.Bool).Sample((length, cuts, shuffle, withOptions) =>
        {
            using var host = new IpHost(pageSize: 2048);
            byte[] payload = Pattern(length);
            List<byte[]> frames = Fragments(TcpBytes(payload, options: withOptions ? [2, 4, 1, 0, 1, 3, 3, 5] : []), [.. cuts.Select(cut => cut * 64)]);
            new Random(shuffle).Shuffle(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(frames));
            for (int i = 0; i < frames.Count; i++)
            {
                Assert.Empty(host.Tcp.Segments);
                host.AssertAccounted();
                host.Receive(frames[i]);
                host.Pool.CheckInvariants();
            }

            RecordedSegment segment = Assert.Single(host.Tcp.Segments);
            Assert.Equal(payload, segment.Payload);
            Assert.Equal(withOptions ? 256 : 0, segment.Options.Mss);
            Assert.Equal(0, host.Ip.Reassembly.Count + host.Ip.Reassembly.HeldBytes);
            host.AssertClean();
        });

    [Fact]
    public void The_longest_datagram_comes_together_and_a_longer_one_does_not()
    {
        using var host = new IpHost();
        host.Device.Mtu = 9000;
        host.KnowPeer();
        byte[] longest = IcmpBytes(IcmpType.Echo, 0, 1, Pattern(65535 - 28));
        foreach (byte[] frame in Fragments(longest, [8000], IpProtocol.Icmp))
        {
            host.Receive(frame);
        }

        Assert.Equal(1, host.Counter("icmp.InEchos"));
        host.NowUs = 1000;
        host.Ip.Poll(host.NowUs);
        Assert.Equal(DropReason.FRAG_INVALID, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Icmp, Pattern(8), offset: 65528, more: true))));
        Assert.Equal(DropReason.FRAG_INVALID, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Icmp, Pattern(100), offset: 65528))));
        host.AssertClean();
    }

    [Fact]
    public void Held_fragments_are_marked_as_out_of_order_and_of_no_connection()
    {
        using var host = new IpHost();
        host.Receive(Ipv4(IpProtocol.Tcp, Pattern(1000), offset: 0, more: true));
        LedgerEntry entry = Assert.Single(PoolLedger.Entries(host.Pool));
        Assert.Equal((FragmentState.OutOfOrder, -1), (entry.State, entry.Connection));
        Assert.Equal(4096, host.Ip.Reassembly.HeldBytes);
    }

    [Fact]
    public void An_overlap_drops_the_datagram_and_what_else_comes_of_it()
    {
        using var host = new IpHost();
        List<byte[]> frames = Fragments(TcpBytes(Pattern(2000)), [800]);
        host.Receive(frames[0]);
        host.Receive(Ipv4(IpProtocol.Tcp, Pattern(800), id: 42, offset: 792, more: true));
        Assert.Equal(2, host.Drops[DropReason.FRAG_INVALID]);
        Assert.Equal(0, host.Pool.FragmentsInUse);
        host.Receive(frames[1]);
        host.Receive(frames[2]);
        host.Receive(frames[0]);
        Assert.Equal(5, host.Drops[DropReason.FRAG_INVALID]);
        Assert.Equal(1, host.Counter("ip.ReasmFails"));

        // Its time over, the identification can be used again.
        host.NowUs = Reassembly.TimeoutUs;
        host.Ip.Poll(host.NowUs);
        frames.ForEach(frame => host.Receive(frame));
        Assert.Single(host.Tcp.Segments);
        host.AssertClean();
    }

    [Fact]
    public void A_repeated_fragment_is_dropped_alone()
    {
        using var host = new IpHost(pageSize: 2048);
        List<byte[]> frames = Fragments(TcpBytes(Pattern(9000)), [3000]);
        host.Receive(frames[1]);
        Assert.Equal(DropReason.DUP_FRAG, host.DropOf(() => host.Receive(frames[1])));
        host.Receive(frames[3]);
        Assert.Equal(DropReason.DUP_FRAG, host.DropOf(() => host.Receive(frames[3])));
        host.Receive(frames[0]);
        Assert.Equal(DropReason.DUP_FRAG, host.DropOf(() => host.Receive(frames[0])));
        Assert.Equal(DropReason.DUP_FRAG, host.DropOf(() => host.Receive(frames[1])));
        host.Receive(frames[2]);
        Assert.Equal(Pattern(9000), Assert.Single(host.Tcp.Segments).Payload);
        host.AssertClean();
    }

    [Theory]
    [InlineData(1600, 400, false)] // ends before what is held
    [InlineData(2008, 400, true)] // begins beyond the known end
    [InlineData(2008, 400, false)] // another end
    public void Fragments_that_contradict_each_other_about_the_end_drop_the_datagram(int offset, int length, bool more)
    {
        using var host = new IpHost();
        host.Receive(Ipv4(IpProtocol.Tcp, Pattern(400), offset: 800, more: true));
        host.Receive(Ipv4(IpProtocol.Tcp, Pattern(208), offset: 1800, more: false));
        host.Receive(Ipv4(IpProtocol.Tcp, Pattern(length), offset: offset, more: more));
        Assert.Equal(3, host.Drops[DropReason.FRAG_INVALID]);
        host.AssertClean();
    }

    [Fact]
    public void Fragments_that_cannot_be_are_dropped()
    {
        using var host = new IpHost();
        Assert.Equal(DropReason.FRAG_INVALID, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, Pattern(63), more: true))));
        Assert.Equal(DropReason.FRAG_INVALID, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, [], more: true))));
        Assert.Equal(DropReason.FRAG_INVALID, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, [], offset: 800))));
        Assert.Equal(0, host.Ip.Reassembly.Count);
        host.AssertClean();
    }

    [Fact]
    public void After_thirty_seconds_a_datagram_is_given_up_and_its_sender_told_if_the_first_fragment_came()
    {
        using var host = new IpHost().KnowPeer();
        byte[] segment = TcpBytes(Pattern(3000));
        byte[] first = Ipv4(IpProtocol.Tcp, segment.AsSpan(0, 1480), id: 1, more: true);
        host.Receive(first);
        host.NowUs = 5_000_000;
        host.Receive(Ipv4(IpProtocol.Tcp, segment.AsSpan(1480, 1480), id: 2, offset: 1480, more: true));
        Assert.Equal(30_000_000, host.Ip.NextDeadlineUs);
        host.Ip.Poll(29_999_999);
        Assert.Equal(2, host.Pool.FragmentsInUse);
        host.KnowPeer();
        host.Ip.Poll(30_000_000);
        Assert.Equal(1, host.Pool.FragmentsInUse);
        byte[] error = host.Device.TakeOne();
        Assert.Equal((11, 1), (error[34], error[35]));
        Assert.Equal(first.AsSpan(14, 20 + 28), error.AsSpan(42));
        Assert.True(InternetChecksum.IsValid(error.AsSpan(34)));
        host.Ip.Poll(35_000_000);
        Assert.Empty(host.Device.Frames);
        Assert.Equal((2, 2), (host.Counter("ip.ReasmTimeout"), host.Drops[DropReason.FRAG_REASM_TIMEOUT]));
        Assert.Equal(long.MaxValue, host.Ip.NextDeadlineUs);
        host.AssertClean();
    }

    [Fact]
    public void At_the_limit_of_datagrams_the_oldest_goes()
    {
        using var host = new IpHost(options => options with { MaxReassemblies = 4 });
        for (ushort id = 0; id < 6; id++)
        {
            host.Receive(Ipv4(IpProtocol.Tcp, Pattern(80), id: id, more: true));
        }

        Assert.Equal((4, 2), (host.Ip.Reassembly.Count, host.Drops[DropReason.FRAG_LIMIT]));
        Assert.Equal(4, host.Pool.FragmentsInUse);
        host.AssertAccounted();
        host.Ip.Poll(Reassembly.TimeoutUs);
        host.AssertClean();
    }

    [Fact]
    public void At_the_limit_of_truesize_the_oldest_go_and_a_datagram_too_large_alone_is_dropped()
    {
        using var host = new IpHost(options => options with { MaxReassemblyBytes = 4 * 4096 });
        for (int i = 0; i < 4; i++)
        {
            host.Receive(Ipv4(IpProtocol.Tcp, Pattern(8), id: 1, offset: i * 8, more: true));
        }

        Assert.Equal(4 * 4096, host.Ip.Reassembly.HeldBytes);
        host.Receive(Ipv4(IpProtocol.Tcp, Pattern(8), id: 2, more: true));
        Assert.Equal((4096, 4), (host.Ip.Reassembly.HeldBytes, host.Drops[DropReason.FRAG_LIMIT]));
        for (int i = 1; i < 5; i++)
        {
            host.Receive(Ipv4(IpProtocol.Tcp, Pattern(8), id: 2, offset: i * 8, more: true));
        }

        Assert.Equal((0, 9), (host.Ip.Reassembly.HeldBytes, host.Drops[DropReason.FRAG_LIMIT]));
        host.AssertClean();
    }

    [Fact]
    public void Without_room_for_any_datagram_every_fragment_is_dropped()
    {
        using var host = new IpHost(options => options with { MaxReassemblies = 0 });
        Assert.Equal(DropReason.FRAG_LIMIT, host.DropOf(() => host.Receive(Ipv4(IpProtocol.Tcp, Pattern(80), more: true))));
        host.AssertClean();
    }

    [Fact]
    public void Datagrams_of_equal_identification_but_other_protocol_or_source_do_not_mix()
    {
        using var host = new IpHost();
        byte[] segment = TcpBytes(Pattern(200));
        host.Receive(Ipv4(IpProtocol.Tcp, segment.AsSpan(0, 80), more: true));
        host.Receive(Ipv4(IpProtocol.Udp, segment.AsSpan(80), offset: 80));
        host.Receive(Ipv4(IpProtocol.Tcp, segment.AsSpan(80), offset: 80, source: Net.Addresses.IpAddress.Parse("10.0.0.77")));
        Assert.Empty(host.Tcp.Segments);
        host.Receive(Ipv4(IpProtocol.Tcp, segment.AsSpan(80), offset: 80));
        Assert.Single(host.Tcp.Segments);
    }

    [Fact]
    public void A_corrupt_reassembled_segment_counts_each_of_its_frames()
    {
        using var host = new IpHost();
        byte[] segment = TcpBytes(Pattern(2000));
        segment[1500] ^= 4;
        Fragments(segment, [800]).ForEach(frame => host.Receive(frame, Net.Devices.RxChecksum.Unnecessary));
        Assert.Equal(3, host.Drops[DropReason.TCP_CSUM]);
        host.AssertClean();
    }

    private static List<byte[]> Fragments(ReadOnlySpan<byte> datagram, int[] cuts, IpProtocol protocol = IpProtocol.Tcp)
    {
        var frames = new List<byte[]>();
        for (int offset = 0, i = 0; offset < datagram.Length; i++)
        {
            int length = Math.Min(cuts[i % cuts.Length], datagram.Length - offset);
            bool more = offset + length < datagram.Length;
            frames.Add(Ipv4(protocol, datagram.Slice(offset, length), id: 42, offset: offset, more: more));
            offset += length;
        }

        return frames;
    }
}
