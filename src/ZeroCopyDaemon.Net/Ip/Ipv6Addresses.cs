using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>
/// Which IPv6 addresses are ours (the one given, and the link-local one that our MAC makes), which groups we listen to, and where a packet goes next. Fixed for the stack's life.
/// </summary>
internal sealed class Ipv6Addresses
{
    private readonly NetStackOptions _options;
    private readonly IpAddress _globalGroup;
    private readonly IpAddress _linkLocalGroup;

    /// <summary>Throws <see cref="ArgumentException"/> with what to change, if the addresses can't be used.</summary>
    public Ipv6Addresses(NetStackOptions options)
    {
        _options = options;
        if (!IsSingleHost(options.Address6) || options.Address6.IsLinkLocal)
        {
            throw new ArgumentException($"An IPv6 address of a host's own is needed, not {options.Address6}: give one such as fd44::2 (a link-local one is there anyway).");
        }

        if (options.PrefixLength6 is < 1 or > 128)
        {
            throw new ArgumentException($"An IPv6 prefix length must be from 1 to 128, not {options.PrefixLength6}.");
        }

        if (!options.Gateway6.IsAny && !IsSingleHost(options.Gateway6))
        {
            throw new ArgumentException($"The next hop must be an IPv6 address of a host, not {options.Gateway6}.");
        }

        if (options.OwnsWholePrefix || options.EthernetAddress.IsGroup)
        {
            throw new ArgumentException("IPv6 needs a stack with one unicast Ethernet address.");
        }

        LinkLocal = IpAddress.LinkLocalOf(options.EthernetAddress);
        _globalGroup = Global.SolicitedNode;
        _linkLocalGroup = LinkLocal.SolicitedNode;
    }

    /// <summary>The address that was given.</summary>
    public IpAddress Global => _options.Address6;

    /// <summary>fe80::/64 with our MAC (RFC 4291 section 2.5.6).</summary>
    public IpAddress LinkLocal { get; }

    /// <summary>Our MAC.</summary>
    public EthernetAddress Hardware => _options.EthernetAddress;

    public bool IsLocal(IpAddress address) => address == Global || address == LinkLocal;

    /// <summary>A group that a host with our addresses has to listen to (RFC 4291 section 2.8): all nodes of the link, and solicited-node.</summary>
    public bool IsJoined(IpAddress group) => group == IpAddress.AllNodes || group == _globalGroup || group == _linkLocalGroup;

    /// <summary>A MAC that packets for one of those groups are sent to.</summary>
    public bool IsJoined(EthernetAddress hardware) =>
        hardware == EthernetAddress.ForGroup(IpAddress.AllNodes) || hardware == EthernetAddress.ForGroup(_globalGroup) || hardware == EthernetAddress.ForGroup(_linkLocalGroup);

    /// <summary>
    /// A unicast address that may appear on a wire. An IPv4 address in IPv6's clothes may not: what takes it for what it looks like could be deceived (RFC 4942 section 2.2).
    /// </summary>
    public static bool IsSingleHost(IpAddress address) => !address.IsV4 && !address.IsAny && !address.IsMulticast && !address.IsLoopback;

    /// <summary>True if nobody can have this address who sends us something. (Who asks whether an address is taken has none yet: that is the caller's to tell.)</summary>
    public bool IsImpossibleSource(IpAddress address) => !IsSingleHost(address) || IsLocal(address);

    /// <summary>The address to use as source towards a peer: of the same scope (RFC 6724 section 5, rule 2, all that is to choose here).</summary>
    public IpAddress SourceFor(IpAddress remote) => remote.IsLinkLocal ? LinkLocal : Global;

    /// <summary>Next hop towards a peer: itself if on-link, else the gateway. False without a route, or if it is no address to send to.</summary>
    public bool TryGetNextHop(IpAddress destination, out IpAddress nextHop)
    {
        nextHop = destination.IsLinkLocal || destination.SharesPrefix(Global, _options.PrefixLength6) ? destination : _options.Gateway6;
        return !nextHop.IsAny && IsSingleHost(destination) && !IsLocal(destination);
    }
}
