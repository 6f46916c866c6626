using CsCheck;
using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Nic;
using static ZeroCopyDaemon.UnitTests.NicFrames;

namespace ZeroCopyDaemon.UnitTests;

public sealed class NicTransmitTests
{
    [Fact]
    public void Partial_checksums_come_out_right_wherever_the_chunks_end()
    {
        using var bench = new NicBench(NicBench.Small() with { Mtu = 9000 });
        var wire = new NicWire();
        bench.Nic.Wire = wire;
        Gen.Select(Gen.Int[0, 8900], Gen.Int[0, 10], Gen.Int[0, 701].Array[0, 17], Gen.Bool, Gen.Int).Sample(
            (length, options, cuts, udp, seed) =>
            {
                byte[] payload = Pattern(length, seed & 0xffff);
                byte[] frame = udp ? UdpFrame(payload) : TcpFrame(payload, tcpOptions: options * 4);
                wire.Carried.Clear();
                NicTransmit.WhilePinned(frame, 0, cuts, frame.Length - length, bench.Driver, () => bench.Nic.ProcessTx(0));
                Assert.Equal(frame, Assert.Single(wire.Carried));
            },
            iter: 2000,
            threads: 1);
        Assert.Equal(bench.Counter("nic.tx_packets"), bench.Counter("nic.tx_csum_partial"));
    }

    [Fact]
    public void A_UDP_checksum_that_comes_out_as_zero_is_sent_as_all_ones()
    {
        using var bench = new NicBench(NicBench.Small());
        var wire = new NicWire();
        bench.Nic.Wire = wire;
        byte[] frame = UdpFrame([0, 0]);
        // Adding the checksum itself to what is summed up makes the sum all ones, and so the checksum 0.
        (frame[42], frame[43]) = (frame[40], frame[41]);
        Assert.Equal(0, TransportChecksum(frame));
        Assert.True(NicTransmit.Post(bench.Driver, frame, headerBytes: 42));
        bench.Nic.ProcessTx(0);
        Assert.Equal([0xff, 0xff], wire.Carried[0][40..42]);
    }

    [Fact]
    public void A_complete_frame_goes_out_as_it_is()
    {
        using var bench = new NicBench(NicBench.Small() with { TxChecksumOffload = false });
        var wire = new NicWire();
        bench.Nic.Wire = wire;
        byte[] wrong = TcpFrame(Pattern(99));
        wrong[^1] ^= 1;
        Assert.True(NicTransmit.Post(bench.Driver, wrong, partial: false));
        Assert.Equal(1, bench.Nic.ProcessTx(0));
        Assert.Equal(wrong, wire.Carried[0]);
        Assert.Equal(0, bench.Counter("nic.tx_csum_partial"));
    }

    [Fact]
    public void A_partial_checksum_without_the_offload_or_in_a_frame_it_does_not_know_is_an_error()
    {
        using var off = new NicBench(NicBench.Small() with { TxChecksumOffload = false });
        off.Nic.Wire = new NicWire();
        Assert.True(NicTransmit.Post(off.Driver, TcpFrame([1])));
        Assert.Equal((0, 1), (off.Nic.ProcessTx(0), off.Counter("nic.tx_errors")));

        using var on = new NicBench(NicBench.Small());
        on.Nic.Wire = new NicWire();
        byte[] icmp = TcpFrame(Pattern(50));
        icmp[23] = 1;
        byte[] fragment = TcpFrame(Pattern(50));
        fragment[20] = 0x20;
        Assert.True(NicTransmit.Post(on.Driver, icmp));
        Assert.True(NicTransmit.Post(on.Driver, fragment));
        Assert.True(NicTransmit.Post(on.Driver, TcpFrame(Pattern(50)), headerBytes: TcpHeaders - 1));
        Assert.Equal((0, 3), (on.Nic.ProcessTx(0), on.Counter("nic.tx_errors")));
        Assert.Equal(3, on.Driver.TxCompleted);
    }

    [Fact]
    public void A_frame_longer_than_the_MTU_is_dropped_and_counted()
    {
        using var bench = new NicBench(NicBench.Small());
        var wire = new NicWire();
        bench.Nic.Wire = wire;
        Assert.True(NicTransmit.Post(bench.Driver, TcpFrame(Pattern(1460))));
        Assert.True(NicTransmit.Post(bench.Driver, TcpFrame(Pattern(1461))));
        Assert.Equal(1, bench.Nic.ProcessTx(0));
        Assert.Equal(1514, Assert.Single(wire.Carried).Length);
        Assert.Equal((1, 2), (bench.Counter("nic.tx_errors"), bench.Driver.TxCompleted));
    }

