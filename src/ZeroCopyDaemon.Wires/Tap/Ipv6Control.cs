using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using ZeroCopyDaemon.Net.Addresses;
using static ZeroCopyDaemon.Wires.Tap.TapNative;

namespace ZeroCopyDaemon.Wires.Tap;

/// <summary>An IPv6 network that a device (by its index) has an address of.</summary>
internal readonly record struct Ipv6Network(int Device, IpAddress Address, int PrefixLength)
{
    public bool Overlaps(IpAddress other, int otherPrefixLength) => Address.SharesPrefix(other, Math.Min(PrefixLength, otherPrefixLength));
}

/// <summary>
/// What <c>ip -6 addr</c> does, for the network namespace of the thread that made it: by netlink messages (linux/rtnetlink.h, linux/if_addr.h) on a socket, which stays in that namespace. Owns the socket.
/// </summary>
internal sealed unsafe class Ipv6Control : IDisposable
{
    private const ushort Error = 2;
    private const ushort Done = 3;
    private const ushort NewAddress = 20;
    private const ushort GetAddress = 22;

    private const ushort Request = 1;
    private const ushort Acknowledge = 4;
    private const ushort Dump = 0x300;
    private const ushort CreateOrReplace = 0x500;

    private const ushort AddressAttribute = 1;
    private const ushort LocalAttribute = 2;

    /// <summary>Nobody else has the address: no need to look for a second before it is used (IFA_F_NODAD).</summary>
    private const byte NoDuplicateDetection = 2;

    private const int HeaderBytes = 16;
    private const int AddressHeaderBytes = 8;
    private const int AttributeHeaderBytes = 4;
    private const int AddressBytes = 16;
    private const int BufferBytes = 32 * 1024;

    private readonly SafeFileHandle _socket;
    private readonly byte[] _buffer = new byte[BufferBytes];

    private Ipv6Control(SafeFileHandle socket) => _socket = socket;

    /// <summary>Null if this system has no IPv6.</summary>
    public static Ipv6Control? TryOpen()
    {
        int probe = Socket(Internet6Family, DatagramCloseOnExec, 0);
        if (probe < 0)
        {
            return null;
        }

        new SafeFileHandle(probe, ownsHandle: true).Dispose();
        int fd = Socket(NetlinkFamily, RawCloseOnExec, 0);
        return fd < 0 ? null : new Ipv6Control(new SafeFileHandle(fd, ownsHandle: true));
    }

    /// <summary>Gives a device an address. Returns the error number, 0 for none.</summary>
    public int SetAddress(int device, IpAddress address, int prefixLength)
    {
        const int Length = HeaderBytes + AddressHeaderBytes + (2 * (AttributeHeaderBytes + AddressBytes));
        Span<byte> message = stackalloc byte[Length];
        message.Clear();
        WriteHeader(message, NewAddress, Request | Acknowledge | CreateOrReplace);
        Span<byte> body = message[HeaderBytes..];
        body[0] = Internet6Family;
        body[1] = (byte)prefixLength;
        body[2] = NoDuplicateDetection;
        MemoryMarshal.Write(body[4..], device);
        WriteAttribute(body[AddressHeaderBytes..], LocalAttribute, address);
        WriteAttribute(body[(AddressHeaderBytes + AttributeHeaderBytes + AddressBytes)..], AddressAttribute, address);
        int result = 0;
        int sent = Exchange(message, (type, bytes) => result = type == Error ? -MemoryMarshal.Read<int>(bytes) : result);
        return sent != 0 ? sent : result;
    }

    /// <summary>All IPv6 addresses of the namespace but the link-local ones. None if they can't be asked for.</summary>
    public List<Ipv6Network> Networks()
    {
        Span<byte> message = stackalloc byte[HeaderBytes + AddressHeaderBytes];
        message.Clear();
        WriteHeader(message, GetAddress, Request | Dump);
        message[HeaderBytes] = Internet6Family;
        var networks = new List<Ipv6Network>();
        Exchange(message, (type, bytes) =>
        {
            if (type == NewAddress && TryRead(bytes, out Ipv6Network network) && !network.Address.IsLinkLocal)
            {
                networks.Add(network);
            }
        });
        return networks;
    }

