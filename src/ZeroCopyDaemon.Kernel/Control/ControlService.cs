using System.Diagnostics;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Serialization;
using Grpc.Core;
using Microsoft.AspNetCore.Connections.Features;
using ZeroCopyDaemon.Kernel.Inspect;
using ZeroCopyDaemon.Kernel.Loop;
using ZeroCopyDaemon.Kernel.Sockets;
using ZeroCopyDaemon.Kernel.Workers;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.Kernel.Control;

/// <summary>The control service. Its calls run on pool threads and reach the loop by commands only.</summary>
internal sealed class ControlService(KernelHost host) : Protocol.Control.Control.ControlBase
{
    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, IncludeFields = true, Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower) },
    };

    /// <inheritdoc/>
    public override async Task Attach(AttachRequest request, IServerStreamWriter<AttachEvent> responseStream, ServerCallContext context)
    {
        if (request.Version != WorkerAreaLayout.Version || request.Layout != WorkerAreaLayout.Fingerprint)
        {
            throw Refuse(
                StatusCode.FailedPrecondition,
                $"The worker speaks version {request.Version} (layout {request.Layout:x}) of the shared-memory interface and this kernel host version {WorkerAreaLayout.Version} (layout {WorkerAreaLayout.Fingerprint:x}): rebuild the worker against the same release.");
        }

        CheckPid(request.Pid, context);
        if (host.IsDraining)
        {
            throw Refuse(StatusCode.Unavailable, "The daemon is stopping and takes no more workers.");
        }

        AttachedWorker worker = await Guard(async () =>
        {
            (int id, ReceiveBudget root) = await host.Loop.InvokeAsync(core => core.Workers.Count < host.Options.MaxWorkers
                ? (core.NextWorkerId(), core.Stack.RootBudget)
                : throw new KernelHostException($"There are {core.Workers.Count} workers already, the most this daemon takes (MaxWorkers)."));
            (AttachedWorker made, Attached reply) = host.Workers.Create(id, request, root);
            made.Events.Writer.TryWrite(new AttachEvent { Attached = reply });
            await host.Loop.InvokeAsync(core =>
            {
                core.AddWorker(made, PollLoop.NowUs);
                host.Loop.Watch(made);
                return 0;
            });
            return made;
        });
        try
        {
            await foreach (AttachEvent e in worker.Events.Reader.ReadAllAsync(context.CancellationToken))
            {
                await responseStream.WriteAsync(e, context.CancellationToken);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or InvalidOperationException)
        {
            // The stream broke: the worker is gone, whether or not its doorbell's hang-up has been seen yet.
        }

        if (!worker.Detached)
        {
            await Guard(() => host.Loop.InvokeAsync(core =>
            {
                core.Detach(worker, DetachReason.Exited, PollLoop.NowUs);
                return 0;
            }));
        }
    }

    /// <inheritdoc/>
    public override Task<ListenReply> Listen(ListenRequest request, ServerCallContext context)
    {
        if (request.Port is 0 or > ushort.MaxValue)
        {
            throw Refuse(StatusCode.InvalidArgument, $"A port is from 1 to 65535, not {request.Port}.");
        }

        return Guard(() => host.Loop.InvokeAsync(core =>
        {
            SocketListener listener = core.Listen(
                Worker(core, request.Token), (int)request.Port, request.Backlog == 0 ? host.Options.Backlog : (int)Math.Min(request.Backlog, 65535), host.Expose, host.Unexpose);
            return new ListenReply { Listener = listener.Id, PublicAddress = listener.PublicAddress };
        }));
    }

    /// <inheritdoc/>
    public override Task<UnlistenReply> Unlisten(UnlistenRequest request, ServerCallContext context) => Guard(() => host.Loop.InvokeAsync(core =>
    {
        AttachedWorker worker = Worker(core, request.Token);
        if (core.Sockets.FindListener(request.Listener) is { } listener)
        {
            core.Unlisten(worker, listener, PollLoop.NowUs);
        }

        return new UnlistenReply();
    }));

    /// <inheritdoc/>
    public override Task<DetachReply> Detach(DetachRequest request, ServerCallContext context) => Guard(() => host.Loop.InvokeAsync(core =>
    {
        core.Detach(Worker(core, request.Token), DetachReason.Requested, PollLoop.NowUs);
        return new DetachReply();
    }));

    /// <inheritdoc/>
    public override Task<StatusReply> GetStatus(StatusRequest request, ServerCallContext context) => Guard(() => host.Loop.InvokeAsync(core =>
    {
        var reply = new StatusReply
        {
            Name = host.Options.Name,
            Pid = Environment.ProcessId,
            State = host.IsDraining ? "draining" : "running",
            UptimeS = (DateTime.UtcNow - Process.GetCurrentProcess().StartTime.ToUniversalTime()).TotalSeconds,
            Wire = core.Wire.Name,
            Placement = host.Options.Placement.ToString().ToLowerInvariant(),
            ChecksumOffload = host.Options.ChecksumOffload,
            Mtu = (uint)core.Nic.Mtu,
            PoolBytes = (ulong)host.Options.PoolBytes,
            PageBytes = (uint)host.Options.PageBytes,
            Version = KernelHost.Version,
            App = host.Options.App,
            Strategy = host.Options.Strategy,
            WireDetail = host.WireDetail,
        };
        reply.Notes.AddRange(host.Notes);
        reply.Listeners.AddRange(core.Sockets.Listeners.Select(listener => new ListenAddress
        {
            Port = (uint)listener.Port, Address = listener.PublicAddress, Workers = (uint)listener.Members.Count, Address6 = listener.PublicAddress6,
        }));
        reply.Workers.AddRange(Snapshots.Workers(core, PollLoop.NowUs));
        return reply;
    }));

    /// <inheritdoc/>
    public override Task<CountersReply> GetCounters(CountersRequest request, ServerCallContext context) => Guard(async () =>
    {
        CounterSnapshot snapshot = await host.Loop.InvokeAsync(core =>
        {
            var counters = new CounterSnapshot();
            core.VisitCounters(counters);
            host.Loop.VisitCounters(counters);
            return counters;
        });
        var reply = new CountersReply();
        reply.Counters.Add(snapshot.Values);
        return reply;
    });

    /// <inheritdoc/>
    public override Task<PagesReply> GetPages(PagesRequest request, ServerCallContext context) => Guard(() => host.Loop.InvokeAsync(Snapshots.Pages));

    /// <inheritdoc/>
    public override Task<PageReply> GetPage(PageRequest request, ServerCallContext context) =>
        Guard(() => host.Loop.InvokeAsync(core => Snapshots.Page(core, request.Page, request.MaxBytes)));

    /// <inheritdoc/>
    public override Task<ConnectionsReply> GetConnections(ConnectionsRequest request, ServerCallContext context) =>
        Guard(() => host.Loop.InvokeAsync(core => Snapshots.Connections(core, PollLoop.NowUs)));

    /// <inheritdoc/>
    public override Task<WorkersReply> GetWorkers(WorkersRequest request, ServerCallContext context) => Guard(() => host.Loop.InvokeAsync(core =>
    {
        var reply = new WorkersReply();
        reply.Workers.AddRange(Snapshots.Workers(core, PollLoop.NowUs));
        return reply;
    }));

    /// <inheritdoc/>
    public override Task<NicReply> GetNic(NicRequest request, ServerCallContext context) => Guard(async () =>
    {
        object description = await host.Loop.InvokeAsync(core => (object)(core.Nic.Describe() with { PageUse = core.Driver.PageUse }));
        return new NicReply { Json = JsonSerializer.Serialize(description, description.GetType(), Json) };
    });

    /// <inheritdoc/>
    public override Task<StopReply> Stop(StopRequest request, ServerCallContext context)
    {
        host.RequestStop();
        return Task.FromResult(new StopReply { Pid = Environment.ProcessId });
    }

    private static AttachedWorker Worker(KernelCore core, string token) =>
        core.FindWorker(token) ?? throw new KernelHostException("This worker is not attached (any more).");

    /// <summary>A worker can't attach in another process's name: the socket knows who is at its other end.</summary>
    private static void CheckPid(int pid, ServerCallContext context)
    {
        if (!OperatingSystem.IsLinux() || context.GetHttpContext().Features.Get<IConnectionSocketFeature>()?.Socket is not { } socket)
        {
            return;
        }

        const int SolSocket = 1, SoPeerCred = 17;
        Span<byte> credentials = stackalloc byte[12];
        int peer;
        try
        {
            socket.GetRawSocketOption(SolSocket, SoPeerCred, credentials);
            peer = BitConverter.ToInt32(credentials);
        }
        catch (SocketException)
        {
            return;
        }

        // 0: the peer lives in a PID namespace that isn't visible from here.
        if (peer != 0 && peer != pid)
        {
            throw Refuse(StatusCode.PermissionDenied, $"The process that attaches is {peer}, not {pid} as it says.");
        }
    }

    private static async Task<T> Guard<T>(Func<Task<T>> call)
    {
        try
        {
            return await call();
        }
        catch (KernelHostException e)
        {
            throw Refuse(StatusCode.FailedPrecondition, e.Message);
        }
        catch (IOException e)
        {
            throw Refuse(StatusCode.ResourceExhausted, e.Message);
        }
    }

    private static RpcException Refuse(StatusCode code, string message) => new(new Status(code, message));
}
