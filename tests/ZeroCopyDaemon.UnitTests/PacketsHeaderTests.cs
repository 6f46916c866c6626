using System.Net;
using System.Net.NetworkInformation;
using CsCheck;
using PacketDotNet;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using ArpOperation = ZeroCopyDaemon.Net.Packets.ArpOperation;
using ArpPacket = ZeroCopyDaemon.Net.Packets.ArpPacket;
using EthernetAddress = ZeroCopyDaemon.Net.Addresses.EthernetAddress;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Our headers against PacketDotNet's, both ways.</summary>
public sealed class PacketsHeaderTests
{
    private static readonly EthernetAddress MacA = new(0x0200_0000_0A01), MacB = new(0x0200_0000_0B02);
    private static readonly IpAddress A = IpAddress.Parse("10.1.2.3"), B = IpAddress.Parse("172.16.254.9");

    [Fact]
    public void What_we_write_for_TCP_the_oracle_reads() =>
        Gen.Select(Gen.UShort, Gen.UShort, Gen.UInt, Gen.UInt, Gen.Byte, Gen.UShort, Gen.Byte.Array[0, 200]).Sample((sourcePort, destinationPort, seq, ack, flags, window, payload) =>
        {
            // The oracle reads no options beside the urgent pointer.
            flags &= (byte)~TcpFlags.Urg;
            Span<byte> options = stackalloc byte[TcpHeader.MaxOptionsLength];
            var writer = new TcpOptionWriter(options);
            writer.MaximumSegmentSize(1460);
            writer.WindowScale(7);
            writer.SackPermitted();
            writer.Timestamps(seq, ack);
            byte[] frame = new byte[14 + 20 + 20 + writer.Written.Length + payload.Length];
            int tcpLength = frame.Length - 34;
            int at = EthernetHeader.Write(frame, MacB, MacA, EtherType.Ipv4);
            at += Ipv4Header.Write(frame.AsSpan(at), A, B, IpProtocol.Tcp, 20 + tcpLength, 0xBEEF, Ipv4Header.DontFragment);
            TcpHeader.Write(frame.AsSpan(at), sourcePort, destinationPort, new SeqNumber(seq), new SeqNumber(ack), (TcpFlags)flags, window, writer.Written);
            payload.CopyTo(frame.AsSpan(frame.Length - payload.Length));
            ushort checksum = InternetChecksum.Finish(InternetChecksum.Add(InternetChecksum.PseudoHeader(A, B, IpProtocol.Tcp, tcpLength), frame.AsSpan(at)));
            frame[at + TcpHeader.ChecksumOffset] = (byte)(checksum >> 8);
            frame[at + TcpHeader.ChecksumOffset + 1] = (byte)checksum;

            var ethernet = (EthernetPacket)Packet.ParsePacket(LinkLayers.Ethernet, frame);
            var ip = ethernet.Extract<IPv4Packet>();
            var tcp = ethernet.Extract<TcpPacket>();
            Assert.Equal(Physical(MacA), ethernet.SourceHardwareAddress);
            Assert.Equal(Physical(MacB), ethernet.DestinationHardwareAddress);
            Assert.True(ip.ValidIPChecksum);
            Assert.Equal((Address(A), Address(B)), (ip.SourceAddress, ip.DestinationAddress));
            Assert.Equal((0xBEEF, 64, 20 + tcpLength, 2), (ip.Id, ip.TimeToLive, ip.TotalLength, ip.FragmentFlags));
            Assert.True(tcp.ValidTcpChecksum);
            Assert.Equal((sourcePort, destinationPort, seq, ack, window), (tcp.SourcePort, tcp.DestinationPort, tcp.SequenceNumber, tcp.AcknowledgmentNumber, tcp.WindowSize));
            Assert.Equal(flags, (byte)tcp.Flags);
            Assert.Equal(payload, tcp.PayloadData ?? []);
            Assert.Contains(tcp.OptionsCollection, o => o is PacketDotNet.Tcp.MaximumSegmentSizeOption { Value: 1460 });
            Assert.Contains(tcp.OptionsCollection, o => o is PacketDotNet.Tcp.TimeStampOption stamp && stamp.Value == seq && stamp.EchoReply == ack);
            Assert.Contains(tcp.OptionsCollection, o => o is PacketDotNet.Tcp.WindowScaleFactorOption { ScaleFactor: 7 });
        });

