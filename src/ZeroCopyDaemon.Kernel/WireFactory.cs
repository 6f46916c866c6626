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
internal sealed record WireSetup(IWire Wire, NicOptions Nic, IpAddress Address, int PrefixLength, IpAddress NextHop, string Detail);

/// <summary>Makes the wire that the options name.</summary>
internal static class WireFactory
{
    public const string Gateway = "gateway";

    public const string Tap = "tap";

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

        TapDevice device = TapDevice.Open(new TapOptions
        {
            Device = options.TapDevice,
            Address = address,
            PrefixLength = prefixLength,
            HostAddress = host,
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
        return new WireSetup(new TapWire(device), nic, device.Address, device.PrefixLength, device.HostAddress, detail);
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
