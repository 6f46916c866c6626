using CsCheck;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.UnitTests;

public sealed class NicChecksumTests
{
    [Theory]
    [InlineData(Placement.None)]
    [InlineData(Placement.Split)]
    [InlineData(Placement.Packed)]
    [InlineData(Placement.Merge)]
    public void A_right_checksum_is_unnecessary_to_check_and_any_flipped_bit_makes_it_bad(Placement placement)
    {
        using var bench = new NicBench(NicBench.Small(placement) with { Mtu = 9000 }, pageSize: 2048);
        Gen.Select(Gen.Int[0, 6001], Gen.Int[0, 5], Gen.Int[0, 1 << 20], Gen.Int[1, 999].Array[0, 4], Gen.Bool).Sample(
            (length, options, bit, cuts, udp) =>
            {
                byte[] payload = NicFrames.Pattern(length, bit);
                byte[] frame = udp ? NicFrames.UdpFrame(payload) : NicFrames.TcpFrame(payload, tcpOptions: options * 4);
                Assert.Equal(RxChecksum.Unnecessary, bench.Pass(frame, cuts: cuts).Checksum);
                // Anywhere in the IPv4 addresses or behind the header: nothing that changes what the frame is.
                int at = NicFrames.Ethernet + 12 + (bit / 8 % (frame.Length - NicFrames.Ethernet - 12));
                frame[at] ^= (byte)(1 << (bit % 8));
                bool turnedOff = udp && at is 38 or 39;
                Assert.True(turnedOff || bench.Pass(frame, cuts: cuts).Checksum == RxChecksum.Bad);
                bench.Received.Clear();
            },
            iter: 2000,
            threads: 1);
    }

    [Fact]
    public void A_wrong_IPv4_header_is_bad_even_if_TCP_is_right()
    {
        using var bench = new NicBench(NicBench.Small());
        byte[] frame = NicFrames.TcpFrame([1, 2, 3]);
        frame[NicFrames.Ethernet + 8]--;
        Assert.Equal(RxChecksum.Bad, bench.Pass(frame).Checksum);
        Assert.Equal(1, bench.Counter("nic.rx_csum_bad"));
    }

    [Fact]
    public void Padding_behind_the_packet_is_not_summed_up()
    {
        using var bench = new NicBench(NicBench.Small());
        byte[] frame = [.. NicFrames.TcpFrame([9]), 0xde, 0xad, 0xbe, 0xef, 0x77];
        Assert.Equal(RxChecksum.Unnecessary, bench.Pass(frame).Checksum);
        Assert.Equal(frame, bench.Received[^1].Bytes);
    }

    [Fact]
    public void What_cannot_be_verified_alone_is_left_to_software()
    {
        using var bench = new NicBench(NicBench.Small());
        byte[] fragment = NicFrames.TcpFrame(NicFrames.Pattern(100));
        NicFrames.WriteIpv4(fragment, 0, 6, fragment.Length - NicFrames.Ethernet, 7, flagsAndOffset: 0x2000);
        byte[] laterFragment = NicFrames.TcpFrame(NicFrames.Pattern(100));
        NicFrames.WriteIpv4(laterFragment, 0, 6, laterFragment.Length - NicFrames.Ethernet, 7, flagsAndOffset: 0x0010);
        byte[] icmp = NicFrames.TcpFrame(NicFrames.Pattern(100));
        NicFrames.WriteIpv4(icmp, 0, 1, icmp.Length - NicFrames.Ethernet, 7);
        byte[] truncated = NicFrames.TcpFrame(NicFrames.Pattern(100))[..^1];
        byte[] udpShort = NicFrames.UdpFrame(NicFrames.Pattern(100));
        udpShort[NicFrames.Ethernet + NicFrames.Ipv4 + 5] = 7;
        byte[] arp = NicFrames.Pattern(60);
        (arp[12], arp[13]) = (8, 6);
        byte[][] frames = [fragment, laterFragment, icmp, truncated, udpShort, arp, NicFrames.UdpFrame([1, 2, 3], checksum: false)];
        Assert.All(frames, frame => Assert.Equal(RxChecksum.None, bench.Pass(frame).Checksum));
        Assert.Equal(frames.Length, bench.Counter("nic.rx_csum_none"));
    }

    [Fact]
    public void With_the_offload_off_nothing_is_verified()
    {
        using var bench = new NicBench(NicBench.Small() with { RxChecksumOffload = false });
        Assert.Equal(RxChecksum.None, bench.Pass(NicFrames.TcpFrame([1])).Checksum);
        byte[] wrong = NicFrames.TcpFrame([1]);
        wrong[^1] ^= 1;
        Assert.Equal(RxChecksum.None, bench.Pass(wrong).Checksum);
        Assert.Equal((2, 0, 0), (bench.Counter("nic.rx_csum_none"), bench.Counter("nic.rx_csum_unnecessary"), bench.Counter("nic.rx_csum_bad")));
    }
}
