using System.Globalization;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Wires;
using ZeroCopyDaemon.Wires.Gateway;
using ZeroCopyDaemon.Wires.Impaired;
using ZeroCopyDaemon.Wires.Tap;

namespace ZeroCopyDaemon.Kernel;

/// <summary>A wire, and what it asks of the NIC and the stack that it is plugged into.</summary>
/// <param name="Wire">Owned by whoever takes this.</param>
/// <param name="Nic">The NIC's settings.</param>
/// <param name="Address">The kernel's address on the wire.</param>
/// <param name="PrefixLength">On-link prefix length.</param>
/// <param name="NextHop">Where to send what isn't on-link; Any = nowhere.</param>
/// <param name="Detail">For people: where it leads.</param>
internal sealed record WireSetup(IWire Wire, NicOptions Nic, IpAddress Address, int PrefixLength, IpAddress NextHop, string Detail)
{
    /// <summary>The kernel's IPv6 address on the wire; Any = none.</summary>
    public IpAddress Address6 { get; init; }

    /// <summary>On-link prefix length of <see cref="Address6"/>.</summary>
    public int PrefixLength6 { get; init; } = 64;

    /// <summary>Where to send what isn't on-link in IPv6.</summary>
    public IpAddress NextHop6 { get; init; }

    /// <summary>What the wire lacks, for people; may be empty.</summary>
    public string Note { get; init; } = "";
}

/// <summary>Makes the wire that the options name.</summary>
internal static class WireFactory
{
    public const string Gateway = "gateway";

    public const string Tap = "tap";

    /// <summary>As the IPv6 address: none.</summary>
    public const string Off = "off";

    /// <summary>Throws <see cref="KernelHostException"/> with what to change.</summary>
    public static WireSetup Create(KernelHostOptions options)
    {
        var nic = new NicOptions
        {
            Mtu = options.Mtu,
            Placement = options.Placement,
            RxChecksumOffload = options.ChecksumOffload,
            TxChecksumOffload = options.ChecksumOffload,
            Tso = options.ChecksumOffload && options.Tso,
            RxQueues = options.RxQueues,
            RxRingSize = options.RxRingSize,
        };
        try
        {
            WireSetup setup = string.Equals(options.Wire, Tap, StringComparison.Ordinal) ? CreateTap(options, nic) : CreateGateway(options, nic);
            return options.Impairment is { } impairment ? setup with { Wire = new ImpairedWire(setup.Wire, impairment) } : setup;
        }
        catch (WireException e)
        {
            throw new KernelHostException(e.Message, e);
        }
    }

    private static WireSetup CreateGateway(KernelHostOptions options, NicOptions nic)
    {
        var gateway = new GatewayOptions { Bind = options.BindAddress };
        return new WireSetup(new GatewayWire(gateway), nic with { PauseFrames = true }, gateway.KernelAddress, gateway.PrefixLength, default, "");
    }

    private static WireSetup CreateTap(KernelHostOptions options, NicOptions nic)
    {
        (IpAddress address, int prefixLength) = ParseNetwork(options.Address);
        IpAddress host = default;
        if (options.HostAddress.Length > 0 && !IpAddress.TryParse(options.HostAddress, out host))
        {
            throw new WireException($"'{options.HostAddress}' is not an IPv4 address: give Linux's address on the device as 10.44.0.1.");
        }

        bool ipv6 = !string.Equals(options.Address6, Off, StringComparison.OrdinalIgnoreCase);
        (IpAddress address6, int prefixLength6) = ParseNetwork6(ipv6 ? options.Address6 : "");
        IpAddress host6 = default;
        if (options.HostAddress6.Length > 0 && !IpAddress.TryParse(options.HostAddress6, out host6))
        {
            throw new WireException($"'{options.HostAddress6}' is not an IPv6 address: give Linux's address on the device as fd44::1.");
        }

        TapDevice device = TapDevice.Open(new TapOptions
        {
            Device = options.TapDevice,
            Address = address,
            PrefixLength = prefixLength,
            HostAddress = host,
            Ipv6 = ipv6,
            Address6 = address6,
            PrefixLength6 = prefixLength6,
            HostAddress6 = host6,
            NetworkNamespace = options.NetworkNamespace,
            Mtu = options.Mtu,
            Queues = options.RxQueues,
            ChecksumOffload = options.ChecksumOffload,
            // Something happens to each wire frame by itself.
            Tso = options.Tso && options.Impairment is null,
        });

        // Linux hands frames over in batches of its own; another wait would only add to them.
        nic = nic with { Mtu = Math.Max(device.Mtu, 576), DirectReceive = true, Lro = device.Tso, RxUsecs = 0, RxFrames = 1 };
        string where = device.NetworkNamespace.Length == 0 ? "" : $" in namespace {device.NetworkNamespace}";
        string detail = string.Create(CultureInfo.InvariantCulture, $"device {device.Name}{where}: kernel {device.Address}/{device.PrefixLength}, this host {device.HostAddress}");
        TapIpv6 six = device.Ipv6;
        return new WireSetup(new TapWire(device), nic, device.Address, device.PrefixLength, device.HostAddress, six.IsOn ? $"{detail}; {six.Address}/{six.PrefixLength}, {six.HostAddress}" : detail)
        {
            Address6 = six.Address,
            PrefixLength6 = six.PrefixLength,
            NextHop6 = six.HostAddress,
            Note = six.Lack,
        };
    }

    private static (IpAddress Address, int PrefixLength) ParseNetwork6(string text)
    {
        if (text.Length == 0)
        {
            return (default, 64);
        }

        string[] parts = text.Split('/');
        int prefixLength = 64;
        return parts.Length <= 2 && IpAddress.TryParse(parts[0], out IpAddress address) && !address.IsV4
            && (parts.Length == 1 || int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out prefixLength))
            ? (address, prefixLength)
            : throw new WireException($"'{text}' is not an IPv6 address with a prefix length: give it as fd44::2/64, or say off.");
    }

    private static (IpAddress Address, int PrefixLength) ParseNetwork(string text)
    {
        if (text.Length == 0)
        {
            return (default, 24);
        }

        string[] parts = text.Split('/');
        if (parts.Length <= 2 && IpAddress.TryParse(parts[0], out IpAddress address) && address.IsV4)
        {
            if (parts.Length == 1)
            {
                return (address, 24);
            }

            if (int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int prefixLength))
            {
                return (address, prefixLength);
            }
        }

        throw new WireException($"'{text}' is not an address with a prefix length: give it as 10.44.0.2/24.");
    }
}
