using System.Net.Sockets;
using Grpc.Net.Client;

namespace ZeroCopyDaemon.Worker;

/// <summary>gRPC to a kernel host over its unix socket: for control, never for payload.</summary>
public static class ControlChannel
{
    /// <summary>A channel to the socket; connects with the first call. The caller disposes it.</summary>
    public static GrpcChannel Create(string socketPath)
    {
        var endPoint = new UnixDomainSocketEndPoint(socketPath);
        var handler = new SocketsHttpHandler
        {
            // A proxy that the environment names is for other traffic.
            UseProxy = false,
            PooledConnectionIdleTimeout = Timeout.InfiniteTimeSpan,
            ConnectCallback = async (_, cancellation) =>
            {
                var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                try
                {
                    await socket.ConnectAsync(endPoint, cancellation).ConfigureAwait(false);
                    return new NetworkStream(socket, ownsSocket: true);
                }
                catch
                {
                    socket.Dispose();
                    throw;
                }
            },
        };

        // The name is only what HTTP/2 wants to read in its headers.
        return GrpcChannel.ForAddress("http://localhost", new GrpcChannelOptions { HttpHandler = handler, DisposeHttpClient = true, MaxReceiveMessageSize = 64 << 20 });
    }
}
