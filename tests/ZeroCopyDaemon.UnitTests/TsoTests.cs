using System.Buffers.Binary;
using CsCheck;
using PacketDotNet;
using ZeroCopyDaemon.Nic;
using static ZeroCopyDaemon.UnitTests.NicFrames;

namespace ZeroCopyDaemon.UnitTests;

public sealed class TsoTests
{
    [Theory]
    [InlineData(1460, 1, 1)]
    [InlineData(1460, 1460, 1)]
    [InlineData(1460, 1461, 2)]
    [InlineData(1460, 14600, 10)]
    [InlineData(1000, 63_999, 64)]
    [InlineData(1460, 64_000, 44)]
    [InlineData(1448, 0, 1)]
    public void A_super_frame_becomes_segments_of_at_most_the_MSS(int mss, int length, int segments)
    {
        using var bench = new NicBench(NicBench.Small());
        var wire = new NicWire();
        bench.Nic.Wire = wire;
        byte[] super = TcpFrame(Pattern(length), tcpOptions: mss == 1448 ? 12 : 0);
        Assert.True(NicTransmit.Post(bench.Driver, super, mss));
        Assert.Equal(segments, bench.Nic.ProcessTx(0));
        AssertSegments(super, mss, wire.Carried);
        Assert.Equal((1, 1), (bench.Driver.TxPosted, bench.Driver.TxCompleted));
        Assert.Equal((1, length), (bench.Counter("nic.tx_tso_packets"), bench.Counter("nic.tx_tso_bytes")));
        Assert.Equal((segments, wire.Carried.Sum(frame => frame.Length)), (bench.Counter("nic.tx_packets"), bench.Counter("nic.tx_bytes")));
    }

    [Fact]
    public void FIN_and_PSH_are_on_the_last_segment_only_and_CWR_on_the_first()
    {
        using var bench = new NicBench(NicBench.Small());
        var wire = new NicWire();
        bench.Nic.Wire = wire;
        Assert.True(NicTransmit.Post(bench.Driver, TcpFrame(Pattern(3000), flags: Ack | Fin | Psh | Cwr), 1000));
        bench.Nic.ProcessTx(0);
        Assert.Equal([Ack | Cwr, Ack, Ack | Fin | Psh], wire.Carried.Select(frame => (int)frame[Ethernet + Ipv4 + 13]));
    }

