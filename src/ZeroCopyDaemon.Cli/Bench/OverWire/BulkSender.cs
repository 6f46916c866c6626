using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace ZeroCopyDaemon.Cli.Bench.OverWire;

/// <summary>Writes bytes to a server over one ordinary socket, ends its direction, and waits for the server to end the other: by then the server has taken everything in.</summary>
internal static class BulkSender
{
    private const int BufferBytes = 256 * 1024;

    /// <summary>Runs on a thread of its own. Ends after so many bytes or so long, whichever comes first; returns the bytes sent and the time from the first to the server's end.</summary>
    public static Task<(long Sent, TimeSpan Took)> RunAsync(IPEndPoint server, long bytes, TimeSpan longest, CancellationToken cancel) =>
        Task.Factory.StartNew(() => Run(server, bytes, longest, cancel), cancel, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private static (long Sent, TimeSpan Took) Run(IPEndPoint server, long bytes, TimeSpan longest, CancellationToken cancel)
    {
        using Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);

        // A blocking call ends when the socket does.
        using CancellationTokenRegistration stop = cancel.Register(socket.Dispose);
        byte[] buffer = new byte[BufferBytes];
        long sent = 0;
        try
        {
            socket.Connect(server);
            long start = Stopwatch.GetTimestamp();
            while (sent < bytes && Stopwatch.GetElapsedTime(start) < longest)
            {
                sent += socket.Send(buffer.AsSpan(0, (int)Math.Min(bytes - sent, BufferBytes)));
            }

            socket.Shutdown(SocketShutdown.Send);
            while (socket.Receive(buffer) > 0)
            {
                // Only the end matters.
            }

            return (sent, Stopwatch.GetElapsedTime(start));
        }
        catch (Exception failure) when (failure is SocketException or ObjectDisposedException)
        {
            cancel.ThrowIfCancellationRequested();
            throw new CliException($"sending to {server} failed after {sent} bytes: {failure.Message}");
        }
    }
}
