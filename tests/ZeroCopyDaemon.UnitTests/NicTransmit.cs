using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Posts frames given as arrays on a driver's TX ring, their transport checksums partial.</summary>
internal static unsafe class NicTransmit
{
    // Posted payload is read later, so what is posted without a scope stays pinned for the process's life.
    private static readonly List<byte[]> Pinned = [];

    /// <summary>Posts a frame that may be worked off at any later time.</summary>
    public static bool Post(NicDriver driver, byte[] frame, int mss = 0, int headerBytes = NicFrames.TcpHeaders, int[]? cuts = null, bool partial = true)
    {
        if (headerBytes == NicFrames.TcpHeaders && mss > 0)
        {
            headerBytes = NicFrames.Ethernet + ((frame[14] & 15) * 4);
            headerBytes += (frame[headerBytes + 12] >> 4) * 4;
        }

        byte[] pinned = GC.AllocateUninitializedArray<byte>(frame.Length + 1, pinned: true);
        frame.CopyTo(pinned, 0);
        Pinned.Add(pinned);
        fixed (byte* bytes = pinned)
        {
            return Post(driver, bytes, frame, mss, headerBytes, cuts ?? [], partial);
        }
    }

    /// <summary>Posts a frame and keeps it pinned during <paramref name="action"/>, which works it off.</summary>
    public static void WhilePinned(byte[] frame, int mss, int[] cuts, int headerBytes, NicDriver driver, Action action)
    {
        fixed (byte* bytes = frame)
        {
            Assert.True(Post(driver, bytes, frame, mss, headerBytes, cuts, partial: true));
            action();
        }
    }

    private static bool Post(NicDriver driver, byte* bytes, byte[] frame, int mss, int headerBytes, int[] cuts, bool partial)
    {
        headerBytes = Math.Min(headerBytes, frame.Length);
        byte[] headers = frame[..headerBytes];
        if (partial)
        {
            int transport = NicFrames.Ethernet + ((frame[14] & 15) * 4);
            ushort sum = NicFrames.PseudoHeaderSum(frame, frame.Length - transport);
            int field = transport + (frame[23] == 6 ? 16 : 6);
            if (field + 2 <= headers.Length)
            {
                BinaryPrimitives.WriteUInt16BigEndian(headers.AsSpan(field), sum);
            }
        }

        Span<TxChunk> chunks = stackalloc TxChunk[cuts.Length + 1];
        int at = headerBytes;
        for (int i = 0; i < cuts.Length; i++)
        {
            int length = Math.Min(cuts[i], frame.Length - at);
            chunks[i] = new TxChunk(bytes + at, length);
            at += length;
        }

        chunks[^1] = new TxChunk(bytes + at, frame.Length - at);
        bool posted = driver.TryTransmit(new TxFrame(headers, frame.Length == headerBytes ? [] : chunks, frame.Length - headerBytes, mss, partial));
        // The driver must have copied them.
        headers.AsSpan().Fill(0xee);
        return posted;
    }
}
