using Microsoft.Win32.SafeHandles;
using ZeroCopyDaemon.Net.Addresses;
using static ZeroCopyDaemon.Wires.Tap.TapNative;

namespace ZeroCopyDaemon.Wires.Tap;

/// <summary>
/// A TAP device of Linux, opened, addressed and up. One that it made goes away when this is disposed (or the process ends, however it does); one that was there stays. Owns its descriptors.
/// </summary>
public sealed unsafe class TapDevice : IDisposable
{
    private const string ClonePath = "/dev/net/tun";
    private const string NamePattern = "zcd%d";

    // What may wait in the device while the loop is busy: with super-frames plenty, with small frames two milliseconds' worth.
    private const int QueueFrames = 2048;
    private const int DefaultNetworks = 256;

    private readonly SafeFileHandle[] _queues;
    private readonly InterfaceControl _control;
    private readonly Ipv6Control? _control6;
    private readonly SafeFileHandle _events;
    private readonly int _index;

    private TapDevice(SafeFileHandle[] queues, InterfaceControl control, Ipv6Control? control6, SafeFileHandle events, string name)
    {
        _queues = queues;
        _control = control;
        _control6 = control6;
        _events = events;
        _index = control.IndexOf(name);
        Name = name;
    }

    /// <summary>The device's name.</summary>
    public string Name { get; private set; }

    /// <summary>The namespace that it is in; empty = this process's.</summary>
    public string NetworkNamespace { get; private init; } = "";

    /// <summary>It was made by us, and goes with us.</summary>
    public bool IsOurs { get; private init; }

    /// <summary>The kernel's address.</summary>
    public IpAddress Address { get; private set; }

    public int PrefixLength { get; private set; }

    /// <summary>Linux's address on the device.</summary>
    public IpAddress HostAddress { get; private set; }

    /// <summary>The IPv6 addresses.</summary>
    public TapIpv6 Ipv6 { get; private set; } = TapIpv6.Off;

    /// <summary>Largest IP packet, in bytes; as it was when last asked for (<see cref="Refresh"/>).</summary>
    public int Mtu { get; private set; }

    /// <summary>Whether it is up, as it was when last asked for.</summary>
    public bool IsUp { get; private set; }

    /// <summary>Whether Linux still has its address there, as it was when last asked for.</summary>
    public bool HasHostAddress { get; private set; } = true;

    /// <summary>Whether Linux still has its IPv6 address there, if there is IPv6, as it was when last asked for.</summary>
    public bool HasHostAddress6 { get; private set; } = true;

    /// <summary>Checksums may be partial.</summary>
    public bool ChecksumOffload { get; private init; }

    /// <summary>Super-frames cross it.</summary>
    public bool Tso { get; private init; }

    /// <summary>Queues.</summary>
    public int Queues => _queues.Length;

    internal int QueueFd(int queue) => (int)_queues[queue].DangerousGetHandle();

    internal int EventsFd => (int)_events.DangerousGetHandle();

    /// <summary>Opens (and unless it is there already, makes and addresses) a device. Throws <see cref="WireException"/> with what to change; nothing is left behind then.</summary>
    public static TapDevice Open(TapOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        return OperatingSystem.IsLinux()
            ? Tap.NetworkNamespace.Run(options.NetworkNamespace, () => OpenHere(options))
            : throw new WireException("TAP devices of this kind are there on Linux only: use --wire gateway.");
    }

    /// <summary>
    /// Takes the pending news of Linux's devices off, and if there were any asks for the device's state anew. False = the device is gone.
    /// </summary>
    public bool Refresh()
    {
        byte* scratch = stackalloc byte[4096];
        while (Read(_events, scratch, 4096) > 0 || Errno == InterruptedError || Errno == NoBuffersError)
        {
            // What they say in detail is asked for below: that is right also when news got lost.
        }

        if (_control.NameOf(_index) is not { } name)
        {
            IsUp = false;
            return false;
        }

        Name = name;
        ReadState();
        return true;
    }

    /// <summary>Closes it; one of ours is gone afterwards.</summary>
    public void Dispose()
    {
        foreach (SafeFileHandle queue in _queues)
        {
            queue.Dispose();
        }

        _events.Dispose();
        _control6?.Dispose();
        _control.Dispose();
    }