    /// <summary>
    /// Lets a device keep its IPv6 addresses while it is down, as it keeps its IPv4 address: Linux takes them away otherwise. To be called in the device's namespace; does what it can.
    /// </summary>
    public static void KeepAddressesWhileDown(string device)
    {
        try
        {
            File.WriteAllText($"/proc/sys/net/ipv6/conf/{device}/keep_addr_on_down", "1");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The daemon tells it when the address is lost.
        }
    }

    public void Dispose() => _socket.Dispose();

    private delegate void MessageVisitor(ushort type, ReadOnlySpan<byte> body);

    /// <summary>Sends a request and goes through the answers up to the last one. Returns the error number of the socket itself, 0 for none.</summary>
    private int Exchange(ReadOnlySpan<byte> request, MessageVisitor visit)
    {
        fixed (byte* bytes = request, buffer = _buffer)
        {
            if (Write(_socket, bytes, (nuint)request.Length) < 0)
            {
                return Errno;
            }

            while (true)
            {
                nint length = Read(_socket, buffer, BufferBytes);
                if (length < 0 && Errno == InterruptedError)
                {
                    continue;
                }

                if (length <= 0)
                {
                    return length < 0 ? Errno : IoError;
                }

                if (Visit(_buffer.AsSpan(0, (int)length), visit))
                {
                    return 0;
                }
            }
        }
    }

    /// <summary>True after the last answer.</summary>
    private static bool Visit(ReadOnlySpan<byte> messages, MessageVisitor visit)
    {
        while (messages.Length >= HeaderBytes)
        {
            int length = MemoryMarshal.Read<int>(messages);
            if (length < HeaderBytes || length > messages.Length)
            {
                return true;
            }

            ushort type = MemoryMarshal.Read<ushort>(messages[4..]);
            visit(type, messages[HeaderBytes..length]);
            if (type is Error or Done)
            {
                return true;
            }

            messages = messages[Math.Min((length + 3) & ~3, messages.Length)..];
        }

        return false;
    }

    private static bool TryRead(ReadOnlySpan<byte> body, out Ipv6Network network)
    {
        network = default;
        if (body.Length < AddressHeaderBytes || body[0] != Internet6Family)
        {
            return false;
        }

        ReadOnlySpan<byte> attributes = body[AddressHeaderBytes..];
        bool found = false;
        while (attributes.Length >= AttributeHeaderBytes)
        {
            int length = MemoryMarshal.Read<ushort>(attributes);
            if (length < AttributeHeaderBytes || length > attributes.Length)
            {
                break;
            }

            if (MemoryMarshal.Read<ushort>(attributes[2..]) == AddressAttribute && length == AttributeHeaderBytes + AddressBytes)
            {
                network = new Ipv6Network(MemoryMarshal.Read<int>(body[4..]), IpAddress.Read(attributes.Slice(AttributeHeaderBytes, AddressBytes)), body[1]);
                found = true;
            }

            attributes = attributes[Math.Min((length + 3) & ~3, attributes.Length)..];
        }

        return found;
    }

    private static void WriteHeader(Span<byte> message, ushort type, ushort flags)
    {
        MemoryMarshal.Write(message, message.Length);
        MemoryMarshal.Write(message[4..], type);
        MemoryMarshal.Write(message[6..], flags);
    }

    private static void WriteAttribute(Span<byte> bytes, ushort type, IpAddress address)
    {
        MemoryMarshal.Write(bytes, (ushort)(AttributeHeaderBytes + AddressBytes));
        MemoryMarshal.Write(bytes[2..], type);
        address.Write(bytes.Slice(AttributeHeaderBytes, AddressBytes));
    }
}
