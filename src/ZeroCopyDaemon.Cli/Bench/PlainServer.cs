using System.Net;
using System.Net.Sockets;

namespace ZeroCopyDaemon.Cli.Bench;

/// <summary>
/// What the benchmark compares with: an echo server (or one that only takes in) over ordinary sockets, as one would write it: asynchronous, a buffer a connection, no needless work. Runs in a process of
/// its own until its standard input ends, so that it never outlives who started it.
/// </summary>
internal static class PlainServer
{
    private const int BufferBytes = 256 * 1024;

    /// <param name="sink">Answers nothing, and listens on every address, for it runs in a network namespace of its own.</param>
    public static async Task<int> RunAsync(bool sink)
    {
        using Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(sink ? IPAddress.Any : IPAddress.Loopback, 0));
        listener.Listen(1024);
        Console.Out.WriteLine(((IPEndPoint)listener.LocalEndPoint!).Port);
        await Console.Out.FlushAsync();
        using CancellationTokenSource stop = new();
        Task accepting = AcceptAsync(listener, sink, stop.Token);
        await using Stream input = Console.OpenStandardInput();
        byte[] nothing = new byte[16];
        while (await input.ReadAsync(nothing) > 0)
        {
            // Only the end matters.
        }

        await stop.CancelAsync();
        await accepting;
        return ExitCode.Ok;
    }

    private static async Task AcceptAsync(Socket listener, bool sink, CancellationToken stop)
    {
        try
        {
            while (true)
            {
                Socket client = await listener.AcceptAsync(stop);
                _ = ServeAsync(client, sink, stop);
            }
        }
        catch (OperationCanceledException)
        {
            // The end of the benchmark.
        }
    }

    private static async Task ServeAsync(Socket client, bool sink, CancellationToken stop)
    {
        using (client)
        {
            byte[] buffer = GC.AllocateUninitializedArray<byte>(BufferBytes);
            try
            {
                while (await client.ReceiveAsync(buffer.AsMemory(), SocketFlags.None, stop) is > 0 and int length)
                {
                    for (int done = sink ? length : 0; done < length;)
                    {
                        done += await client.SendAsync(buffer.AsMemory(done, length - done), SocketFlags.None, stop);
                    }
                }

                client.Shutdown(SocketShutdown.Both);
            }
            catch (Exception failure) when (failure is SocketException or OperationCanceledException)
            {
                // The client's business: it reports what it saw.
            }
        }
    }
}
