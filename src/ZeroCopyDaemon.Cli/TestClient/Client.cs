using System.Diagnostics;

namespace ZeroCopyDaemon.Cli.TestClient;

/// <summary>Runs all connections of a test at once and adds them up.</summary>
internal static class Client
{
    /// <summary>Sends, receives and checks; <paramref name="progress"/> is told twice a second how many bytes have gone and come in all.</summary>
    public static async Task<ClientResult> RunAsync(ClientOptions options, IProgress<(long Sent, long Received)>? progress, CancellationToken cancel)
    {
        ClientConnection[] connections = new ClientConnection[options.Connections];
        long share = options.Bytes / options.Connections;
        long rest = options.Bytes % options.Connections;
        for (int i = 0; i < connections.Length; i++)
        {
            connections[i] = new ClientConnection(options, i, share + (i < rest ? 1 : 0));
        }

        try
        {
            long start = Stopwatch.GetTimestamp();
            Task<ConnectionResult[]> all = Task.WhenAll(connections.Select(c => Task.Run(() => c.RunAsync(cancel), cancel)));
            while (progress is not null && await Task.WhenAny(all, Task.Delay(100, cancel)) != all)
            {
                progress.Report((connections.Sum(c => c.Sent), connections.Sum(c => c.Received)));
            }

            ConnectionResult[] results = await all;
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            progress?.Report((connections.Sum(c => c.Sent), connections.Sum(c => c.Received)));
            return new(options.Bytes, results.Sum(r => r.BytesSent), results.Sum(r => r.BytesReceived), seconds, options.Verify, results);
        }
        finally
        {
            foreach (ClientConnection connection in connections)
            {
                connection.Dispose();
            }
        }
    }
}
