using System.Collections.Concurrent;
using System.Security.Cryptography;
using ZeroCopyDaemon.Cli.Apps.Http;
using ZeroCopyDaemon.Cli.TestClient;

namespace ZeroCopyDaemon.InteropTests;

/// <summary>The bytes that are sent and fetched: the pattern of the HTTP app's downloads.</summary>
internal static class Body
{
    private const int BlockBytes = 256 * 1024;

    private static readonly ConcurrentDictionary<long, string> Digests = [];

    public static Pattern Pattern { get; } = new(HttpConnection.DownloadSeed);

    /// <summary>SHA-256 of the first so many bytes, as <c>sha256sum</c> writes it.</summary>
    public static string Digest(long bytes) => Digests.GetOrAdd(bytes, static count =>
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] block = new byte[BlockBytes];
        for (long position = 0; position < count; position += BlockBytes)
        {
            Span<byte> part = block.AsSpan(0, (int)Math.Min(BlockBytes, count - position));
            Pattern.Fill(position, part);
            hash.AppendData(part);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    });

    /// <summary>Writes so many bytes to a stream.</summary>
    public static async Task WriteAsync(Stream to, long from, long bytes)
    {
        byte[] block = new byte[BlockBytes];
        for (long done = 0; done < bytes; done += BlockBytes)
        {
            int length = (int)Math.Min(BlockBytes, bytes - done);
            Pattern.Fill(from + done, block.AsSpan(0, length));
            await to.WriteAsync(block.AsMemory(0, length));
        }
    }

    /// <summary>Reads a stream to its end; its length and its SHA-256.</summary>
    public static async Task<(long Bytes, string Digest)> ReadAsync(Stream from)
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] block = new byte[BlockBytes];
        long bytes = 0;
        while (await from.ReadAsync(block) is > 0 and int length)
        {
            hash.AppendData(block.AsSpan(0, length));
            bytes += length;
        }

        return (bytes, Convert.ToHexStringLower(hash.GetHashAndReset()));
    }

    /// <summary>1 MiB, 64 MiB, 1 GiB and the like as bytes.</summary>
    public static long Parse(string size) => ZeroCopyDaemon.Cli.Output.ByteSize.TryParse(size, out long bytes, out string problem) ? bytes : throw new FormatException(problem);
}
