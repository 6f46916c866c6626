using ZeroCopyDaemon.Cli.Apps.Http;
using ZeroCopyDaemon.Cli.Settings;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.Cli.Apps;

/// <summary>What a worker does with one connection. The caller disposes the connection, which closes it.</summary>
internal delegate Task ServeConnection(Connection connection, CancellationToken draining);

/// <summary>The apps that <c>zcd worker</c> can run.</summary>
internal static class WorkerApps
{
    /// <summary>The app as it runs in this worker.</summary>
    public static ServeConnection Create(WorkerApp app, ReceiveStrategy strategy, in HttpIdentity who)
    {
        HttpIdentity identity = who;
        return (app, strategy) switch
        {
            (WorkerApp.Http, ReceiveStrategy.Handoff) => (connection, draining) => ServeHttpInPlaceAsync(connection, identity, draining),
            (WorkerApp.Http, _) => (connection, draining) => ServeHttpByCopyAsync(connection, identity, draining),
            (WorkerApp.Echo, ReceiveStrategy.Handoff) => (connection, _) => EchoApp.ServeInPlaceAsync(connection),
            (WorkerApp.Echo, _) => (connection, _) => EchoApp.ServeByCopyAsync(connection),
            (WorkerApp.Sink, ReceiveStrategy.Handoff) => (connection, _) => SinkApp.ServeInPlaceAsync(connection),
            _ => (connection, _) => SinkApp.ServeByCopyAsync(connection),
        };
    }

    private static async Task ServeHttpInPlaceAsync(Connection connection, HttpIdentity who, CancellationToken draining)
    {
        using LeasedHttpChannel channel = new(connection);
        using HttpConnection http = new(channel, who, connection.Handle);
        await http.ServeAsync(draining);
    }

    private static async Task ServeHttpByCopyAsync(Connection connection, HttpIdentity who, CancellationToken draining)
    {
        using HttpConnection http = new(new CopyingHttpChannel(connection), who, connection.Handle);
        await http.ServeAsync(draining);
    }
}

/// <summary>Sends every byte back, and ends its direction when the peer has ended the other.</summary>
internal static class EchoApp
{
    private const int ReceiveBytes = 256 * 1024;
    private const int ReceiveFragments = 128;

    /// <summary>What was received is sent out of the pages it lies in: nothing is copied.</summary>
    public static async Task ServeInPlaceAsync(Connection connection)
    {
        while (true)
        {
            Received received = await connection.ReceiveAsync(ReceiveBytes, ReceiveFragments);
            if (received.IsEnd)
            {
                connection.ShutdownSend();
                return;
            }

            await connection.SendAsync(received);
        }
    }

    public static async Task ServeByCopyAsync(Connection connection)
    {
        byte[] buffer = GC.AllocateUninitializedArray<byte>(ReceiveBytes);
        while (await connection.ReceiveAsync(buffer.AsMemory()) is > 0 and int length)
        {
            await connection.SendAsync(buffer.AsMemory(0, length));
        }

        connection.ShutdownSend();
    }
}

/// <summary>Takes every byte and answers nothing; ends its direction when the peer has.</summary>
internal static class SinkApp
{
    private const int ReceiveBytes = 256 * 1024;
    private const int ReceiveFragments = 128;

    public static async Task ServeInPlaceAsync(Connection connection)
    {
        while (true)
        {
            using Received received = await connection.ReceiveAsync(ReceiveBytes, ReceiveFragments);
            if (received.IsEnd)
            {
                return;
            }
        }
    }

    public static async Task ServeByCopyAsync(Connection connection)
    {
        byte[] buffer = GC.AllocateUninitializedArray<byte>(ReceiveBytes);
        while (await connection.ReceiveAsync(buffer.AsMemory()) > 0)
        {
            // The copy into the buffer is all there is to do.
        }
    }
}
