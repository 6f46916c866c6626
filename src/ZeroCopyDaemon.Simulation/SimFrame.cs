using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Simulation;

/// <summary>
/// A view over a frame as it leaves a NIC of ours. It is a second reading of the formats, apart from the stack's own, so that an error in one shows against the other.
/// Fields of TCP may only be read when <see cref="IsTcp"/>.
/// </summary>
internal readonly ref struct SimFrame(ReadOnlySpan<byte> bytes)
{
    private const int Ethernet = 14;
    private readonly ReadOnlySpan<byte> _bytes = bytes;

    public ReadOnlySpan<byte> Bytes => _bytes;

    public ushort EtherType => _bytes.Length >= Ethernet ? U16(12) : (ushort)0;

    public bool IsArp => EtherType == 0x0806 && _bytes.Length >= Ethernet + 28;

    public bool IsIpv4 => EtherType == 0x0800 && _bytes.Length >= Ethernet + 20 && IpTotalLength >= IpHeaderLength && Ethernet + IpTotalLength <= _bytes.Length;

    public bool IsIpv6 => EtherType == 0x86DD && _bytes.Length >= Ethernet + 40 && _bytes[Ethernet] >> 4 == 6 && Ethernet + IpTotalLength <= _bytes.Length;

    public bool IsIp => IsIpv4 || IsIpv6;

    /// <summary>A neighbour solicitation or advertisement.</summary>
    public bool IsNeighborDiscovery => IsIpv6 && Protocol == 58 && IpTotalLength >= 40 + 24 && _bytes[Ethernet + 40] is 135 or 136;

    public int IpHeaderLength => Is6 ? 40 : (_bytes[Ethernet] & 0xF) * 4;

    public int IpTotalLength => Is6 ? 40 + U16(Ethernet + 4) : U16(Ethernet + 2);

    /// <summary>What follows the IP header; no host of a simulation sends extension headers.</summary>
    public byte Protocol => _bytes[Ethernet + (Is6 ? 6 : 9)];

    public bool IsTcp => IsIp && Protocol == 6 && IpTotalLength >= IpHeaderLength + 20 && TcpHeaderLength >= 20 && IpHeaderLength + TcpHeaderLength <= IpTotalLength;

    public ushort SourcePort => U16(Tcp);

    public ushort DestinationPort => U16(Tcp + 2);

    public SeqNumber Seq => new(U32(Tcp + 4));

    public SeqNumber Ack => new(U32(Tcp + 8));

    public int TcpHeaderLength => (_bytes[Tcp + 12] >> 4) * 4;

    public TcpFlags Flags => (TcpFlags)_bytes[Tcp + 13];

    public ushort Window => U16(Tcp + 14);

    public ReadOnlySpan<byte> Options => _bytes.Slice(Tcp + 20, TcpHeaderLength - 20);

    public ReadOnlySpan<byte> Payload => _bytes[(Tcp + TcpHeaderLength)..(Ethernet + IpTotalLength)];

    /// <summary>The window scale that a SYN offers, or -1.</summary>
    public int WindowScale
    {
        get
        {
            ReadOnlySpan<byte> options = Options;
            while (options.Length > 1 && options[0] != 0)
            {
                if (options[0] == 1)
                {
                    options = options[1..];
                    continue;
                }

                if (options[0] == 3)
                {
                    return options[2];
                }

                options = options[Math.Max((int)options[1], 2)..];
            }

            return -1;
        }
    }

    public bool IpChecksumRight => Is6 || Sum(_bytes.Slice(Ethernet, IpHeaderLength), 0) == 0xFFFF;

    /// <summary>Of what sums up a pseudo-header: TCP, and ICMPv6.</summary>
    public bool TransportChecksumRight
    {
        get
        {
            ReadOnlySpan<byte> segment = _bytes.Slice(Tcp, IpTotalLength - IpHeaderLength);
            uint pseudo = Sum(Is6 ? _bytes.Slice(Ethernet + 8, 32) : _bytes.Slice(Ethernet + 12, 8), 0);
            return Sum(segment, pseudo + Protocol + (uint)segment.Length) == 0xFFFF;
        }
    }

    private bool Is6 => EtherType == 0x86DD;

    private int Tcp => Ethernet + IpHeaderLength;

    private static uint Sum(ReadOnlySpan<byte> bytes, uint initial)
    {
        ulong sum = initial;
        while (bytes.Length >= 4)
        {
            sum += BinaryPrimitives.ReadUInt32BigEndian(bytes);
            bytes = bytes[4..];
        }

        if (bytes.Length >= 2)
        {
            sum += BinaryPrimitives.ReadUInt16BigEndian(bytes);
            bytes = bytes[2..];
        }

        if (bytes.Length == 1)
        {
            sum += (uint)bytes[0] << 8;
        }

        while (sum >> 16 != 0)
        {
            sum = (sum & 0xFFFF) + (sum >> 16);
        }

        return (uint)sum;
    }

    private ushort U16(int offset) => BinaryPrimitives.ReadUInt16BigEndian(_bytes[offset..]);

    private uint U32(int offset) => BinaryPrimitives.ReadUInt32BigEndian(_bytes[offset..]);
}
