using Grpc.Core;
using Grpc.Net.Client;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Mapping;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.Worker.Internal;

/// <summary>
/// One attachment to a kernel host: the control channel, the attach stream, whose end is how a dead kernel host is noticed, and the mappings that it named. Owned by a
/// <see cref="KernelClient"/>.
/// </summary>
internal sealed class AttachSession : IAsyncDisposable
{
    private readonly GrpcChannel _channel;
    private readonly CancellationTokenSource _stream = new();
    private AsyncServerStreamingCall<AttachEvent>? _call;
    private KernelBellWriter? _bell;
    private Task _reading = Task.CompletedTask;

    private AttachSession(GrpcChannel channel)
    {
        _channel = channel;
        Control = new Control.ControlClient(channel);
    }

    public Control.ControlClient Control { get; }

    public Attached Attached { get; private set; } = new();

    public static async Task<AttachSession> OpenAsync(WorkerOptions options, CancellationToken cancellation)
    {
        RunDirectory? directory = options.Directory;
        string path = options.ControlSocket ?? directory!.ControlSocket;
        string missing = directory is null ? "No daemon is running" : $"No daemon named '{directory.Name}' is running";
        if (!File.Exists(path))
        {
            throw new DaemonNotRunningException($"{missing} (no socket at {path}). Start one with: zcd up");
        }

        var session = new AttachSession(ControlChannel.Create(path));
        try
        {
            await session.AttachAsync(options, cancellation).ConfigureAwait(false);
            return session;
        }
        catch (Exception e)
        {
            await session.DisposeAsync().ConfigureAwait(false);
            switch (e)
            {
                case RpcException rpc when FoundNobody(rpc):
                    throw new DaemonNotRunningException($"{missing} (nobody answers at {path}). Start one with: zcd up", e);
                case RpcException { StatusCode: StatusCode.Cancelled } or OperationCanceledException when cancellation.IsCancellationRequested:
                    throw new OperationCanceledException("Attaching was cancelled.", e, cancellation);
                case RpcException { StatusCode: StatusCode.Cancelled } or OperationCanceledException:
                    throw new TimeoutException($"The daemon at {path} did not answer within {options.AttachTimeout.TotalSeconds:0.#} s.", e);
                case RpcException rpc:
                    throw new KernelRefusedException(rpc.Status.Detail, e);
                default:
                    throw;
            }
        }
    }

    /// <summary>Opens what the kernel host named. The areas' owner is <see cref="WorkerAreas.Unmap"/>; the doorbell stays this session's.</summary>
    public unsafe WorkerAreas Map()
    {
        Attached attached = Attached;
        if (attached.Kernel is null || attached.Own is null || attached.Rx is null || attached.Tx is null)
        {
            throw new KernelRefusedException("The kernel host's answer names no memory: it is of another version than this worker.");
        }

        var regions = new List<SharedRegion>(4);
        try
        {
            SharedRegion Open(Area area, bool writable)
            {
                SharedRegion region = SharedRegion.Open(area.Path, (long)area.Bytes, writable);
                regions.Add(region);
                return region;
            }

            SharedRegion kernel = Open(attached.Kernel, writable: false);
            SharedRegion own = Open(attached.Own, writable: true);
            SharedRegion rx = Open(attached.Rx, writable: false);
            SharedRegion tx = Open(attached.Tx, writable: true);
            CheckHeader(kernel, attached);
            if (kernel.Bytes < WorkerAreaLayout.KernelAreaBytes((int)attached.CompletionEntries) || own.Bytes < WorkerAreaLayout.WorkerAreaBytes((int)attached.SubmissionEntries))
            {
                throw new KernelRefusedException("The kernel host's control areas are too small for its rings: it is of another version than this worker.");
            }

            _bell = attached.KernelBell.Length == 0 ? null : KernelBellWriter.Open(attached.KernelBell);
            return new WorkerAreas
            {
                Rx = rx.Address,
                RxBytes = rx.Bytes,
                Kernel = kernel.Address,
                Own = own.Address,
                Tx = tx.Address,
                TxBytes = tx.Bytes,
                SubmissionEntries = (int)attached.SubmissionEntries,
                CompletionEntries = (int)attached.CompletionEntries,
                MaxSendsPerConnection = Math.Max(1, (int)attached.MaxSendsPerConnection),
                FutexBell = attached.FutexBell,
                Spin = attached.Spin,
                RingKernel = _bell is null ? null : _bell.Ring,
                Unmap = () => regions.ForEach(static region => region.Dispose()),
            };
        }
        catch
        {
            regions.ForEach(static region => region.Dispose());
            throw;
        }
    }

