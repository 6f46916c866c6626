using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Packets;

/// <summary>A view over the bytes of an Ethernet II frame, from the destination address on.</summary>
public readonly ref struct EthernetView
{
    private readonly ReadOnlySpan<byte> _bytes;

    private EthernetView(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    /// <summary>False if the bytes are shorter than the header.</summary>
    public static bool TryParse(ReadOnlySpan<byte> bytes, out EthernetView view)
    {
        if (bytes.Length < EthernetHeader.Length)
        {
            view = default;
            return false;
        }

        view = new EthernetView(bytes);
        return true;
    }

    public EthernetAddress Destination => EthernetAddress.Read(_bytes);

    public EthernetAddress Source => EthernetAddress.Read(_bytes[EthernetHeader.SourceOffset..]);

    public EtherType EtherType => (EtherType)BinaryPrimitives.ReadUInt16BigEndian(_bytes[EthernetHeader.EtherTypeOffset..]);

    /// <summary>What follows the header.</summary>
    public ReadOnlySpan<byte> Payload => _bytes[EthernetHeader.Length..];
}

/// <summary>Layout and writer of the Ethernet II header.</summary>
public static class EthernetHeader
{
    /// <summary>Bytes of the header; no VLAN tag, and the FCS isn't ours to see.</summary>
    public const int Length = 14;

    /// <summary>Shortest frame on a wire, FCS not counted: shorter ones are padded (IEEE 802.3).</summary>
    public const int MinFrameLength = 60;

    public const int DestinationOffset = 0;
    public const int SourceOffset = 6;
    public const int EtherTypeOffset = 12;

    /// <summary>Writes the header; returns <see cref="Length"/>.</summary>
    public static int Write(Span<byte> bytes, EthernetAddress destination, EthernetAddress source, EtherType etherType)
    {
        BinaryPrimitives.WriteUInt16BigEndian(bytes[EtherTypeOffset..], (ushort)etherType);
        source.Write(bytes[SourceOffset..]);
        destination.Write(bytes);
        return Length;
    }
}
