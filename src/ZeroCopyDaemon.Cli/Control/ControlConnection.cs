using System.Net.Sockets;
using Grpc.Core;
using Grpc.Net.Client;
using ZeroCopyDaemon.Cli.Settings;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Protocol.Control;
using ZeroCopyDaemon.Worker;
using ControlClient = ZeroCopyDaemon.Protocol.Control.Control.ControlClient;

namespace ZeroCopyDaemon.Cli.Control;

/// <summary>
/// A line to a daemon's control service over its unix socket. Every call either answers or throws a <see cref="CliException"/> that says in one line what is wrong. Owns its channel.
/// </summary>
internal sealed class ControlConnection : IDisposable
{
    private static readonly TimeSpan CallTimeout = TimeSpan.FromSeconds(10);

    private readonly GrpcChannel _channel;
    private readonly ControlClient _client;

    private ControlConnection(RunDirectory directory)
    {
        Directory = directory;
        _channel = ControlChannel.Create(directory.ControlSocket);
        _client = new ControlClient(_channel);
    }

    public RunDirectory Directory { get; }

    /// <summary>Where the daemon of these settings is found, whether it runs or not.</summary>
    public static RunDirectory Locate(DaemonSettings settings) => RunDirectory.For(settings.Name, settings.RunDirectory);

    /// <summary>A line to the daemon; nothing is sent before the first call.</summary>
    public static ControlConnection To(RunDirectory directory) => new(directory);

    /// <summary>Whether somebody answers on the daemon's socket.</summary>
    public static bool IsListening(RunDirectory directory)
    {
        if (!File.Exists(directory.ControlSocket))
        {
            return false;
        }

        using Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(directory.ControlSocket));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    public Task<StatusReply> GetStatusAsync(CancellationToken cancel) => CallAsync(o => _client.GetStatusAsync(new StatusRequest(), o), cancel);

    public Task<CountersReply> GetCountersAsync(CancellationToken cancel) => CallAsync(o => _client.GetCountersAsync(new CountersRequest(), o), cancel);

    public Task<PagesReply> GetPagesAsync(CancellationToken cancel) => CallAsync(o => _client.GetPagesAsync(new PagesRequest(), o), cancel);

    public Task<PageReply> GetPageAsync(uint page, uint maxBytes, CancellationToken cancel) =>
        CallAsync(o => _client.GetPageAsync(new PageRequest { Page = page, MaxBytes = maxBytes }, o), cancel);

    public Task<ConnectionsReply> GetConnectionsAsync(CancellationToken cancel) => CallAsync(o => _client.GetConnectionsAsync(new ConnectionsRequest(), o), cancel);

    public Task<WorkersReply> GetWorkersAsync(CancellationToken cancel) => CallAsync(o => _client.GetWorkersAsync(new WorkersRequest(), o), cancel);

    public Task<NicReply> GetNicAsync(CancellationToken cancel) => CallAsync(o => _client.GetNicAsync(new NicRequest(), o), cancel);

    public Task<StopReply> StopAsync(TimeSpan drain, CancellationToken cancel) =>
        CallAsync(o => _client.StopAsync(new StopRequest { DrainMs = (uint)drain.TotalMilliseconds }, o), cancel);

    public void Dispose() => _channel.Dispose();

    private async Task<T> CallAsync<T>(Func<CallOptions, AsyncUnaryCall<T>> call, CancellationToken cancel)
    {
        try
        {
            using AsyncUnaryCall<T> running = call(new CallOptions(deadline: DateTime.UtcNow + CallTimeout, cancellationToken: cancel));
            return await running;
        }
        catch (RpcException failure)
        {
            cancel.ThrowIfCancellationRequested();
            throw failure.StatusCode switch
            {
                StatusCode.Unavailable => new DaemonNotRunningException(Directory),
                StatusCode.DeadlineExceeded => new CliException($"the daemon '{Directory.Name}' doesn't answer on {Directory.ControlSocket}"),
                _ => new CliException(failure.Status.Detail),
            };
        }
    }
}

/// <summary>Nobody answers on the daemon's socket.</summary>
internal sealed class DaemonNotRunningException : CliException
{
    public DaemonNotRunningException(RunDirectory directory)
        : base($"no daemon '{directory.Name}' is running (nobody answers on {directory.ControlSocket}); start one with: {ProgramName.Command} up{(directory.Name == RunDirectory.DefaultName ? string.Empty : " --name " + directory.Name)}")
    {
    }
}