    [Fact]
    public void What_the_oracle_writes_for_TCP_we_read() =>
        Gen.Select(Gen.UShort, Gen.UShort, Gen.UInt, Gen.UInt, Gen.Byte, Gen.UShort, Gen.Byte.Array[0, 200]).Sample((sourcePort, destinationPort, seq, ack, flags, window, payload) =>
        {
            var tcp = new TcpPacket(sourcePort, destinationPort) { SequenceNumber = seq, AcknowledgmentNumber = ack, Flags = flags, WindowSize = window, PayloadData = payload };
            var ip = new IPv4Packet(Address(A), Address(B)) { PayloadPacket = tcp, Id = 77, TimeToLive = 5 };
            var ethernet = new EthernetPacket(Physical(MacA), Physical(MacB), EthernetType.IPv4) { PayloadPacket = ip };
            tcp.UpdateTcpChecksum();
            ip.UpdateIPChecksum();
            byte[] frame = ethernet.Bytes;

            Assert.True(EthernetView.TryParse(frame, out EthernetView ethernetView));
            Assert.Equal((MacA, MacB, EtherType.Ipv4), (ethernetView.Source, ethernetView.Destination, ethernetView.EtherType));
            Assert.True(Ipv4View.TryParse(ethernetView.Payload, out Ipv4View ipView));
            Assert.True(ipView.IsChecksumValid);
            Assert.Equal((A, B, IpProtocol.Tcp, 77, 5), (ipView.Source, ipView.Destination, ipView.Protocol, ipView.Identification, ipView.TimeToLive));
            Assert.False(ipView.IsFragment);
            Assert.True(TcpView.TryParse(ipView.AfterHeader, out TcpView view));
            Assert.Equal((sourcePort, destinationPort, seq, ack, window), (view.SourcePort, view.DestinationPort, view.Seq.Value, view.Ack.Value, view.Window));
            Assert.Equal((TcpFlags)flags, view.Flags);
            Assert.True(InternetChecksum.IsValid(ipView.AfterHeader[..(ipView.TotalLength - 20)], InternetChecksum.PseudoHeader(A, B, IpProtocol.Tcp, ipView.TotalLength - 20)));
            FrameDissection dissection = HeaderDissector.Dissect(frame);
            Assert.Equal((54, 14, 34, true), (dissection.HeaderLength, dissection.L3Offset, dissection.L4Offset, dissection.HasPorts));
            Assert.Equal((sourcePort, destinationPort), (dissection.SourcePort, dissection.DestinationPort));
        });

    [Fact]
    public void ARP_goes_both_ways()
    {
        byte[] frame = new byte[60];
        int at = EthernetHeader.Write(frame, EthernetAddress.Broadcast, MacA, EtherType.Arp);
        ArpPacket.Write(frame.AsSpan(at), ArpOperation.Request, MacA, A, default, B);
        var oracle = Packet.ParsePacket(LinkLayers.Ethernet, frame).Extract<PacketDotNet.ArpPacket>();
        Assert.Equal(
            (PacketDotNet.ArpOperation.Request, Address(A), Address(B), Physical(MacA)),
            (oracle.Operation, oracle.SenderProtocolAddress, oracle.TargetProtocolAddress, oracle.SenderHardwareAddress));

        var reply = new PacketDotNet.ArpPacket(PacketDotNet.ArpOperation.Response, Physical(MacA), Address(A), Physical(MacB), Address(B));
        Assert.True(ArpView.TryParse(reply.Bytes, out ArpView view));
        Assert.Equal((ArpOperation.Reply, MacB, B, MacA, A), (view.Operation, view.SenderHardware, view.SenderProtocol, view.TargetHardware, view.TargetProtocol));
        Assert.False(ArpView.TryParse(reply.Bytes.AsSpan(0, 27), out _));
        byte[] otherHardware = reply.Bytes;
        otherHardware[1] = 6;
        Assert.False(ArpView.TryParse(otherHardware, out _));
    }

