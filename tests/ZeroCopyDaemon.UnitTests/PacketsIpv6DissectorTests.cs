using CsCheck;
using ZeroCopyDaemon.Net.Packets;
using static ZeroCopyDaemon.UnitTests.IpHost;

namespace ZeroCopyDaemon.UnitTests;

public sealed class PacketsIpv6DissectorTests
{
    [Fact]
    public void TCP_UDP_and_ICMPv6_are_cut_after_their_headers()
    {
        byte[] frame = Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp(Pattern(1000), options: [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]));
        FrameDissection dissection = HeaderDissector.Dissect(frame);
        Assert.Equal((86, 86, 54, 1072, IpProtocol.Tcp), (dissection.HeaderLength, dissection.FullHeaderLength, dissection.L4Offset, dissection.IpTotalLength, dissection.Protocol));
        Assert.Equal((Ip6.Peer, Ip6.Local, 1000, 80), (dissection.Source, dissection.Destination, dissection.SourcePort, dissection.DestinationPort));
        Assert.True(dissection is { IsIp: true, IsIpv6: true, IsIpv4: false, HasPorts: true, IsFragment: false });
        Assert.Equal(62, HeaderDissector.Dissect(Ip6.Frame(IpProtocol.Udp, Pattern(100))).HeaderLength);
        Assert.Equal(62, HeaderDissector.Dissect(Ip6.Frame(IpProtocol.Icmpv6, Pattern(100))).HeaderLength);
        Assert.Equal(54, HeaderDissector.Dissect(Ip6.Frame((IpProtocol)47, Pattern(100))).HeaderLength);
    }

    [Fact]
    public void A_cut_frame_says_how_long_its_headers_would_be_as_soon_as_that_can_be_told()
    {
        byte[] frame = Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp(Pattern(100), options: new byte[32]));
        Assert.Equal((66, 0), (HeaderDissector.Dissect(frame.AsSpan(0, 66)).HeaderLength, HeaderDissector.Dissect(frame.AsSpan(0, 66)).FullHeaderLength));
        Assert.Equal((67, 106), (HeaderDissector.Dissect(frame.AsSpan(0, 67)).HeaderLength, HeaderDissector.Dissect(frame.AsSpan(0, 67)).FullHeaderLength));
        Assert.Equal((14, 0), (HeaderDissector.Dissect(frame.AsSpan(0, 53)).HeaderLength, HeaderDissector.Dissect(frame.AsSpan(0, 53)).FullHeaderLength));
    }

    [Fact]
    public void Extension_headers_are_part_of_the_headers_and_a_fragment_ends_with_its_own()
    {
        byte[] tcp = Ip6.Tcp(Pattern(1000));
        FrameDissection dissection = HeaderDissector.Dissect(Ip6.Frame(0, [.. Ip6.Options(IpProtocol.Tcp, 5, 2, 0, 0), .. tcp]));
        Assert.Equal((82, 62, IpProtocol.Tcp, true), (dissection.HeaderLength, dissection.L4Offset, dissection.Protocol, dissection.HasPorts));
        dissection = HeaderDissector.Dissect(Ip6.Fragment(IpProtocol.Tcp, tcp.AsSpan(0, 800), 0, more: true));
        Assert.Equal((62, 62, true, false), (dissection.HeaderLength, dissection.FullHeaderLength, dissection.IsFragment, dissection.HasPorts));
        dissection = HeaderDissector.Dissect(Ip6.Fragment(IpProtocol.Tcp, tcp, 0, more: false));
        Assert.Equal((82, false, true), (dissection.HeaderLength, dissection.IsFragment, dissection.HasPorts));
    }

    [Fact]
    public void What_is_not_understood_and_what_is_too_long_is_left_to_the_stack()
    {
        FrameDissection dissection = HeaderDissector.Dissect(Ip6.Frame(IpProtocol.Ipv6Options, [.. Ip6.Options(IpProtocol.Tcp, 0xC3, 0), .. Pattern(100)]));
        Assert.Equal((54, 54, IpProtocol.None, true), (dissection.HeaderLength, dissection.FullHeaderLength, dissection.Protocol, dissection.IsIpv6));
        dissection = HeaderDissector.Dissect(Ip6.Frame(IpProtocol.Ipv6Options, [.. Ip6.Options(IpProtocol.Tcp, [1, 200, .. new byte[200]]), .. Pattern(100)]));
        Assert.Equal((54, 0, false), (dissection.HeaderLength, dissection.FullHeaderLength, dissection.HasPorts));
    }

    [Fact]
    public void Padding_is_no_header()
    {
        byte[] frame = Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp([]));
        Array.Resize(ref frame, 100);
        Assert.Equal(74, HeaderDissector.Dissect(frame).HeaderLength);
        frame[19] = 10;
        Assert.Equal(64, HeaderDissector.Dissect(frame).HeaderLength);
    }

    [Fact]
    public void Any_bytes_at_all_are_dissected_within_their_bounds() =>
        Gen.Select(Gen.Byte.Array[0, 200], Gen.Int[0, 7].Select(i => (byte)new[] { 0, 43, 44, 60, 6, 17, 58, 200 }[i]), Gen.Int[0, 200], Gen.Int[0, 200]).Sample((noise, next, said, length) =>
        {
            byte[] frame = Ip6.Frame((IpProtocol)next, noise);
            (frame[18], frame[19]) = (0, (byte)said);
            frame = frame[..Math.Min(length, frame.Length)];
            FrameDissection dissection = HeaderDissector.Dissect(frame);
            return dissection.HeaderLength >= Math.Min(14, frame.Length) && dissection.HeaderLength <= Math.Min(frame.Length, HeaderDissector.MaxHeaderBytes)
                && dissection.L4Offset <= dissection.HeaderLength && (dissection.FullHeaderLength == 0 || dissection.FullHeaderLength >= dissection.HeaderLength);
        });
}
