using CsCheck;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.UnitTests;

public sealed class PacketsDissectorTests
{
    private static readonly IpAddress A = IpAddress.Parse("10.0.0.1"), B = IpAddress.Parse("10.0.0.2");

    [Fact]
    public void TCP_is_cut_after_its_options()
    {
        byte[] frame = Frame(IpProtocol.Tcp, 1000, dataOffset: 8);
        FrameDissection dissection = HeaderDissector.Dissect(frame.AsSpan(0, 160));
        Assert.Equal((14 + 20 + 32, 1020, true, false), (dissection.HeaderLength, dissection.IpTotalLength, dissection.HasPorts, dissection.IsFragment));
        Assert.Equal((A, B), (dissection.Source, dissection.Destination));
    }

    [Fact]
    public void UDP_and_ICMP_have_eight_bytes_and_other_protocols_none()
    {
        Assert.Equal(42, HeaderDissector.Dissect(Frame(IpProtocol.Udp, 100)).HeaderLength);
        Assert.Equal(42, HeaderDissector.Dissect(Frame(IpProtocol.Icmp, 100)).HeaderLength);
        Assert.Equal(34, HeaderDissector.Dissect(Frame((IpProtocol)47, 100)).HeaderLength);
        Assert.False(HeaderDissector.Dissect(Frame(IpProtocol.Icmp, 100)).HasPorts);
    }

    [Theory]
    [InlineData(0x20, 0x00)]
    [InlineData(0x00, 0x01)]
    [InlineData(0x20, 0x10)]
    public void Fragments_are_cut_after_the_IP_header_and_have_no_ports(byte high, byte low)
    {
        byte[] frame = Frame(IpProtocol.Tcp, 200);
        (frame[20], frame[21]) = (high, low);
        FrameDissection dissection = HeaderDissector.Dissect(frame);
        Assert.Equal((34, true, false, true), (dissection.HeaderLength, dissection.IsFragment, dissection.HasPorts, dissection.IsIpv4));
    }

    [Fact]
    public void Padding_is_no_header()
    {
        byte[] frame = Frame(IpProtocol.Tcp, 20);
        Array.Resize(ref frame, 60);
        Assert.Equal(54, HeaderDissector.Dissect(frame).HeaderLength);
        frame[17] = 30;
        Assert.Equal(44, HeaderDissector.Dissect(frame).HeaderLength);
    }

    [Fact]
    public void ARP_is_header_as_a_whole_and_unknown_types_only_Ethernet()
    {
        byte[] frame = new byte[60];
        EthernetHeader.Write(frame, default, default, EtherType.Arp);
        Assert.Equal((60, EtherType.Arp), (HeaderDissector.Dissect(frame).HeaderLength, HeaderDissector.Dissect(frame).EtherType));
        EthernetHeader.Write(frame, default, default, EtherType.Ipv6);
        Assert.Equal((14, EtherType.Ipv6), (HeaderDissector.Dissect(frame).HeaderLength, HeaderDissector.Dissect(frame).EtherType));
        Assert.Equal(9, HeaderDissector.Dissect(frame.AsSpan(0, 9)).HeaderLength);
    }

    [Fact]
    public void Any_bytes_at_all_are_dissected_within_their_bounds() =>
        Gen.Select(Gen.Byte.Array[0, 200], Gen.Int[0, 5], Gen.Byte, Gen.Int[0, 200]).Sample((noise, kind, ihl, length) =>
        {
            byte[] frame = kind == 0 ? noise : Frame((IpProtocol)(kind == 1 ? 6 : kind == 2 ? 17 : kind), 120, kind + 3);
            if (kind != 0)
            {
                frame[14] = (byte)(0x40 | (ihl & 0xF));
                frame = frame[..Math.Min(length, frame.Length)];
            }

            FrameDissection dissection = HeaderDissector.Dissect(frame);
            return dissection.HeaderLength >= Math.Min(14, frame.Length) && dissection.HeaderLength <= Math.Min(frame.Length, HeaderDissector.MaxHeaderBytes)
                && dissection.L4Offset <= dissection.HeaderLength;
        });

    private static byte[] Frame(IpProtocol protocol, int l4Length, int dataOffset = 5)
    {
        byte[] frame = new byte[34 + l4Length];
        int at = EthernetHeader.Write(frame, new EthernetAddress(2), new EthernetAddress(4), EtherType.Ipv4);
        at += Ipv4Header.Write(frame.AsSpan(at), A, B, protocol, 20 + l4Length, 0, 0);
        if (protocol == IpProtocol.Tcp)
        {
            TcpHeader.Write(frame.AsSpan(at), 1, 2, default, default, TcpFlags.Ack, 0);
            frame[at + 12] = (byte)(dataOffset << 4);
        }

        return frame;
    }
}
