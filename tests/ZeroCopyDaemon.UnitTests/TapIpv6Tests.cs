using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Wires;
using ZeroCopyDaemon.Wires.Tap;

namespace ZeroCopyDaemon.UnitTests;

public sealed class TapIpv6Tests
{
    [Theory]
    [InlineData("10.44.0.2", 24, "fd44::")]
    [InlineData("10.44.7.2", 24, "fd44:0:0:7::")]
    [InlineData("10.44.7.130", 25, "fd44:0:a2c:780::")]
    [InlineData("192.168.3.9", 24, "fd44:0:c0a8:300::")]
    public void The_default_network_goes_with_the_IPv4_network(string address, int prefixLength, string network) =>
        Assert.Equal(IpAddress.Parse(network), TapIpv6.NetworkFor(IpAddress.Parse(address), prefixLength));

    [Theory]
    [InlineData("10.0.0.1", 64, "::", false)]
    [InlineData("fe80::1", 64, "::", false)]
    [InlineData("ff02::1", 64, "::", false)]
    [InlineData("::1", 64, "::", false)]
    [InlineData("fd44::2", 127, "::", false)]
    [InlineData("fd44::2", 64, "fd44::2", false)]
    [InlineData("fd44::2", 64, "fd45::1", false)]
    [InlineData("fd44::2", 64, "10.0.0.1", false)]
    [InlineData("::", 64, "fd44::1", false)]
    [InlineData("fd44::2", 64, "fd44::1", true)]
    [InlineData("fd44::2", 126, "::", true)]
    [InlineData("::", 64, "::", true)]
    public void Addresses_that_cannot_be_are_refused_with_a_word(string address, int prefixLength, string host, bool good)
    {
        var options = new TapOptions { Address6 = IpAddress.Parse(address), PrefixLength6 = prefixLength, HostAddress6 = IpAddress.Parse(host) };
        Exception? refusal = Record.Exception(options.Validate);
        Assert.Equal(good, refusal is null);
        Assert.True(good || refusal is WireException { Message.Length: > 20 });
    }

    [Fact]
    public void What_nobody_asked_for_is_left_out_with_a_note_and_what_was_asked_for_is_an_error()
    {
        IpAddress address = IpAddress.Parse("10.44.0.2");
        Assert.Equal(TapIpv6.Off, TapIpv6.SetUp(new TapOptions { Ipv6 = false }, null, 1, address));
        TapIpv6 without = TapIpv6.SetUp(new TapOptions(), null, 1, address);
        Assert.False(without.IsOn);
        Assert.Contains("no IPv6", without.Lack, StringComparison.Ordinal);
        Assert.Throws<WireException>(() => TapIpv6.SetUp(new TapOptions { Address6 = IpAddress.Parse("fd44::2") }, null, 1, address));
        Assert.Equal(TapIpv6.Off, TapIpv6.Adopt(new TapOptions(), null, 1, "zcd0"));
        Assert.Throws<WireException>(() => TapIpv6.Adopt(new TapOptions { Address6 = IpAddress.Parse("fd44::2") }, null, 1, "zcd0"));
    }

    [Fact]
    public void The_addresses_of_this_host_are_listed()
    {
        using var control = Ipv6Control.TryOpen();
        if (control is null || !File.Exists("/proc/net/if_inet6"))
        {
            Assert.Skip("There is no IPv6 here.");
        }

        // /proc says the same, an address a line: address, index, prefix length, scope (20 = link), flags, name.
        string[][] lines = [.. File.ReadAllLines("/proc/net/if_inet6").Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries)).Where(line => line[3] != "20")];
        Assert.Equal(
            lines.Select(line => (Convert.ToInt32(line[1], 16), line[0], Convert.ToInt32(line[2], 16))).Order(),
            control.Networks().Select(network => (network.Device, Hex(network.Address), network.PrefixLength)).Order());

        static string Hex(IpAddress address)
        {
            byte[] bytes = new byte[16];
            address.Write(bytes);
            return Convert.ToHexStringLower(bytes);
        }
    }
}
