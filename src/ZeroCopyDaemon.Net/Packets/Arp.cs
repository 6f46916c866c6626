using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Packets;

/// <summary>A view over an ARP packet for IPv4 over Ethernet (RFC 826).</summary>
public readonly ref struct ArpView
{
    private readonly ReadOnlySpan<byte> _bytes;

    private ArpView(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    /// <summary>False if the bytes are too short or speak of anything but IPv4 over Ethernet. <paramref name="bytes"/> starts after the Ethernet header; padding may follow.</summary>
    public static bool TryParse(ReadOnlySpan<byte> bytes, out ArpView view)
    {
        if (bytes.Length < ArpPacket.Length || BinaryPrimitives.ReadUInt64BigEndian(bytes) >> 16 != ArpPacket.Prefix)
        {
            view = default;
            return false;
        }

        view = new ArpView(bytes);
        return true;
    }

    public ArpOperation Operation => (ArpOperation)BinaryPrimitives.ReadUInt16BigEndian(_bytes[ArpPacket.OperationOffset..]);

    public EthernetAddress SenderHardware => EthernetAddress.Read(_bytes[ArpPacket.SenderHardwareOffset..]);

    public IpAddress SenderProtocol => IpAddress.Read(_bytes.Slice(ArpPacket.SenderProtocolOffset, 4));

    public EthernetAddress TargetHardware => EthernetAddress.Read(_bytes[ArpPacket.TargetHardwareOffset..]);

    public IpAddress TargetProtocol => IpAddress.Read(_bytes.Slice(ArpPacket.TargetProtocolOffset, 4));
}

/// <summary>Layout and writer of an ARP packet for IPv4 over Ethernet.</summary>
public static class ArpPacket
{
    public const int Length = 28;
    public const int OperationOffset = 6;
    public const int SenderHardwareOffset = 8;
    public const int SenderProtocolOffset = 14;
    public const int TargetHardwareOffset = 18;
    public const int TargetProtocolOffset = 24;

    /// <summary>The first six bytes: hardware space 1 (Ethernet), protocol space 0x0800, lengths 6 and 4.</summary>
    internal const ulong Prefix = 0x0001_0800_0604;

    /// <summary>Writes the packet; returns <see cref="Length"/>.</summary>
    public static int Write(
        Span<byte> bytes, ArpOperation operation, EthernetAddress senderHardware, IpAddress senderProtocol, EthernetAddress targetHardware, IpAddress targetProtocol)
    {
        bytes = bytes[..Length];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, (Prefix << 16) | (ushort)operation);
        senderHardware.Write(bytes[SenderHardwareOffset..]);
        senderProtocol.Write(bytes.Slice(SenderProtocolOffset, 4));
        targetHardware.Write(bytes[TargetHardwareOffset..]);
        targetProtocol.Write(bytes.Slice(TargetProtocolOffset, 4));
        return Length;
    }
}
