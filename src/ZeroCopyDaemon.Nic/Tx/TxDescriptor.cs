using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Net.Devices;

namespace ZeroCopyDaemon.Nic.Tx;

/// <summary>A frame on the TX ring: its headers inline (the driver copied them), its payload by reference.</summary>
internal unsafe struct TxDescriptor
{
    /// <summary>Most payload chunks of a frame: as many as a page-cut 64 KiB has at worst, and a few.</summary>
    public const int MaxChunks = 18;

    public ChunkArray Chunks;

    public fixed byte Headers[TxFrame.MaxHeaderBytes];

    public int HeaderLength;

    public int ChunkCount;

    public int PayloadLength;

    /// <summary>Payload bytes per wire segment; 0 = one wire frame.</summary>
    public int Mss;

    /// <summary>The checksum field still holds the pseudo-header's sum.</summary>
    public bool ChecksumPartial;

    [InlineArray(MaxChunks)]
    public struct ChunkArray
    {
        private TxChunk _first;
    }
}
