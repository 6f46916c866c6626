using System.Globalization;

namespace ZeroCopyDaemon.Net.Addresses;

/// <summary>A 48-bit IEEE 802 MAC address, kept in the low bits of one word.</summary>
public readonly record struct EthernetAddress(ulong Value)
{
    /// <summary>ff:ff:ff:ff:ff:ff.</summary>
    public static EthernetAddress Broadcast => new(0xFFFF_FFFF_FFFF);

    /// <summary>Reads six bytes in network order.</summary>
    public static EthernetAddress Read(ReadOnlySpan<byte> bytes) => new(
        ((ulong)bytes[0] << 40) | ((ulong)bytes[1] << 32) | ((ulong)bytes[2] << 24) | ((ulong)bytes[3] << 16) | ((ulong)bytes[4] << 8) | bytes[5]);

    /// <summary>Writes six bytes in network order.</summary>
    public void Write(Span<byte> destination)
    {
        destination[5] = (byte)Value;
        destination[4] = (byte)(Value >> 8);
        destination[3] = (byte)(Value >> 16);
        destination[2] = (byte)(Value >> 24);
        destination[1] = (byte)(Value >> 32);
        destination[0] = (byte)(Value >> 40);
    }

    /// <summary>The group bit: multicast and broadcast.</summary>
    public bool IsGroup => (Value & 0x0100_0000_0000) != 0;

    /// <summary>A locally administered address made from an IPv4 address: 02:5a followed by its four bytes. For modelled hosts.</summary>
    public static EthernetAddress ForHost(IpAddress address) => new(0x025A_0000_0000UL | address.V4);

    /// <summary>The MAC that an IPv6 group's packets are sent to: 33:33 and its last four bytes (RFC 2464 section 7).</summary>
    public static EthernetAddress ForGroup(IpAddress group) => new(0x3333_0000_0000UL | (uint)group.Low);

    /// <inheritdoc/>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{(byte)(Value >> 40):x2}:{(byte)(Value >> 32):x2}:{(byte)(Value >> 24):x2}:{(byte)(Value >> 16):x2}:{(byte)(Value >> 8):x2}:{(byte)Value:x2}");
}