    /// <summary>Whether a call failed because nobody answers, rather than because somebody said that he is not available.</summary>
    public static bool FoundNobody(RpcException e) => e.StatusCode == StatusCode.Unavailable && e.Status.DebugException is not null;

    /// <summary>From here on the stream's events, and its end, reach the core.</summary>
    public void Watch(WorkerCore core, Action<TimeSpan> drain) => _reading = Task.Run(() => ReadAsync(core, drain));

    public async ValueTask DisposeAsync()
    {
        await _stream.CancelAsync().ConfigureAwait(false);
        await _reading.ConfigureAwait(false);
        _call?.Dispose();
        _channel.Dispose();
        _bell?.Dispose();
        _stream.Dispose();
    }

    private static unsafe void CheckHeader(SharedRegion kernel, Attached attached)
    {
        uint magic = *(uint*)(kernel.Address + WorkerAreaLayout.MagicOffset);
        uint version = *(uint*)(kernel.Address + WorkerAreaLayout.VersionOffset);
        ulong epoch = *(ulong*)(kernel.Address + WorkerAreaLayout.EpochOffset);
        if (magic != WorkerAreaLayout.Magic || version != WorkerAreaLayout.Version || epoch != attached.Epoch)
        {
            throw new KernelRefusedException("The kernel host's control area is not the one that its answer describes: the daemon was restarted meanwhile, or is of another version.");
        }
    }

    private async Task AttachAsync(WorkerOptions options, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        using CancellationTokenRegistration registration = cancellation.Register(static stream => ((CancellationTokenSource)stream!).Cancel(), _stream);
        _stream.CancelAfter(options.AttachTimeout);
        var request = new AttachRequest
        {
            Version = WorkerAreaLayout.Version,
            Layout = WorkerAreaLayout.Fingerprint,
            Pid = Environment.ProcessId,
            Name = options.AppName,
            SubmissionEntries = (uint)options.SubmissionEntries,
            CompletionEntries = (uint)options.CompletionEntries,
            TxBytes = (ulong)options.TxBytes,
        };
        _call = Control.Attach(request, cancellationToken: _stream.Token);
        if (!await _call.ResponseStream.MoveNext(_stream.Token).ConfigureAwait(false))
        {
            throw new KernelRefusedException("The kernel host ended the attachment without saying why.");
        }

        AttachEvent first = _call.ResponseStream.Current;
        Attached = first.EventCase switch
        {
            AttachEvent.EventOneofCase.Attached => first.Attached,
            AttachEvent.EventOneofCase.Detached => throw new KernelRefusedException(first.Detached.Message),
            _ => throw new KernelRefusedException("The kernel host's answer is not one to an attach request: it is of another version than this worker."),
        };
        _stream.CancelAfter(Timeout.InfiniteTimeSpan);
    }

    private async Task ReadAsync(WorkerCore core, Action<TimeSpan> drain)
    {
        try
        {
            while (await _call!.ResponseStream.MoveNext(_stream.Token).ConfigureAwait(false))
            {
                AttachEvent next = _call.ResponseStream.Current;
                if (next.EventCase == AttachEvent.EventOneofCase.Detached)
                {
                    var reason = (DetachReason)next.Detached.Reason;
                    core.Fail(reason, next.Detached.Message.Length > 0 ? $"{KernelLostException.Describe(reason).TrimEnd('.')} ({next.Detached.Message})." : null);
                }
                else if (next.EventCase == AttachEvent.EventOneofCase.Drain)
                {
                    drain(TimeSpan.FromMilliseconds(next.Drain.TimeoutMs));
                }
            }

            core.FailGone("it ended the attachment");
        }
        catch (Exception e) when (e is RpcException or OperationCanceledException or IOException)
        {
            // Cancelled: by our own disposal, which has its own reason.
            if (!_stream.IsCancellationRequested)
            {
                core.FailGone("its control socket hung up");
            }
        }
        catch (Exception e)
        {
            core.Fail(DetachReason.None, $"The control stream failed: {e.Message}", e);
        }
    }
}
