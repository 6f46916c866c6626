using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using ZeroCopyDaemon.Kernel.Control;
using ZeroCopyDaemon.Kernel.Loop;
using ZeroCopyDaemon.Kernel.Workers;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Mapping;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Protocol.Control;
using ZeroCopyDaemon.Wires;

namespace ZeroCopyDaemon.Kernel;

/// <summary>
/// The kernel host of one daemon: page pool, NIC, stack, wire and loop thread, and the control service on a unix socket. Owns the run directory and everything in it from
/// <see cref="StartAsync"/> to <see cref="DisposeAsync"/>. Its members may be called from any thread.
/// </summary>
public sealed class KernelHost : IAsyncDisposable
{
    private readonly Stack<Func<ValueTask>> _cleanup = new();
    private readonly TaskCompletionSource _stopRequested = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Action<string>? _notice;
    private IWire? _wire;
    private volatile bool _draining;

    private KernelHost(KernelHostOptions options, RunDirectory directory, Action<string>? notice)
    {
        _notice = notice;
        Options = options;
        Directory = directory;
    }

    /// <summary>The product's version.</summary>
    public static string Version { get; } =
        typeof(KernelHost).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0] ?? "0";

    public KernelHostOptions Options { get; }

    /// <summary>Where the control socket, lock and doorbells are.</summary>
    public RunDirectory Directory { get; }

    /// <summary>What this platform lacks, a sentence each.</summary>
    public IReadOnlyList<string> Notes { get; private set; } = [];

    /// <summary>Where the wire leads, for people; may be empty.</summary>
    public string WireDetail { get; private set; } = "";

    /// <summary>Completes when somebody asked the daemon to stop by the control service.</summary>
    public Task StopRequested => _stopRequested.Task;

    /// <summary>Completes when the loop has ended; faulted if it was by a bug.</summary>
    public Task LoopEnded => Loop.Ended;

    internal PollLoop Loop { get; private set; } = null!;

    /// <summary>What workers open to map the page pool.</summary>
    internal string RxPath { get; private set; } = "";

    internal WorkerFactory Workers { get; private set; } = null!;

    internal bool IsDraining => _draining;

    /// <summary>
    /// Starts a daemon. Throws <see cref="KernelHostException"/>, <see cref="DaemonAlreadyRunningException"/>, <see cref="RunDirectoryException"/> or <see cref="IOException"/> with a line that says what
    /// to change; nothing is left behind then.
    /// </summary>
    /// <param name="options">Settings; validated here.</param>
    /// <param name="progress">Told the bytes of pool memory taken so far.</param>
    /// <param name="notice">Told, on a thread of the pool, what a user should know while it runs: that the link went down, for one. A line each.</param>
    /// <param name="cancellation">Stops the start.</param>
    public static async Task<KernelHost> StartAsync(
        KernelHostOptions options, IProgress<long>? progress = null, Action<string>? notice = null, CancellationToken cancellation = default)
    {
        options.Validate();
        RunDirectory directory = RunDirectory.For(options.Name, options.RunDirectory.Length == 0 ? null : options.RunDirectory);
        var host = new KernelHost(options, directory, notice);
        try
        {
            directory.Create();
            DaemonLock daemonLock = DaemonLock.Acquire(directory.Lock);
            host._cleanup.Push(() =>
            {
                RemoveLeftovers(directory);
                daemonLock.Dispose();
                return ValueTask.CompletedTask;
            });
            RemoveLeftovers(directory);
            host.BuildCore(progress);
            await host.StartControlAsync(cancellation);
            await File.WriteAllTextAsync(
                directory.StateFile, JsonSerializer.Serialize(new { pid = Environment.ProcessId, name = options.Name, version = Version }), cancellation);
            return host;
        }
        catch
        {
            await host.DisposeAsync();
            throw;
        }
    }

    /// <summary>
    /// Takes no new clients, tells the workers to finish, and waits until they have detached and what they sent is acknowledged, or the time is over; whoever is left then is detached.
    /// </summary>
    public async Task DrainAsync(TimeSpan timeout)
    {
        _draining = true;
        var clock = Stopwatch.StartNew();
        await Loop.InvokeAsync(core =>
        {
            core.Wire.StopAccepting();
            foreach (AttachedWorker worker in core.Workers)
            {
                worker.Draining = true;
                worker.Events.Writer.TryWrite(new AttachEvent { Drain = new Drain { TimeoutMs = (uint)timeout.TotalMilliseconds } });
            }

            return 0;
        });
        while (clock.Elapsed < timeout && await Loop.InvokeAsync(core => core.Workers.Count) > 0)
        {
            await Task.Delay(10);
        }

        await Loop.InvokeAsync(core => core.DetachAll(PollLoop.NowUs));
        TimeSpan rest = timeout - clock.Elapsed < TimeSpan.FromMilliseconds(500) ? TimeSpan.FromMilliseconds(500) : timeout - clock.Elapsed;
        clock.Restart();
        while (clock.Elapsed < rest && await Loop.InvokeAsync(core => core.Stack.ConnectionCount) > 0)
        {
            await Task.Delay(10);
        }
    }

    /// <summary>Stops everything and removes what is in the run directory. Idempotent.</summary>
    public async ValueTask DisposeAsync()
    {
        while (_cleanup.TryPop(out Func<ValueTask>? step))
        {
            await step();
        }
    }

    internal void RequestStop() => _stopRequested.TrySetResult();

    /// <summary>A kernel-side listener opened: real clients can connect from now on. Loop thread.</summary>
    internal string Expose(int port)
    {
        try
        {
            return _wire!.Expose(port);
        }
        catch (WireException e)
        {
            throw new KernelHostException(e.Message, e);
        }
    }

    internal void Unexpose(int port) => _wire!.Unexpose(port);

    /// <summary>Called on the loop thread, which must not wait for whoever prints it.</summary>
    private void Tell(string line)
    {
        if (_notice is { } notice)
        {
            ThreadPool.UnsafeQueueUserWorkItem(static state => state.notice(state.line), (notice, line), preferLocal: false);
        }
    }

    private static void RemoveLeftovers(RunDirectory directory)
    {
        foreach (string file in new[] { directory.ControlSocket, directory.StateFile })
        {
            File.Delete(file);
        }

        foreach (string folder in new[] { directory.Bells, directory.Areas })
        {
            if (System.IO.Directory.Exists(folder))
            {
                System.IO.Directory.Delete(folder, recursive: true);
            }
        }
    }

    private unsafe void BuildCore(IProgress<long>? progress)
    {
        SharedRegion rx = SharedRegion.Create($"zcd-{Options.Name}-rx", Options.PoolBytes, Directory.Areas, prefault: true, progress);
        _cleanup.Push(() =>
        {
            rx.Dispose();
            return ValueTask.CompletedTask;
        });
        rx.SealReadOnlyForOthers();
        RxPath = rx.Path;
        Notes = PlatformNotes(rx);
        WireSetup setup = WireFactory.Create(Options);
        var pool = new PagePool(rx.Address, Options.Geometry, setup.Nic.FragmentCapacity(Options.Geometry));
        IWire wire = setup.Wire;
        _cleanup.Push(() =>
        {
            wire.Dispose();
            return ValueTask.CompletedTask;
        });
        _wire = wire;
        wire.Notice = Tell;
        WireDetail = setup.Detail;
        if (setup.Note.Length > 0)
        {
            Notes = [.. Notes, setup.Note];
        }

        if (Options.Impair.Length > 0)
        {
            Notes = [.. Notes, $"The wire is impaired: {Options.Impair}."];
        }

        var nic = new NicModel(setup.Nic, pool.Geometry);
        var driver = new NicDriver(nic, pool);
        Span<byte> secret = stackalloc byte[16];
        RandomNumberGenerator.Fill(secret);
        var stack = new NetStack(
            new NetStackOptions
            {
                Address = setup.Address,
                PrefixLength = setup.PrefixLength,
                Gateway = setup.NextHop,
                Address6 = setup.Address6,
                PrefixLength6 = setup.PrefixLength6,
                Gateway6 = setup.NextHop6,
                EthernetAddress = Net.Addresses.EthernetAddress.ForHost(setup.Address),
                Secret = MemoryMarshal.Read<UInt128>(secret),
                MaxNeighbors = 65536,
                Tcp = new TcpOptions { ReceiveQuotaBytes = Options.ConnectionQuotaBytes },
            },
            pool,
            driver);
        var poll = new PollSet();
        wire.Attach(nic, poll, PollLoop.FirstWireToken);
        var core = new KernelCore(Options, pool, nic, driver, stack, wire) { ListenerClosed = wire.Unexpose, Notice = Tell };
        bool spareCores = Options.ExpectedWorkers + 2 <= Environment.ProcessorCount;
        Loop = new PollLoop(core, poll, spinUs: spareCores ? 50 : 5);
        Workers = new WorkerFactory(
            Options, Directory.Path, rx, BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(8)), spareCores, stack.Options.Tcp.MaxSendItems, stack.Options.Tcp.MaxConnections);
        _cleanup.Push(() => StopLoopAsync(core, poll));
        Loop.Start();
    }

    private async ValueTask StopLoopAsync(KernelCore core, PollSet poll)
    {
        await Loop.DisposeAsync();
        core.DetachAll(PollLoop.NowUs);
        _wire!.Dispose();
        poll.Dispose();
    }

    private async Task StartControlAsync(CancellationToken cancellation)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { ContentRootPath = AppContext.BaseDirectory });
        builder.Configuration.Sources.Clear();
        builder.Logging.ClearProviders().AddSimpleConsole().SetMinimumLevel(LogLevel.Warning);
        builder.Logging.Services.Configure<Microsoft.Extensions.Logging.Console.ConsoleLoggerOptions>(console => console.LogToStandardErrorThreshold = LogLevel.Trace);
        builder.Services.Configure<Microsoft.Extensions.Hosting.HostOptions>(hosting => hosting.ShutdownTimeout = TimeSpan.FromSeconds(2));
        builder.Services.AddSingleton<IHostLifetime, CallerDecides>();
        builder.Services.AddSingleton(this);
        builder.Services.AddGrpc();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.ListenUnixSocket(Directory.ControlSocket, listen => listen.Protocols = HttpProtocols.Http2));
        WebApplication app = builder.Build();
        app.MapGrpcService<ControlService>();
        await app.StartAsync(cancellation);
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(Directory.ControlSocket, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }

        _cleanup.Push(async () =>
        {
            await DetachAllAsync();
            await app.DisposeAsync();
        });
    }

    /// <summary>Ends every attach stream, so that the control service can stop at once.</summary>
    private async Task DetachAllAsync()
    {
        try
        {
            await Loop.InvokeAsync(core => core.DetachAll(PollLoop.NowUs));
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // The loop had ended by itself: its fault is reported by whoever awaits LoopEnded.
        }
    }

    private static List<string> PlatformNotes(SharedRegion rx)
    {
        var notes = new List<string>();
        if (!rx.IsSealed)
        {
            notes.Add("This OS has no sealed memory: a worker of the same user could map the page pool writable.");
        }

        if (!PollSet.IsSupported)
        {
            notes.Add("This OS has no epoll: the loop looks at every descriptor once a millisecond while idle.");
        }

        return notes;
    }

    /// <summary>Signals are the caller's business: the control service neither listens to them nor prints.</summary>
    private sealed class CallerDecides : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
