using System.Numerics;
using Microsoft.Win32.SafeHandles;
using ZeroCopyDaemon.Net.Addresses;
using static ZeroCopyDaemon.Wires.Tap.TapNative;

namespace ZeroCopyDaemon.Wires.Tap;

/// <summary>An IPv4 network that a device has an address of.</summary>
internal readonly record struct InterfaceNetwork(string Device, IpAddress Address, int PrefixLength)
{
    public bool Overlaps(IpAddress other, int otherPrefixLength) => Address.SharesPrefix(other, Math.Min(PrefixLength, otherPrefixLength));

    public override string ToString() => $"{Address}/{PrefixLength} on {Device}";
}

/// <summary>
/// What <c>ip link</c> and <c>ip addr</c> do, for the network namespace of the thread that made it: by ioctl on a socket, which stays in that namespace. Owns the socket.
/// </summary>
internal sealed unsafe class InterfaceControl : IDisposable
{
    private const int MostInterfaces = 4096;

    private readonly SafeFileHandle _socket;

    public InterfaceControl()
    {
        int fd = Socket(InternetFamily, DatagramCloseOnExec, 0);
        if (fd < 0)
        {
            throw new WireException($"No socket to set up network devices with: {ErrorText(Errno)}.");
        }

        _socket = new SafeFileHandle(fd, ownsHandle: true);
    }

    /// <summary>The index of a device, or 0 if there is none of that name.</summary>
    public int IndexOf(string device)
    {
        InterfaceRequest request = InterfaceRequest.For(device);
        return Control(_socket, GetIndex, &request) < 0 ? 0 : request.Number;
    }

    /// <summary>The name that a device has now; null if it is gone.</summary>
    public string? NameOf(int index)
    {
        InterfaceRequest request = default;
        request.Number = index;
        return Control(_socket, GetName, &request) < 0 ? null : request.ReadName();
    }

    /// <summary>The device is up, and has its carrier.</summary>
    public bool IsUp(string device)
    {
        const short Wanted = InterfaceUp | InterfaceRunning;
        InterfaceRequest request = InterfaceRequest.For(device);
        return Control(_socket, GetFlags, &request) >= 0 && (request.Flags & Wanted) == Wanted;
    }

    /// <summary>Bytes, or 0 if the device is gone.</summary>
    public int MtuOf(string device)
    {
        InterfaceRequest request = InterfaceRequest.For(device);
        return Control(_socket, GetMtu, &request) < 0 ? 0 : request.Number;
    }

    public void SetMtu(string device, int mtu) => SetNumber(device, TapNative.SetMtu, mtu, $"The MTU of {device} can't be set to {mtu}");

    /// <summary>Frames that may wait in the device for us.</summary>
    public void SetQueueLength(string device, int frames) => SetNumber(device, TapNative.SetQueueLength, frames, $"The queue of {device} can't be made {frames} frames long");

    public void SetAddress(string device, IpAddress address, int prefixLength)
    {
        InterfaceRequest request = InterfaceRequest.For(device, address);
        Check(Control(_socket, TapNative.SetAddress, &request), $"{device} can't be given the address {address}");
        request = InterfaceRequest.For(device, IpAddress.FromV4((uint)((ulong)uint.MaxValue << (32 - prefixLength))));
        Check(Control(_socket, SetNetmask, &request), $"{device} can't be given a prefix length of {prefixLength}");
    }

    public void SetUp(string device)
    {
        InterfaceRequest request = InterfaceRequest.For(device);
        Check(Control(_socket, GetFlags, &request), $"The state of {device} can't be read");
        request.Flags |= InterfaceUp;
        Check(Control(_socket, SetFlags, &request), $"{device} can't be set up");
    }

    /// <summary>The first IPv4 address of each device that has one (further ones have names of their own, such as eth0:1, only if they were made the old way).</summary>
    public List<InterfaceNetwork> Networks()
    {
        var requests = new InterfaceRequest[MostInterfaces];
        int count;
        fixed (InterfaceRequest* first = requests)
        {
            var list = new InterfaceList { Bytes = MostInterfaces * sizeof(InterfaceRequest), Requests = first };
            Check(Control(_socket, GetConfiguration, &list), "The addresses of this host can't be listed");
            count = list.Bytes / sizeof(InterfaceRequest);
        }

        var networks = new List<InterfaceNetwork>(count);
        for (int i = 0; i < count; i++)
        {
            string device = requests[i].ReadName();
            IpAddress address = requests[i].ReadAddress();
            InterfaceRequest request = InterfaceRequest.For(device, address);
            if (Control(_socket, GetNetmask, &request) >= 0)
            {
                networks.Add(new InterfaceNetwork(device, address, BitOperations.LeadingZeroCount(~request.ReadAddress().V4)));
            }
        }

        return networks;
    }

    public void Dispose() => _socket.Dispose();

    private void SetNumber(string device, nuint what, int number, string complaint)
    {
        InterfaceRequest request = InterfaceRequest.For(device);
        request.Number = number;
        Check(Control(_socket, what, &request), complaint);
    }

    private static void Check(int result, string complaint)
    {
        if (result < 0)
        {
            int errno = Errno;
            throw new WireException(errno == NotPermittedError ? TapDevice.NotPermitted() : $"{complaint}: {ErrorText(errno)}.");
        }
    }
}
