using System.Net;
using System.Numerics;
using System.Security.Cryptography;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.Wires.Gateway;

/// <summary>Settings of the gateway wire. The MTU is that of the NIC it is plugged into.</summary>
public sealed record GatewayOptions
{
    /// <summary>The kernel's address on the modelled network.</summary>
    public IpAddress KernelAddress { get; init; } = IpAddress.FromV4(10, 0, 0, 1);

    /// <summary>On-link prefix length of the modelled network: covers <see cref="KernelAddress"/> and <see cref="HostPrefix"/>.</summary>
    public int PrefixLength { get; init; } = 8;

    /// <summary>Modelled hosts have addresses of this prefix, one host per real client.</summary>
    public IpAddress HostPrefix { get; init; } = IpAddress.FromV4(10, 64, 0, 0);

    /// <summary>Prefix length of <see cref="HostPrefix"/>.</summary>
    public int HostPrefixLength { get; init; } = 10;

    /// <summary>Local address of the real listening sockets that <see cref="GatewayWire.Expose(int)"/> opens.</summary>
    public IPAddress Bind { get; init; } = IPAddress.Loopback;

    /// <summary>Most real clients at once; further ones wait in the OS's backlog.</summary>
    public int MaxClients { get; init; } = 4096;

    /// <summary>Bytes of the ring that takes a client's bytes until the kernel has acknowledged them. A client has one only while there are such bytes.</summary>
    public int SendRingBytes { get; init; } = 256 << 10;

    /// <summary>Bytes of the page pool that takes what the kernel sends, all clients together.</summary>
    public int PoolBytes { get; init; } = 64 << 20;

    /// <summary>Most bytes (truesize) of that pool held for one client; less when there are many clients.</summary>
    public int MaxClientQuotaBytes { get; init; } = 1 << 20;

    /// <summary>Bytes moved in each direction for one client before it is the next one's turn.</summary>
    public int BytesPerTurn { get; init; } = 256 << 10;

    /// <summary>Connections that the OS keeps waiting on a listening socket.</summary>
    public int Backlog { get; init; } = 1024;

    /// <summary>Secret of the client-side stack; random unless a test wants otherwise.</summary>
    public UInt128 Secret { get; init; } = RandomSecret();

    /// <summary>Throws <see cref="ArgumentException"/> with what to change, if these settings can't be used.</summary>
    public void Validate()
    {
        Check(KernelAddress.IsV4 && HostPrefix.IsV4, "The gateway's modelled network is IPv4: give KernelAddress and HostPrefix as IPv4 addresses.");
        Check(PrefixLength is >= 1 and <= 30, $"The gateway's PrefixLength must be from 1 to 30, not {PrefixLength}.");
        Check(HostPrefixLength is >= 2 and <= 30 && HostPrefixLength >= PrefixLength, $"The gateway's HostPrefixLength must be from PrefixLength to 30, not {HostPrefixLength}.");
        Check(KernelAddress.SharesPrefix(HostPrefix, PrefixLength), $"The gateway's HostPrefix {HostPrefix} must lie on the kernel's network {KernelAddress}/{PrefixLength}.");
        Check(!KernelAddress.SharesPrefix(HostPrefix, HostPrefixLength), $"The kernel's address {KernelAddress} must not be one of the gateway's hosts {HostPrefix}/{HostPrefixLength}.");
        Check(MaxClients >= 1 && MaxClients <= (1 << (32 - HostPrefixLength)) - 2, $"The gateway's MaxClients must be from 1 to as many hosts as its prefix has, not {MaxClients}.");
        Check(SendRingBytes is >= 4096 and <= 1 << 30, $"The gateway's SendRingBytes must be from 4096 to 1 GiB, not {SendRingBytes}.");
        Check(PoolBytes >= 1 << 20, $"The gateway's PoolBytes must be at least 1 MiB, not {PoolBytes}.");
        Check(MaxClientQuotaBytes >= 4096 && BytesPerTurn >= 4096 && Backlog >= 1, "The gateway's MaxClientQuotaBytes and BytesPerTurn must be at least 4096, and its Backlog at least 1.");
    }

    /// <summary>One page takes one frame's payload: the smallest power of two that the MTU fits in.</summary>
    internal static int PageSizeFor(int mtu) => (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(mtu, 2048));

    internal static NicOptions NicFor(int mtu, int pages) => new()
    {
        Mtu = mtu,
        Placement = Placement.Split,
        RxRingSize = Math.Clamp((int)BitOperations.RoundUpToPowerOf2((uint)(pages / 16)), 16, 1024),
        TxRingSize = 1024,
        RxUsecs = 0,
        RxFrames = 1,
        PauseFrames = true,
    };

    private static void Check(bool condition, string message)
    {
        if (!condition)
        {
            throw new ArgumentException(message);
        }
    }

    private static UInt128 RandomSecret()
    {
        Span<byte> bytes = stackalloc byte[16];
        RandomNumberGenerator.Fill(bytes);
        return new UInt128(BitConverter.ToUInt64(bytes), BitConverter.ToUInt64(bytes[8..]));
    }
}
