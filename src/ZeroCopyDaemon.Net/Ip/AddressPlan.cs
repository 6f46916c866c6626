using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>Which addresses are ours, which hardware addresses they have, and where a packet goes next. Fixed for the stack's life.</summary>
internal sealed class AddressPlan
{
    private readonly NetStackOptions _options;
    private readonly uint _linkBroadcast;
    private readonly bool _hasLinkBroadcast;

    /// <summary>Throws <see cref="ArgumentException"/> with what to change, if the addresses can't be used.</summary>
    public AddressPlan(NetStackOptions options)
    {
        _options = options;
        if (!options.Address.IsV4 || (!options.Gateway.IsAny && !options.Gateway.IsV4))
        {
            throw new ArgumentException($"Address and gateway must be IPv4 addresses, not {options.Address} and {options.Gateway}.");
        }

        if (options.PrefixLength is < 0 or > 32 || options.HostPrefixLength is < 0 or > 32)
        {
            throw new ArgumentException($"A prefix length must be from 0 to 32, not {options.PrefixLength} or {options.HostPrefixLength}.");
        }

        if (options.OwnsWholePrefix ? !options.HostPrefix.IsV4 : options.EthernetAddress.IsGroup)
        {
            throw new ArgumentException("A stack needs a unicast Ethernet address, or with a whole prefix of its own an IPv4 prefix.");
        }

        // A prefix of 31 bits (RFC 3021) or 32 has no broadcast address.
        _hasLinkBroadcast = options.PrefixLength < 31;
        _linkBroadcast = options.Address.V4 | (uint)(uint.MaxValue >> options.PrefixLength);
    }

    public bool IsLocal(IpAddress address) => _options.OwnsWholePrefix
        ? address.SharesPrefix(_options.HostPrefix, _options.HostPrefixLength) && !IsBroadcast(address)
        : address == _options.Address;

    /// <summary>Our address, if there is just one.</summary>
    public IpAddress? SingleAddress => _options.OwnsWholePrefix ? null : _options.Address;

    /// <summary>255.255.255.255, or all hosts of our link.</summary>
    public bool IsBroadcast(IpAddress address) => address.IsLimitedBroadcast || (_hasLinkBroadcast && address.IsV4 && address.V4 == _linkBroadcast);

    /// <summary>True if nobody can have this address who sends us something: no single host's, or our own (RFC 1122 section 3.2.1.3).</summary>
    public bool IsImpossibleSource(IpAddress address) => !IsSingleHost(address) || IsLocal(address);

    /// <summary>A unicast address that may appear on a wire: not "this network", loopback, multicast, reserved or broadcast.</summary>
    public bool IsSingleHost(IpAddress address)
    {
        uint first = address.V4 >> 24;
        return address.IsV4 && first != 0 && first != 127 && first < 224 && !IsBroadcast(address);
    }

    /// <summary>The MAC of one of our addresses.</summary>
    public EthernetAddress HardwareOf(IpAddress local) => _options.OwnsWholePrefix ? EthernetAddress.ForHost(local) : _options.EthernetAddress;

    /// <summary>True for a MAC of ours.</summary>
    public bool IsOwnHardware(EthernetAddress hardware)
    {
        if (!_options.OwnsWholePrefix)
        {
            return hardware == _options.EthernetAddress;
        }

        IpAddress host = IpAddress.FromV4((uint)hardware.Value);
        return hardware == EthernetAddress.ForHost(host) && IsLocal(host);
    }

    /// <summary>The address to use as source towards a peer.</summary>
    public IpAddress SourceFor(IpAddress remote)
    {
        _ = remote;
        return _options.Address;
    }

    /// <summary>Next hop towards a peer: itself if on-link, else the gateway. False without a route, or if it is no address to send to.</summary>
    public bool TryGetNextHop(IpAddress destination, out IpAddress nextHop)
    {
        nextHop = destination.SharesPrefix(_options.Address, _options.PrefixLength) ? destination : _options.Gateway;
        return !nextHop.IsAny && IsSingleHost(destination) && !IsLocal(destination);
    }
}
