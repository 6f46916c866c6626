using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Wires.Tap;

/// <summary>How a TAP device is made, or which one is used.</summary>
public sealed record TapOptions
{
    /// <summary>Largest MTU that Linux gives a TAP: 65535 less the Ethernet header.</summary>
    public const int LargestMtu = 65521;

    /// <summary>The device's name; empty = the first free of zcd0, zcd1, ... One that exists is used as it is, and left behind.</summary>
    public string Device { get; init; } = "";

    /// <summary>The kernel's address on the wire; Any = the second of the first free network of 10.44.0.0/24, 10.44.1.0/24, ...</summary>
    public IpAddress Address { get; init; }

    /// <summary>Prefix length of <see cref="Address"/>.</summary>
    public int PrefixLength { get; init; } = 24;

    /// <summary>Linux's address on the device; Any = the first of the network that isn't <see cref="Address"/>.</summary>
    public IpAddress HostAddress { get; init; }

    /// <summary>IPv6 beside IPv4, if Linux has it.</summary>
    public bool Ipv6 { get; init; } = true;

    /// <summary>The kernel's IPv6 address on the wire; Any = the second of the network that goes with the IPv4 network (<see cref="TapIpv6"/>).</summary>
    public IpAddress Address6 { get; init; }

    /// <summary>Prefix length of <see cref="Address6"/>.</summary>
    public int PrefixLength6 { get; init; } = 64;

    /// <summary>Linux's IPv6 address on the device; Any = the first of the network that isn't <see cref="Address6"/>.</summary>
    public IpAddress HostAddress6 { get; init; }

    /// <summary>Name of the network namespace that the device is made in (as of <c>ip netns</c>); empty = this process's.</summary>
    public string NetworkNamespace { get; init; } = "";

    /// <summary>Largest IP packet: 576 to <see cref="LargestMtu"/>.</summary>
    public int Mtu { get; init; } = 1500;

    /// <summary>Queues of the device (IFF_MULTI_QUEUE from 2 on).</summary>
    public int Queues { get; init; } = 1;

    /// <summary>Frames with partial checksums cross the device, both ways (TUN_F_CSUM).</summary>
    public bool ChecksumOffload { get; init; } = true;

    /// <summary>Super-frames of up to 64 KB cross the device, both ways (TUN_F_TSO4). Needs <see cref="ChecksumOffload"/>.</summary>
    public bool Tso { get; init; } = true;

    /// <summary>Super-frames do cross.</summary>
    public bool EffectiveTso => Tso && ChecksumOffload;

    /// <summary>Throws <see cref="WireException"/> with what to change.</summary>
    public void Validate()
    {
        Require(
            Device.Length < TapNative.InterfaceRequest.NameBytes && Device.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.'),
            $"A device's name has at most 15 letters, digits, '-', '_' or '.', not '{Device}'.");
        Require(
            NetworkNamespace.Length < 256 && NetworkNamespace is not ("." or "..") && NetworkNamespace.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.'),
            $"'{NetworkNamespace}' is not the name of a network namespace; `ip netns list` shows them.");
        Require(Mtu is >= 576 and <= LargestMtu, $"The MTU of a TAP device must be from 576 to {LargestMtu}, not {Mtu}.");
        Require(Queues is >= 1 and <= 16, $"A TAP device has from 1 to 16 queues here, not {Queues}.");
        Require(PrefixLength is >= 1 and <= 30, $"The prefix length of the wire's network must be from 1 to 30, not {PrefixLength}.");
        Require(Address.IsAny || IsHost(Address), $"{Address}/{PrefixLength} is not an address that a host can have: give one such as 10.44.0.2/24.");
        Require(HostAddress.IsAny || !Address.IsAny, "Linux's address on the device is only chosen together with the kernel's (--address).");
        Require(HostAddress.IsAny || IsHost(HostAddress), $"{HostAddress} is not an address that a host can have.");
        Require(
            HostAddress.IsAny || HostAddress.SharesPrefix(Address, PrefixLength),
            $"Linux's address {HostAddress} must lie on the network of the kernel's, {Address}/{PrefixLength}.");
        Require(HostAddress.IsAny || HostAddress != Address, $"{Address} is the kernel's address; Linux's side of the device needs another one.");
        Require(PrefixLength6 is >= 1 and <= 126, $"The prefix length of the wire's IPv6 network must be from 1 to 126, not {PrefixLength6}.");
        Require(Address6.IsAny || IsHost6(Address6), $"{Address6} is not an IPv6 address that a host can have beside a link-local one: give one such as fd44::2/64.");
        Require(HostAddress6.IsAny || !Address6.IsAny, "Linux's IPv6 address on the device is only chosen together with the kernel's (--address6).");
        Require(
            HostAddress6.IsAny || (IsHost6(HostAddress6) && HostAddress6 != Address6 && HostAddress6.SharesPrefix(Address6, PrefixLength6)),
            $"Linux's IPv6 address must be another one of the kernel's network {Address6}/{PrefixLength6}, not {HostAddress6}.");
    }

    private static bool IsHost6(IpAddress address) => !address.IsV4 && !address.IsLoopback && !address.IsMulticast && !address.IsLinkLocal;

    private bool IsHost(IpAddress address)
    {
        uint hostMask = uint.MaxValue >> PrefixLength;
        uint host = address.V4 & hostMask;
        uint first = address.V4 >> 24;
        return address.IsV4 && first is not (0 or 127) && first < 224 && host != 0 && host != hostMask;
    }

    private static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new WireException(message);
        }
    }
}
