using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace ZeroCopyDaemon.Net.Addresses;

/// <summary>
/// An IP address of either family in 16 bytes; IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2), so that tables have one key for both.
/// </summary>
public readonly struct IpAddress : IEquatable<IpAddress>
{
    private readonly ulong _high;
    private readonly ulong _low;

    private const ulong MappedPrefix = 0x0000_FFFF_0000_0000;

    /// <param name="high">First eight bytes in network order.</param>
    /// <param name="low">Last eight bytes in network order.</param>
    public IpAddress(ulong high, ulong low)
    {
        _high = high;
        _low = low;
    }

    /// <summary>The unspecified address: stands for "any".</summary>
    public static IpAddress Any => default;

    /// <summary>An IPv4 address from its 32 bits in host order: 0x0A000001 is 10.0.0.1.</summary>
    public static IpAddress FromV4(uint address) => new(0, MappedPrefix | address);

    /// <summary>An IPv4 address from its four dotted parts.</summary>
    public static IpAddress FromV4(byte a, byte b, byte c, byte d) => FromV4(((uint)a << 24) | ((uint)b << 16) | ((uint)c << 8) | d);

    /// <summary>ff02::1: everybody on the link.</summary>
    public static IpAddress AllNodes => new(0xFF02_0000_0000_0000, 1);

    /// <summary>The link-local IPv6 address that a MAC makes (RFC 4291 appendix A, RFC 2464 section 5).</summary>
    public static IpAddress LinkLocalOf(EthernetAddress hardware)
    {
        const ulong UniversalLocalBit = 0x0200_0000_0000_0000;
        ulong upper = hardware.Value >> 24, lower = hardware.Value & 0xFF_FFFF;
        return new(0xFE80_0000_0000_0000, ((upper << 40) | 0xFF_FE00_0000 | lower) ^ UniversalLocalBit);
    }

    /// <summary>The group that neighbour solicitations for this IPv6 address are sent to (RFC 4291 section 2.7.1).</summary>
    public IpAddress SolicitedNode => new(0xFF02_0000_0000_0000, 0x1_FF00_0000 | (_low & 0xFF_FFFF));

    /// <summary>Reads 4 (IPv4) or 16 (IPv6) bytes in network order.</summary>
    public static IpAddress Read(ReadOnlySpan<byte> bytes) => bytes.Length == 4
        ? FromV4(BinaryPrimitives.ReadUInt32BigEndian(bytes))
        : new(BinaryPrimitives.ReadUInt64BigEndian(bytes), BinaryPrimitives.ReadUInt64BigEndian(bytes[8..]));

    /// <summary>True for an IPv4 address.</summary>
    public bool IsV4 => _high == 0 && (_low & 0xFFFF_FFFF_0000_0000) == MappedPrefix;

    /// <summary>True for the unspecified address of either family.</summary>
    public bool IsAny => (_high | _low) == 0 || (IsV4 && V4 == 0);

    /// <summary>IPv4 multicast (224.0.0.0/4) or IPv6 multicast (ff00::/8).</summary>
    public bool IsMulticast => IsV4 ? (V4 >> 28) == 0xE : (_high >> 56) == 0xFF;

    /// <summary>127.0.0.0/8, or ::1.</summary>
    public bool IsLoopback => IsV4 ? (V4 >> 24) == 127 : _high == 0 && _low == 1;

    /// <summary>An IPv6 address that means something on one link only (fe80::/10, RFC 4291 section 2.5.6).</summary>
    public bool IsLinkLocal => _high >> 54 == 0xFE80 >> 6;

    /// <summary>255.255.255.255.</summary>
    public bool IsLimitedBroadcast => IsV4 && V4 == 0xFFFF_FFFF;

    /// <summary>The 32 bits of an IPv4 address in host order.</summary>
    public uint V4 => (uint)_low;

    /// <summary>First eight bytes.</summary>
    public ulong High => _high;

    /// <summary>Last eight bytes.</summary>
    public ulong Low => _low;

    /// <summary>Writes 4 or 16 bytes in network order, as many as <paramref name="destination"/> has.</summary>
    public void Write(Span<byte> destination)
    {
        if (destination.Length == 4)
        {
            BinaryPrimitives.WriteUInt32BigEndian(destination, V4);
        }
        else
        {
            BinaryPrimitives.WriteUInt64BigEndian(destination, _high);
            BinaryPrimitives.WriteUInt64BigEndian(destination[8..], _low);
        }
    }

    /// <summary>True if the first <paramref name="prefixLength"/> bits are those of <paramref name="other"/> (counted within the address's own family).</summary>
    public bool SharesPrefix(IpAddress other, int prefixLength)
    {
        if (IsV4 != other.IsV4)
        {
            return false;
        }

        int bits = IsV4 ? prefixLength + 96 : prefixLength;
        ulong highMask = bits >= 64 ? ulong.MaxValue : bits == 0 ? 0 : ulong.MaxValue << (64 - bits);
        ulong lowMask = bits <= 64 ? 0 : bits >= 128 ? ulong.MaxValue : ulong.MaxValue << (128 - bits);
        return ((_high ^ other._high) & highMask) == 0 && ((_low ^ other._low) & lowMask) == 0;
    }

    /// <summary>Parses dotted IPv4 or IPv6 text.</summary>
    public static bool TryParse(string? text, out IpAddress address)
    {
        address = default;
        if (!System.Net.IPAddress.TryParse(text, out System.Net.IPAddress? parsed))
        {
            return false;
        }

        Span<byte> bytes = stackalloc byte[16];
        parsed.TryWriteBytes(bytes, out int length);
        address = Read(bytes[..length]);
        return true;
    }

    /// <summary>Parses dotted IPv4 or IPv6 text; throws <see cref="FormatException"/>.</summary>
    public static IpAddress Parse(string text) => TryParse(text, out IpAddress address) ? address : throw new FormatException($"'{text}' is not an IP address.");

    /// <inheritdoc/>
    public bool Equals(IpAddress other) => _high == other._high && _low == other._low;

    /// <inheritdoc/>
    public override bool Equals([NotNullWhen(true)] object? obj) => obj is IpAddress other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(_high, _low);

    public static bool operator ==(IpAddress left, IpAddress right) => left.Equals(right);

    public static bool operator !=(IpAddress left, IpAddress right) => !left.Equals(right);

    /// <inheritdoc/>
    public override string ToString()
    {
        if (IsV4)
        {
            return string.Create(CultureInfo.InvariantCulture, $"{(byte)(V4 >> 24)}.{(byte)(V4 >> 16)}.{(byte)(V4 >> 8)}.{(byte)V4}");
        }

        Span<byte> bytes = stackalloc byte[16];
        Write(bytes);
        return new System.Net.IPAddress(bytes).ToString();
    }
}

/// <summary>An address and a TCP port (host order).</summary>
public readonly record struct IpEndpoint(IpAddress Address, ushort Port)
{
    /// <inheritdoc/>
    public override string ToString() => Address.IsV4 || Address.IsAny
        ? string.Create(CultureInfo.InvariantCulture, $"{(Address.IsAny ? "*" : Address.ToString())}:{Port}")
        : string.Create(CultureInfo.InvariantCulture, $"[{Address}]:{Port}");
}
