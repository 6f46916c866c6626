using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>Which addresses are ours, which hardware addresses they have, and where a packet goes next. Fixed for the stack's life.</summary>
internal sealed class AddressPlan
{
    private readonly NetStackOptions _options;
    private readonly uint _linkBroadcast;
    private readonly bool _hasLinkBroadcast;

    public AddressPlan(NetStackOptions options)
    {
        _options = options;

        // A prefix of 31 bits (RFC 3021) or 32 has no broadcast address.
        _hasLinkBroadcast = options.PrefixLength < 31;
        _linkBroadcast = options.Address.V4 | (uint)(uint.MaxValue >> options.PrefixLength);
    }

    public bool IsLocal(IpAddress address) => _options.OwnsWholePrefix
        ? address.SharesPrefix(_options.HostPrefix, _options.HostPrefixLength) && !IsBroadcast(address)
        : address == _options.Address;

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