    [Fact]
    public void ICMP_goes_both_ways()
    {
        byte[] message = [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5];
        ushort checksum = InternetChecksum.Finish(InternetChecksum.Add(InternetChecksum.Add(0, [8, 0, 0, 0, 0x12, 0x34, 0x56, 0x78]), message.AsSpan(8)));
        IcmpHeader.Write(message, IcmpType.Echo, 0, 0x1234_5678, checksum);
        byte[] frame = new byte[34 + message.Length];
        int at = EthernetHeader.Write(frame, MacB, MacA, EtherType.Ipv4);
        Ipv4Header.Write(frame.AsSpan(at), A, B, IpProtocol.Icmp, 20 + message.Length, 1, 0);
        message.CopyTo(frame.AsSpan(34));
        var oracle = Packet.ParsePacket(LinkLayers.Ethernet, frame).Extract<IcmpV4Packet>();
        Assert.True(oracle.ValidIcmpChecksum);
        Assert.Equal((IcmpV4TypeCode.EchoRequest, 0x1234, 0x5678), (oracle.TypeCode, oracle.Id, oracle.Sequence));

        Assert.True(IcmpView.TryParse(oracle.Bytes, out IcmpView view));
        Assert.Equal((IcmpType.Echo, 0, 0x1234_5678u), (view.Type, view.Code, view.RestOfHeader));
        Assert.False(view.IsError);
        Assert.True(InternetChecksum.IsValid(message));
        Assert.False(IcmpView.TryParse(oracle.Bytes.AsSpan(0, 7), out _));
    }

    [Fact]
    public void A_header_cut_short_or_lying_about_its_length_does_not_parse()
    {
        byte[] frame = new byte[54];
        int at = EthernetHeader.Write(frame, MacB, MacA, EtherType.Ipv4);
        at += Ipv4Header.Write(frame.AsSpan(at), A, B, IpProtocol.Tcp, 40, 0, 0);
        TcpHeader.Write(frame.AsSpan(at), 1, 2, default, default, TcpFlags.Syn, 0);
        for (int length = 0; length < 34; length++)
        {
            Assert.False(EthernetView.TryParse(frame.AsSpan(0, length), out EthernetView ethernet) && Ipv4View.TryParse(ethernet.Payload, out _));
        }

        for (int length = 0; length < 20; length++)
        {
            Assert.False(TcpView.TryParse(frame.AsSpan(34, length), out _));
        }

        foreach ((int offset, byte value) in new (int, byte)[] { (14, 0x65), (14, 0x44), (14, 0x4F), (17, 19), (17, 0) })
        {
            byte[] broken = [.. frame];
            broken[offset] = value;
            Assert.False(Ipv4View.TryParse(broken.AsSpan(14, 20), out _));
        }

        foreach (byte dataOffset in new byte[] { 0x00, 0x40, 0x60, 0xF0 })
        {
            byte[] broken = [.. frame];
            broken[46] = dataOffset;
            Assert.False(TcpView.TryParse(broken.AsSpan(34, 20), out _));
        }
    }

    private static PhysicalAddress Physical(EthernetAddress address)
    {
        byte[] bytes = new byte[6];
        address.Write(bytes);
        return new PhysicalAddress(bytes);
    }

    private static IPAddress Address(IpAddress address) => IPAddress.Parse(address.ToString());
}
