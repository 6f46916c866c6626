using BenchmarkDotNet.Attributes;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Benchmarks;

/// <summary>The Internet checksum against the loop of RFC 1071 section 4.1, from a bare header to a super-frame.</summary>
public class ChecksumBenchmarks
{
    private byte[] _bytes = [];

    /// <summary>Bytes: an IPv4 header, the smallest frame, a segment, a page, a TSO super-frame.</summary>
    [Params(20, 64, 1460, 4096, 65536)]
    public int Bytes { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _bytes = new byte[Bytes];
        new Random(1).NextBytes(_bytes);
        if (Scalar() != Vectorised())
        {
            throw new InvalidOperationException("The two sums differ: there is nothing to compare.");
        }
    }

    /// <summary>Word by word.</summary>
    [Benchmark(Baseline = true)]
    public ushort Scalar()
    {
        ReadOnlySpan<byte> bytes = _bytes;
        uint sum = 0;
        int i = 0;
        for (; i + 1 < bytes.Length; i += 2)
        {
            sum += (uint)((bytes[i] << 8) | bytes[i + 1]);
            sum = (sum & 0xFFFF) + (sum >> 16);
        }

        if (i < bytes.Length)
        {
            sum += (uint)bytes[i] << 8;
        }

        sum = (sum & 0xFFFF) + (sum >> 16);
        return (ushort)~((sum & 0xFFFF) + (sum >> 16));
    }

    /// <summary>What NIC and stack use.</summary>
    [Benchmark]
    public ushort Vectorised() => InternetChecksum.Compute(_bytes);
}