    internal static string NotPermitted() =>
        "A TAP device needs root or CAP_NET_ADMIN: run this with sudo, or have root make a device for you once, with "
        + "`sudo ip tuntap add dev zcd0 mode tap user $USER vnet_hdr && sudo ip addr add 10.44.0.1/24 dev zcd0 && sudo ip link set zcd0 up`, and use it with --tap zcd0; or use --wire gateway, which needs neither.";

    private static TapDevice OpenHere(TapOptions options)
    {
        var queues = new List<SafeFileHandle>();
        InterfaceControl? control = null;
        Ipv6Control? control6 = null;
        SafeFileHandle? events = null;
        try
        {
            control = new InterfaceControl();
            bool isOurs = options.Device.Length == 0 || control.IndexOf(options.Device) == 0;
            List<InterfaceNetwork> others = isOurs ? control.Networks() : [];
            (IpAddress address, IpAddress host) = isOurs ? ChooseAddresses(options, others) : default;
            string name = options.Device.Length == 0 ? NamePattern : options.Device;
            for (int queue = 0; queue < options.Queues; queue++)
            {
                queues.Add(OpenQueue(options, ref name, isNew: isOurs && queue == 0));
            }

            events = OpenEvents();
            control6 = Ipv6Control.TryOpen();
            var device = new TapDevice([.. queues], control, control6, events, name)
            {
                NetworkNamespace = options.NetworkNamespace,
                IsOurs = isOurs,
                ChecksumOffload = options.ChecksumOffload,
                Tso = options.EffectiveTso,
            };
            if (isOurs)
            {
                control.SetMtu(name, options.Mtu);
                control.SetQueueLength(name, QueueFrames);
                control.SetAddress(name, host, options.PrefixLength);
                while (options.Address.IsAny && WasFasterThan(control, name, address, options.PrefixLength))
                {
                    (address, host) = ChooseAddresses(options, control.Networks());
                    control.SetAddress(name, host, options.PrefixLength);
                }

                Ipv6Control.KeepAddressesWhileDown(name);
                control.SetUp(name);
                device.Address = address;
                device.PrefixLength = options.PrefixLength;
                device.HostAddress = host;
                device.Ipv6 = TapIpv6.SetUp(options, control6, device._index, address);
            }
            else
            {
                device.Adopt(options);
                device.Ipv6 = TapIpv6.Adopt(options, control6, device._index, name);
            }

            device.ReadState();
            return device;
        }
        catch
        {
            queues.ForEach(queue => queue.Dispose());
            events?.Dispose();
            control6?.Dispose();
            control?.Dispose();
            throw;
        }
    }

