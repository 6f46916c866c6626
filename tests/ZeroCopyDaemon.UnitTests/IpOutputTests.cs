using System.Buffers.Binary;
using PacketDotNet;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Ip;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.UnitTests.IpHost;
using ArpOperation = ZeroCopyDaemon.Net.Packets.ArpOperation;

namespace ZeroCopyDaemon.UnitTests;

public sealed unsafe class IpOutputTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(1001)]
    public void A_segment_goes_out_right_in_every_field_with_its_checksum_from_software(int length)
    {
        using var host = new IpHost().KnowPeer();
        byte[] payload = Pattern(length);
        Assert.Equal(IpSendResult.Sent, Send(host, payload));
        byte[] frame = host.Device.TakeOne();
        var ethernet = (EthernetPacket)Packet.ParsePacket(LinkLayers.Ethernet, frame);
        var ip = ethernet.Extract<IPv4Packet>();
        var tcp = ethernet.Extract<TcpPacket>();
        Assert.Equal("020000000002", ethernet.DestinationHardwareAddress.ToString());
        Assert.Equal("020000000001", ethernet.SourceHardwareAddress.ToString());
        Assert.True(ip.ValidIPChecksum && tcp.ValidTcpChecksum);
        Assert.Equal((Local.ToString(), Peer.ToString(), 64, 2, 0), (ip.SourceAddress.ToString(), ip.DestinationAddress.ToString(), ip.TimeToLive, ip.FragmentFlags, ip.FragmentOffset));
        Assert.Equal((80, 1000, 5u, 6u, 7), (tcp.SourcePort, tcp.DestinationPort, tcp.SequenceNumber, tcp.AcknowledgmentNumber, tcp.WindowSize));
        Assert.Equal(payload, tcp.PayloadData ?? []);
        Assert.Equal(32 + length, host.Counter("tx.csum_software_bytes"));
    }

    [Fact]
    public void With_offload_the_field_holds_the_folded_pseudo_header_sum()
    {
        using var host = new IpHost().KnowPeer();
        host.Device.TxChecksumOffload = true;
        byte[] payload = Pattern(501);
        Send(host, payload);
        Assert.True(host.Device.Details[0].ChecksumPartial);
        byte[] frame = host.Device.TakeOne();
        Assert.Equal(
            InternetChecksum.Fold(InternetChecksum.PseudoHeader(Local, Peer, IpProtocol.Tcp, 32 + 501)), BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(50)));
        Assert.Equal(0, host.Counter("tx.csum_software_bytes"));

        // What the device does: sum over the segment, and it's right.
        ushort completed = InternetChecksum.Compute(frame.AsSpan(34));
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(50), completed);
        Assert.True(Packet.ParsePacket(LinkLayers.Ethernet, frame).Extract<TcpPacket>().ValidTcpChecksum);
    }

    [Fact]
    public void A_super_segment_keeps_its_MSS_and_the_length_of_the_whole()
    {
        using var host = new IpHost().KnowPeer();
        host.Device.MaxTsoBytes = 65536;
        Send(host, Pattern(20_000), mss: 1448);
        Assert.Equal((1448, true), (host.Device.Details[0].Mss, host.Device.Details[0].ChecksumPartial));
        byte[] frame = host.Device.TakeOne();
        Assert.Equal(20_052, BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(16)));
        Send(host, Pattern(65_536), mss: 1448);
        frame = host.Device.TakeOne();
        Assert.Equal(0, BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(16)));
        Assert.Equal(
            InternetChecksum.Fold(InternetChecksum.PseudoHeader(Local, Peer, IpProtocol.Tcp, 65_568)), BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(50)));
    }

    [Fact]
    public void What_is_not_on_link_goes_by_the_gateway_and_nowhere_without_one()
    {
        using var host = new IpHost();
        IpAddress far = IpAddress.Parse("192.0.2.1");
        Assert.Equal(IpSendResult.AwaitingNeighbor, ArpTests.Send(host, far));
        Assert.True(ArpView.TryParse(host.Device.TakeOne().AsSpan(14), out ArpView arp));
        Assert.Equal(Gateway, arp.TargetProtocol);

        using var alone = new IpHost(options => options with { Gateway = IpAddress.Any });
        Assert.Equal(IpSendResult.Unreachable, ArpTests.Send(alone, far));
        Assert.Equal(1, alone.Counter("ip.OutNoRoutes"));
    }

    [Theory]
    [InlineData("10.0.0.1")]
    [InlineData("10.0.0.255")]
    [InlineData("255.255.255.255")]
    [InlineData("224.0.0.1")]
    [InlineData("127.0.0.1")]
    [InlineData("0.0.0.0")]
    public void Nothing_is_sent_to_what_is_no_single_other_host(string destination)
    {
        using var host = new IpHost();
        Assert.Equal(IpSendResult.Unreachable, ArpTests.Send(host, IpAddress.Parse(destination)));
        Assert.Empty(host.Device.Frames);
    }

    [Fact]
    public void A_full_ring_says_so_and_counts_nothing()
    {
        using var host = new IpHost().KnowPeer();
        host.Device.Room = 0;
        Assert.Equal(IpSendResult.RingFull, Send(host, Pattern(10)));
        Assert.Equal(0, host.Counter("ip.OutRequests"));
    }

    [Fact]
    public void With_a_whole_prefix_each_host_sends_under_its_own_MAC()
    {
        IpAddress source = IpAddress.Parse("10.9.3.4");
        using var host = new IpHost(options => options with { PrefixLength = 8, OwnsWholePrefix = true, HostPrefix = IpAddress.Parse("10.9.0.0"), HostPrefixLength = 16 });
        IpSendResult SendFrom() => host.Ip.Output.SendTcp(
            new TcpHeaderToSend { Source = new IpEndpoint(source, 1), Destination = new IpEndpoint(Peer, 2), Flags = TcpFlags.Syn }, default, 0, 0, 0);
        Assert.Equal(IpSendResult.AwaitingNeighbor, SendFrom());
        Assert.True(ArpView.TryParse(host.Device.TakeOne().AsSpan(14), out ArpView arp));
        Assert.Equal((source, EthernetAddress.ForHost(source)), (arp.SenderProtocol, arp.SenderHardware));
        host.Receive(Arp(ArpOperation.Reply, PeerMac, Peer, source, EthernetAddress.ForHost(source)));
        Assert.Equal(IpSendResult.Sent, SendFrom());
        Assert.True(EthernetView.TryParse(host.Device.TakeOne(), out EthernetView ethernet));
        Assert.Equal((EthernetAddress.ForHost(source), PeerMac), (ethernet.Source, ethernet.Destination));
    }

    [Fact]
    public void Sending_allocates_nothing()
    {
        using var host = new IpHost().KnowPeer();
        host.Device.Keep = false;
        byte[] payload = Pattern(1001);
        for (int i = 0; i < 200; i++)
        {
            Send(host, payload);
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++)
        {
            host.Ip.Output.SendTcp(
                new TcpHeaderToSend { Source = new IpEndpoint(Local, 80), Destination = new IpEndpoint(Peer, 1000), Flags = TcpFlags.Ack }, default, 0, 0, 0);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    private static IpSendResult Send(IpHost host, byte[] payload, int mss = 0)
    {
        fixed (byte* bytes = payload)
        {
            int half = payload.Length / 3;
            TxChunk[] chunks = payload.Length < 3 ? [new TxChunk(bytes, payload.Length)] : [new TxChunk(bytes, half), new TxChunk(bytes + half, payload.Length - half)];
            return host.Ip.Output.SendTcp(
                new TcpHeaderToSend
                {
                    Source = new IpEndpoint(Local, 80),
                    Destination = new IpEndpoint(Peer, 1000),
                    Seq = new SeqNumber(5),
                    Ack = new SeqNumber(6),
                    Flags = TcpFlags.Ack,
                    Window = 7,
                    Options = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
                },
                chunks,
                payload.Length,
                mss,
                host.NowUs);
        }
    }
}
