using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Nic.Rx;

namespace ZeroCopyDaemon.Wires.Tap;

/// <summary>The Linux calls, numbers and structures of TUN/TAP devices (linux/if_tun.h, linux/if.h, linux/virtio_net.h).</summary>
internal static unsafe partial class TapNative
{
    public const int InterruptedError = 4;
    public const int IoError = 5;
    public const int TryAgainError = 11;
    public const int AccessError = 13;
    public const int FaultError = 14;
    public const int BusyError = 16;
    public const int NoDeviceError = 19;
    public const int InvalidError = 22;
    public const int NotPermittedError = 1;
    public const int NoEntryError = 2;
    public const int NoBuffersError = 105;
    public const int BadDescriptorStateError = 77;

    public const int OpenReadOnlyCloseOnExec = 0x80000;
    public const int OpenReadWriteNonBlockingCloseOnExec = 2 | 0x800 | 0x80000;
    public const int NewNetworkNamespace = 0x40000000;

    public const short TapFlag = 0x0002;
    public const short MultiQueueFlag = 0x0100;
    public const short NoPacketInfoFlag = 0x1000;
    public const short VnetHeaderFlag = 0x4000;
    public const short ExclusiveFlag = unchecked((short)0x8000);

    public const nuint SetInterface = 0x400454ca;
    public const nuint SetOffload = 0x400454d0;

    public const uint OffloadChecksum = 1;
    public const uint OffloadTso4 = 2;
    public const uint OffloadTso6 = 4;

    public const nuint GetName = 0x8910;
    public const nuint GetConfiguration = 0x8912;
    public const nuint GetFlags = 0x8913;
    public const nuint SetFlags = 0x8914;
    public const nuint GetAddress = 0x8915;
    public const nuint SetAddress = 0x8916;
    public const nuint GetNetmask = 0x891b;
    public const nuint SetNetmask = 0x891c;
    public const nuint GetMtu = 0x8921;
    public const nuint SetMtu = 0x8922;
    public const nuint GetIndex = 0x8933;
    public const nuint SetQueueLength = 0x8943;

    public const short InterfaceUp = 1;
    public const short InterfaceRunning = 0x40;

    public const int InternetFamily = 2;
    public const int Internet6Family = 10;
    public const int NetlinkFamily = 16;
    public const int DatagramCloseOnExec = 2 | 0x80000;
    public const int RawCloseOnExec = 3 | 0x80000;
    public const int RawNonBlockingCloseOnExec = RawCloseOnExec | 0x800;
    public const uint LinkGroup = 1;
    public const uint Ipv4AddressGroup = 0x10;
    public const uint Ipv6AddressGroup = 0x100;

    /// <summary>Bytes of struct virtio_net_hdr, what a TAP puts before each frame.</summary>
    public const int VnetHeaderBytes = 10;

    /// <summary>The last call's errno.</summary>
    public static int Errno => Marshal.GetLastPInvokeError();

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    public static partial int Control(SafeFileHandle fd, nuint request, InterfaceRequest* argument);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    public static partial int Control(SafeFileHandle fd, nuint request, nuint argument);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    public static partial int Control(SafeFileHandle fd, nuint request, InterfaceList* argument);

    [LibraryImport("libc", EntryPoint = "readv", SetLastError = true)]
    public static partial nint ReadVector(int fd, BufferSegment* segments, int count);

    [LibraryImport("libc", EntryPoint = "writev", SetLastError = true)]
    public static partial nint WriteVector(int fd, BufferSegment* segments, int count);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    public static partial nint Read(SafeFileHandle fd, void* buffer, nuint length);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    public static partial nint Write(SafeFileHandle fd, void* buffer, nuint length);

    [LibraryImport("libc", EntryPoint = "setns", SetLastError = true)]
    public static partial int SetNamespace(SafeFileHandle fd, int kind);

    [LibraryImport("libc", EntryPoint = "socket", SetLastError = true)]
    public static partial int Socket(int family, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "bind", SetLastError = true)]
    public static partial int Bind(SafeFileHandle fd, NetlinkAddress* address, int length);

    /// <summary>The last call's error as people read it.</summary>
    public static string ErrorText(int errno) => $"{Marshal.GetPInvokeErrorMessage(errno)} (errno {errno})";

    /// <summary>struct ifreq of 64-bit Linux: a name, and a union of which the members here are used.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 40)]
    public struct InterfaceRequest
    {
        public const int NameBytes = 16;

        [FieldOffset(0)]
        public fixed byte Name[NameBytes];

        [FieldOffset(16)]
        public short Flags;

        [FieldOffset(16)]
        public int Number;

        /// <summary>sockaddr_in: family, port, address in network order.</summary>
        [FieldOffset(16)]
        public ushort Family;

        [FieldOffset(20)]
        public uint AddressBigEndian;

        /// <summary>A request about a device; the name is known to fit.</summary>
        public static InterfaceRequest For(string name)
        {
            InterfaceRequest request = default;
            Encoding.ASCII.GetBytes(name, new Span<byte>(request.Name, NameBytes - 1));
            return request;
        }

        public static InterfaceRequest For(string name, IpAddress address)
        {
            InterfaceRequest request = For(name);
            request.Family = InternetFamily;
            request.AddressBigEndian = BinaryPrimitives.ReverseEndianness(address.V4);
            return request;
        }

        /// <summary>The name that Linux filled in.</summary>
        public readonly string ReadName()
        {
            fixed (byte* name = Name)
            {
                var bytes = new ReadOnlySpan<byte>(name, NameBytes);
                int end = bytes.IndexOf((byte)0);
                return Encoding.ASCII.GetString(end < 0 ? bytes : bytes[..end]);
            }
        }

        /// <summary>The IPv4 address that Linux filled in.</summary>
        public readonly IpAddress ReadAddress() => IpAddress.FromV4(BinaryPrimitives.ReverseEndianness(AddressBigEndian));
    }

    /// <summary>struct ifconf.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct InterfaceList
    {
        public int Bytes;
        public InterfaceRequest* Requests;
    }

    /// <summary>struct sockaddr_nl.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct NetlinkAddress
    {
        public ushort Family;
        public ushort Padding;
        public uint Port;
        public uint Groups;
    }

    /// <summary>struct virtio_net_hdr, in the machine's byte order.</summary>
    [StructLayout(LayoutKind.Sequential, Pack = 2)]
    public struct VnetHeader
    {
        /// <summary>The checksum at <see cref="ChecksumOffset"/> behind <see cref="ChecksumStart"/> is partial.</summary>
        public const byte NeedsChecksum = 1;

        /// <summary>The checksums have been verified.</summary>
        public const byte DataValid = 2;

        public const byte GsoTcp4 = 1;
        public const byte GsoTcp6 = 4;
        public const byte GsoEcn = 0x80;

        public byte Flags;
        public byte GsoType;
        public ushort HeaderLength;
        public ushort GsoSize;
        public ushort ChecksumStart;
        public ushort ChecksumOffset;
    }
}