    private static SafeFileHandle OpenQueue(TapOptions options, ref string name, bool isNew)
    {
        int fd = TapNative.Open(ClonePath, OpenReadWriteNonBlockingCloseOnExec);
        if (fd < 0)
        {
            int errno = Errno;
            throw new WireException(errno switch
            {
                NoEntryError or NoDeviceError => $"This system has no {ClonePath}: load the module with `sudo modprobe tun`, or use --wire gateway.",
                AccessError or NotPermittedError =>
                    $"This user may not open {ClonePath}: run this with sudo, or allow it with `sudo chmod 0666 {ClonePath}` (what most systems have; a device still has to be made by root); or use --wire gateway, which needs neither.",
                _ => $"{ClonePath} can't be opened: {ErrorText(errno)}.",
            });
        }

        var handle = new SafeFileHandle(fd, ownsHandle: true);
        try
        {
            InterfaceRequest request = InterfaceRequest.For(name);
            request.Flags = (short)(TapFlag | NoPacketInfoFlag | VnetHeaderFlag | (options.Queues > 1 ? MultiQueueFlag : 0) | (isNew ? ExclusiveFlag : 0));
            if (Control(handle, SetInterface, &request) < 0)
            {
                int errno = Errno;
                throw new WireException(errno switch
                {
                    NotPermittedError => NotPermitted(),
                    BusyError => $"The device {name} is in use by another program: choose another name with --tap.",
                    InvalidError => $"The device {name} is not a TAP device with {(options.Queues > 1 ? "several queues (multi_queue)" : "one queue")}: choose another name with --tap, or another number of --rx-queues.",
                    _ => $"The TAP device {name} can't be made: {ErrorText(errno)}.",
                });
            }

            name = request.ReadName();
            nuint offload = options.ChecksumOffload ? OffloadChecksum | (options.EffectiveTso ? OffloadTso4 | OffloadTso6 : 0) : 0;
            if (Control(handle, SetOffload, offload) < 0)
            {
                throw new WireException($"{name} refuses the offloads that were asked for ({ErrorText(Errno)}): try --tso off, or --checksum-offload off.");
            }

            return handle;
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Both addresses of a new device, on a network that no other device has.</summary>
    private static (IpAddress Address, IpAddress Host) ChooseAddresses(TapOptions options, List<InterfaceNetwork> others)
    {
        if (!options.Address.IsAny)
        {
            int conflict = others.FindIndex(other => other.Overlaps(options.Address, options.PrefixLength));
            return conflict < 0
                ? (options.Address, options.HostAddress.IsAny ? FirstHost(options.Address, options.PrefixLength) : options.HostAddress)
                : throw new WireException(
                    $"The network {options.Address}/{options.PrefixLength} overlaps with {others[conflict]}: choose another one with --address, or leave that away to get a free one.");
        }

        for (int network = 0; network < DefaultNetworks; network++)
        {
            IpAddress address = IpAddress.FromV4(10, 44, (byte)network, 2);
            if (!others.Exists(other => other.Overlaps(address, options.PrefixLength)))
            {
                return (address, FirstHost(address, options.PrefixLength));
            }
        }

        throw new WireException("All of 10.44.0.0/16 is in use on this host: choose a network with --address.");
    }

    /// <summary>Another daemon that started at the same moment chose the same free network, and its device is the older one.</summary>
    private static bool WasFasterThan(InterfaceControl control, string name, IpAddress address, int prefixLength)
    {
        int own = control.IndexOf(name);
        return control.Networks().Exists(other => !string.Equals(other.Device, name, StringComparison.Ordinal)
            && other.Overlaps(address, prefixLength) && control.IndexOf(other.Device) is > 0 and int index && index < own);
    }

    private static IpAddress FirstHost(IpAddress address, int prefixLength)
    {
        uint network = address.V4 & (uint)((ulong)uint.MaxValue << (32 - prefixLength));
        return IpAddress.FromV4(network + (address.V4 == network + 1 ? 2u : 1u));
    }

    private static SafeFileHandle OpenEvents()
    {
        int fd = Socket(NetlinkFamily, RawNonBlockingCloseOnExec, 0);
        if (fd < 0)
        {
            throw new WireException($"Linux's news of devices can't be had: {ErrorText(Errno)}.");
        }

        var handle = new SafeFileHandle(fd, ownsHandle: true);
        var address = new NetlinkAddress { Family = NetlinkFamily, Groups = LinkGroup | Ipv4AddressGroup | Ipv6AddressGroup };
        if (TapNative.Bind(handle, &address, sizeof(NetlinkAddress)) < 0)
        {
            int errno = Errno;
            handle.Dispose();
            throw new WireException($"Linux's news of devices can't be had: {ErrorText(errno)}.");
        }

        return handle;
    }

    /// <summary>A device that was there is used as its owner set it up.</summary>
    private void Adopt(TapOptions options)
    {
        InterfaceNetwork network = _control.Networks().Find(candidate => string.Equals(candidate.Device, Name, StringComparison.Ordinal));
        if (network.Device is null)
        {
            throw new WireException($"The device {Name} has no IPv4 address: give it one with `ip addr add 10.44.0.1/24 dev {Name}`, or choose a name with --tap that isn't taken.");
        }

        HostAddress = network.Address;
        PrefixLength = network.PrefixLength;
        if (PrefixLength is < 1 or > 30)
        {
            throw new WireException($"{Name} has {network.Address}/{PrefixLength}, on which there is no address left for the kernel: give it a prefix length of at most 30.");
        }

        Address = options.Address;
        if (Address.IsAny)
        {
            uint first = HostAddress.V4 & (uint)((ulong)uint.MaxValue << (32 - PrefixLength));
            Address = IpAddress.FromV4(first + (HostAddress.V4 == first + 2 ? 1u : 2u));
        }
        else if (!Address.SharesPrefix(HostAddress, PrefixLength) || Address == HostAddress)
        {
            throw new WireException($"{Name} has {HostAddress}/{PrefixLength}: the kernel's address must be another one of that network, not {Address}.");
        }
    }

    private void ReadState()
    {
        Mtu = _control.MtuOf(Name);
        IsUp = _control.IsUp(Name);
        HasHostAddress = _control.Networks().Exists(network => network.Address == HostAddress && string.Equals(network.Device, Name, StringComparison.Ordinal));
        HasHostAddress6 = !Ipv6.IsOn || _control6!.Networks().Exists(network => network.Device == _index && network.Address == Ipv6.HostAddress);
    }
}