    [Fact]
    public void A_full_ring_takes_nothing_until_frames_are_completed_in_order()
    {
        using var bench = new NicBench(NicBench.Small());
        var wire = new NicWire { Credit = 3 };
        bench.Nic.Wire = wire;
        for (int i = 0; i < 16; i++)
        {
            Assert.True(NicTransmit.Post(bench.Driver, TcpFrame([(byte)i])));
        }

        Assert.False(NicTransmit.Post(bench.Driver, TcpFrame([99])));
        Assert.Equal((16, 0, 1), (bench.Driver.TxPosted, bench.Driver.TxCompleted, bench.Counter("nic.tx_queue_stopped")));
        Assert.Equal(3, bench.Nic.ProcessTx(0));
        Assert.Equal(3, bench.Driver.TxCompleted);
        Assert.Equal((16, 13), (bench.Nic.Describe().Tx.RingSize, bench.Nic.Describe().Tx.Waiting));
        Assert.True(NicTransmit.Post(bench.Driver, TcpFrame([16])));
        wire.Credit = 100;
        Assert.Equal(14, bench.Nic.ProcessTx(0));
        Assert.Equal(Enumerable.Range(0, 17), wire.Carried.Select(frame => (int)frame[^1]));
        Assert.Equal(1, bench.Counter("nic.rx_pause_ctrl"));
    }

    [Fact]
    public void A_frame_with_a_partial_checksum_that_the_wire_refused_is_the_same_on_the_second_try()
    {
        using var bench = new NicBench(NicBench.Small());
        var wire = new NicWire { Credit = 0 };
        bench.Nic.Wire = wire;
        byte[] frame = TcpFrame(Pattern(501));
        Assert.True(NicTransmit.Post(bench.Driver, frame));
        Assert.Equal(0, bench.Nic.ProcessTx(0));
        wire.Credit = 1;
        Assert.Equal(1, bench.Nic.ProcessTx(0));
        Assert.Equal(frame, wire.Carried[0]);
        Assert.Equal(1, bench.Counter("nic.tx_csum_partial"));
    }

    [Fact]
    public void Without_a_wire_or_a_link_frames_are_completed_and_counted_as_carrier_errors()
    {
        using var bench = new NicBench(NicBench.Small());
        Assert.True(NicTransmit.Post(bench.Driver, TcpFrame([1])));
        Assert.Equal(0, bench.Nic.ProcessTx(0));
        var wire = new NicWire();
        bench.Nic.Wire = wire;
        bench.Nic.LinkUp = false;
        Assert.True(NicTransmit.Post(bench.Driver, TcpFrame([1])));
        Assert.Equal(0, bench.Nic.ProcessTx(0));
        Assert.Equal((2, 2), (bench.Driver.TxCompleted, bench.Counter("nic.tx_carrier_errors")));
        Assert.Empty(wire.Carried);
    }

    [Fact]
    public void A_frame_that_fits_no_descriptor_is_a_bug_of_the_stack()
    {
        using var bench = new NicBench(NicBench.Small());
        Assert.Throws<InvariantViolationException>(() => bench.Driver.TryTransmit(new TxFrame(new byte[161], [], 0)));
        Assert.Throws<InvariantViolationException>(() => bench.Driver.TryTransmit(new TxFrame(new byte[13], [], 0)));
        Assert.Throws<InvariantViolationException>(() => bench.Driver.TryTransmit(new TxFrame(new byte[60], new TxChunk[19], 0)));
        Assert.Throws<InvariantViolationException>(() => bench.Driver.TryTransmit(new TxFrame(new byte[60], new TxChunk[18], 1)));
        Assert.Equal(0, bench.Driver.TxPosted);
    }

    [Fact]
    public void A_wire_may_post_more_while_it_carries()
    {
        using var bench = new NicBench(NicBench.Small());
        var wire = new NicWire();
        int more = 20;
        wire.OnCarry = () =>
        {
            if (more-- > 0)
            {
                Assert.True(NicTransmit.Post(bench.Driver, TcpFrame([(byte)more])));
            }
        };
        bench.Nic.Wire = wire;
        Assert.True(NicTransmit.Post(bench.Driver, TcpFrame([20])));
        Assert.Equal(21, bench.Nic.ProcessTx(0));
        Assert.Equal(Enumerable.Range(0, 21).Reverse(), wire.Carried.Select(frame => (int)frame[^1]));
    }

    [Fact]
    public void The_driver_tells_the_stack_what_the_NIC_can_do()
    {
        using var bench = new NicBench(NicBench.Small() with { Mtu = 9000 });
        Assert.Equal((9000, true, 64_000, 18), (bench.Driver.Mtu, bench.Driver.TxChecksumOffload, bench.Driver.MaxTsoBytes, bench.Driver.MaxChunks));
    }
}
