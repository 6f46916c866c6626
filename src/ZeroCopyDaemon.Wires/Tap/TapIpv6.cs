using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;
using static ZeroCopyDaemon.Wires.Tap.TapNative;

namespace ZeroCopyDaemon.Wires.Tap;

/// <summary>The IPv6 addresses of a TAP device's two ends.</summary>
/// <param name="Address">The kernel's; Any = no IPv6.</param>
/// <param name="PrefixLength">Of the network.</param>
/// <param name="HostAddress">Linux's.</param>
/// <param name="Lack">Why there is no IPv6, for people; empty if there is, or if nobody wants it.</param>
public sealed record TapIpv6(IpAddress Address, int PrefixLength, IpAddress HostAddress, string Lack)
{
    private const ulong Prefix = 0xFD44_0000_0000_0000;

    /// <summary>No IPv6, and nothing to tell about it.</summary>
    public static TapIpv6 Off { get; } = new(default, 0, default, "");

    /// <summary>There is IPv6.</summary>
    public bool IsOn => !Address.IsAny;

    /// <summary>
    /// The network of unique local addresses (RFC 4193) that goes with an IPv4 network: fd44:0:0:N::/64 with 10.44.N.0, else the IPv4 network's own bytes stand in it.
    /// </summary>
    internal static IpAddress NetworkFor(IpAddress address, int prefixLength)
    {
        uint network = address.V4 & (uint)((ulong)uint.MaxValue << (32 - prefixLength));
        bool isDefault = network >> 16 == 0x0A2C && (network & 0xFF) == 0;
        return new IpAddress(Prefix | (isDefault ? (network >> 8) & 0xFF : network), 0);
    }

    /// <summary>Addresses the device that was just made. Throws <see cref="WireException"/> only if the user asked for addresses that can't be had.</summary>
    internal static TapIpv6 SetUp(TapOptions options, Ipv6Control? control, int device, IpAddress address4)
    {
        if (!options.Ipv6)
        {
            return Off;
        }

        if (control is null)
        {
            return Lacking(options, "this system has no IPv6");
        }

        if (options.Mtu < Ipv6Header.MinMtu)
        {
            return Lacking(options, $"it needs an MTU of at least {Ipv6Header.MinMtu}, and that of the device is {options.Mtu}");
        }

        IpAddress address = options.Address6, host = options.HostAddress6;
        if (address.IsAny)
        {
            IpAddress network = NetworkFor(address4, options.PrefixLength);
            (address, host) = (new IpAddress(network.High, 2), new IpAddress(network.High, 1));
        }
        else if (host.IsAny)
        {
            host = FirstHost(address, options.PrefixLength6);
        }

        if (control.Networks().Exists(other => other.Device != device && other.Overlaps(address, options.PrefixLength6)))
        {
            return Lacking(options, $"another device of this host has an address of {address}/{options.PrefixLength6}: choose another network with --address6");
        }

        int error = control.SetAddress(device, host, options.PrefixLength6);
        return error == 0
            ? new TapIpv6(address, options.PrefixLength6, host, "")
            : Lacking(options, $"the device can't be given the address {host}: {ErrorText(error)}");
    }

    /// <summary>Finds out what the owner of a device that was there set up. Throws <see cref="WireException"/> if what the user asked for doesn't go with it.</summary>
    internal static TapIpv6 Adopt(TapOptions options, Ipv6Control? control, int device, string name)
    {
        if (!options.Ipv6)
        {
            return Off;
        }

        Ipv6Network network = control?.Networks().Find(candidate => candidate.Device == device) ?? default;
        if (network.Device == 0)
        {
            return options.Address6.IsAny
                ? Off
                : throw new WireException($"The device {name} has no IPv6 address: give it one of the kernel's network, with `ip -6 addr add {FirstHost(options.Address6, options.PrefixLength6)}/{options.PrefixLength6} dev {name} nodad`.");
        }

        IpAddress address = options.Address6.IsAny ? FirstHost(network.Address, network.PrefixLength, after: 2) : options.Address6;
        return address.SharesPrefix(network.Address, network.PrefixLength) && address != network.Address
            ? new TapIpv6(address, network.PrefixLength, network.Address, "")
            : throw new WireException($"{name} has {network.Address}/{network.PrefixLength}: the kernel's address must be another one of that network, not {address}.");
    }

    /// <summary>The first address of a network that isn't the given one, counted from ::1 or from ::<paramref name="after"/>.</summary>
    private static IpAddress FirstHost(IpAddress address, int prefixLength, ulong after = 1)
    {
        ulong high = prefixLength >= 64 ? address.High : address.High & ~(ulong.MaxValue >> prefixLength);
        ulong low = prefixLength <= 64 ? 0 : address.Low & ~(ulong.MaxValue >> (prefixLength - 64));
        var first = new IpAddress(high, low | after);
        return first == address ? new IpAddress(high, low | (3 - after)) : first;
    }

    private static TapIpv6 Lacking(TapOptions options, string why) =>
        options.Address6.IsAny ? Off with { Lack = $"No IPv6 on this wire: {why}." } : throw new WireException($"No IPv6 on this wire: {why}.");
}
