using ZeroCopyDaemon.Memory;

namespace ZeroCopyDaemon.Nic.Rss;

/// <summary>
/// The Toeplitz hash of Microsoft's RSS specification. A key's contribution is looked up byte by byte in tables made once (1 KiB for each input byte), instead of
/// being shifted bit by bit. Immutable.
/// </summary>
public sealed class ToeplitzHash
{
    /// <summary>Bytes of a key.</summary>
    public const int KeyBytes = 40;

    /// <summary>Longest input: addresses and ports of IPv6.</summary>
    public const int MaxInputBytes = KeyBytes - sizeof(uint);

    private readonly uint[] _tables = new uint[MaxInputBytes * 256];
    private readonly byte[] _key;

    /// <param name="key"><see cref="KeyBytes"/> bytes; empty = <see cref="DefaultKey"/>.</param>
    public ToeplitzHash(ReadOnlySpan<byte> key)
    {
        _key = (key.IsEmpty ? DefaultKey : key).ToArray();
        if (_key.Length != KeyBytes)
        {
            throw new ArgumentException($"The RSS key must have {KeyBytes} bytes, not {_key.Length}.");
        }

        for (int position = 0; position < MaxInputBytes; position++)
        {
            // The 40 key bits that the eight bits of this input byte slide a 32-bit window over.
            ulong bits = 0;
            for (int i = 0; i < 5; i++)
            {
                bits = (bits << 8) | _key[position + i];
            }

            for (int value = 0; value < 256; value++)
            {
                uint hash = 0;
                for (int bit = 0; bit < 8; bit++)
                {
                    if ((value & (0x80 >> bit)) != 0)
                    {
                        hash ^= (uint)(bits >> (8 - bit));
                    }
                }

                _tables[(position * 256) + value] = hash;
            }
        }
    }

    /// <summary>The key that the specification's verification suite uses, and most drivers as a default.</summary>
    public static ReadOnlySpan<byte> DefaultKey =>
    [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
        0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    /// <summary>The key in use.</summary>
    public ReadOnlySpan<byte> Key => _key;

    /// <summary>
    /// Hashes source address, destination address and, where there are ports, source and destination port, in network byte order as they lie in the packet.
    /// </summary>
    public uint Hash(ReadOnlySpan<byte> input)
    {
        Invariant.That(input.Length <= MaxInputBytes, "the input of an RSS hash is no longer than its key allows");
        uint hash = 0;
        ReadOnlySpan<uint> tables = _tables;
        int table = 0;
        foreach (byte value in input)
        {
            hash ^= tables[table + value];
            table += 256;
        }

        return hash;
    }
}
