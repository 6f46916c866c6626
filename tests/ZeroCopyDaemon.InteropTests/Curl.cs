using System.Diagnostics;

namespace ZeroCopyDaemon.InteropTests;

/// <summary>Transfers by curl in a daemon's namespace, compared by SHA-256. Each returns MB/s.</summary>
internal static class Curl
{
    private const int Seconds = 120;

    /// <summary>Fetches that many bytes and compares them.</summary>
    public static async Task<double> DownloadAsync(TapDaemon daemon, long bytes)
    {
        var clock = Stopwatch.StartNew();
        using Process curl = Start(daemon, daemon.Url($"/bytes/{bytes}"));
        curl.StandardInput.Close();
        Task<string> error = curl.StandardError.ReadToEndAsync();
        (long received, string digest) = await Body.ReadAsync(curl.StandardOutput.BaseStream);
        await curl.WaitForExitAsync();
        double seconds = clock.Elapsed.TotalSeconds;
        Assert.True(curl.ExitCode == 0, $"curl ended with {curl.ExitCode} after {received} bytes: {await error}");
        Assert.Equal(bytes, received);
        Assert.Equal(Body.Digest(bytes), digest);
        return bytes / seconds / 1e6;
    }

    /// <summary>Puts that many bytes, with a Content-Length, and compares what the worker says that it got.</summary>
    public static async Task<double> UploadAsync(TapDaemon daemon, long bytes)
    {
        string file = Path.GetTempFileName();
        try
        {
            await using (FileStream stream = File.Create(file))
            {
                await Body.WriteAsync(stream, 0, bytes);
            }

            return await UploadAsync(daemon, bytes, file);
        }
        finally
        {
            File.Delete(file);
        }
    }

    /// <summary>Puts that many bytes in chunks, as they are made.</summary>
    public static Task<double> UploadChunkedAsync(TapDaemon daemon, long bytes) => UploadAsync(daemon, bytes, "-");

    private static async Task<double> UploadAsync(TapDaemon daemon, long bytes, string source)
    {
        var clock = Stopwatch.StartNew();
        using Process curl = Start(daemon, "-T", source, daemon.Url("/sha256"));
        Task<string> error = curl.StandardError.ReadToEndAsync();
        Task<string> output = curl.StandardOutput.ReadToEndAsync();
        if (source == "-")
        {
            try
            {
                await Body.WriteAsync(curl.StandardInput.BaseStream, 0, bytes);
            }
            catch (IOException)
            {
                // It has ended, and says why.
            }
        }

        curl.StandardInput.Close();
        await curl.WaitForExitAsync();
        double seconds = clock.Elapsed.TotalSeconds;
        Assert.True(curl.ExitCode == 0, $"curl ended with {curl.ExitCode}: {await error}");
        Assert.Equal(Body.Digest(bytes), (await output).TrimEnd());
        return bytes / seconds / 1e6;
    }

    private static Process Start(TapDaemon daemon, params string[] arguments) => daemon.Netns.Start("curl", ["-sS", "--fail", "--noproxy", "*", "--max-time", $"{Seconds}", .. arguments]);
}