    [Fact]
    public void Identification_and_sequence_numbers_wrap()
    {
        using var bench = new NicBench(NicBench.Small());
        var wire = new NicWire();
        bench.Nic.Wire = wire;
        byte[] super = TcpFrame(Pattern(4000), sequence: 0xffff_fc00, id: 0xfffe);
        Assert.True(NicTransmit.Post(bench.Driver, super, 1000));
        bench.Nic.ProcessTx(0);
        AssertSegments(super, 1000, wire.Carried);
        Assert.Equal([0xfffe, 0xffff, 0, 1], wire.Carried.Select(frame => (int)BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(18))));
        Assert.Equal(3000u - 0x400, BinaryPrimitives.ReadUInt32BigEndian(wire.Carried[3].AsSpan(38)));
    }

    [Fact]
    public void Any_super_frame_is_cut_right_wherever_its_chunks_end_and_whenever_the_wire_holds_back()
    {
        using var bench = new NicBench(NicBench.Small());
        var wire = new NicWire();
        bench.Nic.Wire = wire;
        Gen.Select(
            Gen.Int[0, 64_000], Gen.Int[100, 1400], Gen.Int[0, 10], Gen.Int[0, 10], Gen.UInt, Gen.UShort, Gen.Int[0, 9000].Array[0, 17], Gen.Int[0, 7])
            .Sample(
            (length, mss, ipOptions, tcpOptions, sequence, id, cuts, credit) =>
            {
                mss = Math.Min(mss, 1460 - ((ipOptions + tcpOptions) * 4));
                byte[] super = TcpFrame(Pattern(length, id), ipOptions * 4, tcpOptions * 4, Ack | Psh, sequence, id);
                wire.Carried.Clear();
                NicTransmit.WhilePinned(super, mss, cuts, Ethernet + Ipv4 + Tcp + ((ipOptions + tcpOptions) * 4), bench.Driver, () =>
                {
                    long completed = bench.Driver.TxCompleted;
                    while (bench.Driver.TxCompleted == completed)
                    {
                        wire.Credit = credit + 1;
                        Assert.InRange(bench.Nic.ProcessTx(0), 1, credit + 1);
                    }
                });
                AssertSegments(super, mss, wire.Carried);
            },
            iter: 1000,
            threads: 1);
    }

    [Fact]
    public void A_frame_that_the_wire_refuses_in_the_middle_is_completed_only_after_its_last_segment()
    {
        using var bench = new NicBench(NicBench.Small());
        var wire = new NicWire { Credit = 2 };
        bench.Nic.Wire = wire;
        byte[] super = TcpFrame(Pattern(5000));
        NicTransmit.WhilePinned(super, 1000, [], TcpHeaders, bench.Driver, () =>
        {
            Assert.Equal(2, bench.Nic.ProcessTx(0));
            Assert.Equal(0, bench.Nic.ProcessTx(0));
            Assert.Equal(0, bench.Driver.TxCompleted);
            wire.Credit = 2;
            Assert.Equal(2, bench.Nic.ProcessTx(0));
            Assert.Equal(0, bench.Driver.TxCompleted);
            wire.Credit = 2;
            Assert.Equal(1, bench.Nic.ProcessTx(0));
            Assert.Equal(1, bench.Driver.TxCompleted);
        });
        AssertSegments(super, 1000, wire.Carried);
        Assert.Equal(3, bench.Counter("nic.rx_pause_ctrl"));
    }

    [Fact]
    public void A_link_that_goes_down_in_the_middle_drops_the_rest_and_the_next_frame_starts_afresh()
    {
        using var bench = new NicBench(NicBench.Small());
        var wire = new NicWire { Credit = 2 };
        bench.Nic.Wire = wire;
        byte[] first = TcpFrame(Pattern(5000));
        byte[] second = TcpFrame(Pattern(2500, seed: 5));
        NicTransmit.WhilePinned(first, 1000, [], TcpHeaders, bench.Driver, () =>
        {
            Assert.Equal(2, bench.Nic.ProcessTx(0));
            bench.Nic.LinkUp = false;
            Assert.Equal(0, bench.Nic.ProcessTx(0));
        });
        Assert.Equal((1, 1), (bench.Driver.TxCompleted, bench.Counter("nic.tx_carrier_errors")));
        bench.Nic.LinkUp = true;
        wire.Credit = 100;
        wire.Carried.Clear();
        Assert.True(NicTransmit.Post(bench.Driver, second, 1000));
        Assert.Equal(3, bench.Nic.ProcessTx(0));
        AssertSegments(second, 1000, wire.Carried);
    }

    [Fact]
    public void What_can_not_be_segmented_is_an_error_and_completes()
    {
        using var bench = new NicBench(NicBench.Small());
        var wire = new NicWire();
        bench.Nic.Wire = wire;
        byte[] udp = UdpFrame(Pattern(3000));
        byte[] fragment = TcpFrame(Pattern(3000));
        fragment[Ethernet + 6] = 0x20;
        byte[] good = TcpFrame(Pattern(3000));
        Assert.True(NicTransmit.Post(bench.Driver, udp, 1000, headerBytes: 42));
        Assert.True(NicTransmit.Post(bench.Driver, fragment, 1000));
        Assert.True(NicTransmit.Post(bench.Driver, good, 1000, headerBytes: TcpHeaders + 1));
        Assert.True(NicTransmit.Post(bench.Driver, good, 1000, headerBytes: TcpHeaders - 1));
        Assert.True(NicTransmit.Post(bench.Driver, good, 1461));
        Assert.True(NicTransmit.Post(bench.Driver, good, -1));
        Assert.True(NicTransmit.Post(bench.Driver, TcpFrame(Pattern(64_001)), 1000));
        Assert.Equal(0, bench.Nic.ProcessTx(0));
        Assert.Equal((7, 7), (bench.Driver.TxCompleted, bench.Counter("nic.tx_errors")));
        Assert.Empty(wire.Carried);
    }

    [Fact]
    public void Without_TSO_or_without_checksum_offload_none_is_offered_and_a_super_frame_is_an_error()
    {
        foreach (NicOptions options in new[] { NicBench.Small() with { Tso = false }, NicBench.Small() with { TxChecksumOffload = false } })
        {
            using var bench = new NicBench(options);
            bench.Nic.Wire = new NicWire();
            Assert.Equal(0, bench.Driver.MaxTsoBytes);
            Assert.False(bench.Nic.Describe().TsoActive);
            Assert.True(NicTransmit.Post(bench.Driver, TcpFrame(Pattern(1000)), 100));
            Assert.Equal(0, bench.Nic.ProcessTx(0));
            Assert.Equal(1, bench.Counter("nic.tx_errors"));
        }
    }

    private static void AssertSegments(byte[] super, int mss, List<byte[]> segments)
    {
        int headers = Ethernet + ((super[Ethernet] & 15) * 4);
        headers += (super[headers + 12] >> 4) * 4;
        int length = super.Length - headers;
        Assert.Equal(Math.Max(1, (length + mss - 1) / mss), segments.Count);
        Assert.Equal(super[headers..], segments.SelectMany(segment => segment[headers..]).ToArray());
        uint sequence = BinaryPrimitives.ReadUInt32BigEndian(super.AsSpan(Ethernet + ((super[Ethernet] & 15) * 4) + 4));
        ushort id = BinaryPrimitives.ReadUInt16BigEndian(super.AsSpan(Ethernet + 4));
        foreach (byte[] segment in segments)
        {
            AssertChecksums(segment);
            var ip = (IPv4Packet)Packet.ParsePacket(LinkLayers.Ethernet, segment).PayloadPacket;
            var tcp = (TcpPacket)ip.PayloadPacket;
            Assert.True(ip.ValidIPChecksum);
            Assert.Equal((segment.Length - Ethernet, id), (ip.TotalLength, ip.Id));
            Assert.Equal(sequence, tcp.SequenceNumber);
            Assert.Equal((0x01020304u, 0xffff), (tcp.AcknowledgmentNumber, tcp.WindowSize));
            Assert.InRange(segment.Length - headers, 0, mss);
            sequence += (uint)(segment.Length - headers);
            id++;
        }
    }
}
