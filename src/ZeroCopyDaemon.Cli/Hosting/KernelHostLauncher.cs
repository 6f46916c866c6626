using ZeroCopyDaemon.Cli.Settings;
using ZeroCopyDaemon.Kernel;

namespace ZeroCopyDaemon.Cli.Hosting;

/// <summary>Starts the real kernel host.</summary>
internal sealed class KernelHostLauncher : IKernelHostLauncher
{
    public static KernelHostLauncher Instance { get; } = new();

    public async Task<IRunningKernel> StartAsync(DaemonSettings settings, IProgress<long> progress, CancellationToken cancel)
    {
        KernelHostOptions options = new()
        {
            Name = settings.Name,
            RunDirectory = settings.RunDirectory,
            PoolBytes = settings.PoolBytes,
            PageBytes = settings.PageBytes,
            Placement = settings.Placement,
            ChecksumOffload = settings.ChecksumOffload,
            Mtu = settings.Mtu,
            RxQueues = settings.RxQueues,
            RxRingSize = settings.RxRingSize,
            Wire = settings.Wire,
            TapDevice = settings.TapDevice,
            Address = settings.Address,
            HostAddress = settings.HostAddress,
            Address6 = settings.Address6,
            HostAddress6 = settings.HostAddress6,
            NetworkNamespace = settings.NetworkNamespace,
            Tso = settings.Tso,
            Bind = settings.Bind,
            Impair = settings.Impair,
            ExpectedWorkers = settings.Workers,
            TxBytes = settings.TxBytes,
            Backlog = settings.Backlog,
            App = settings.App.ToString().ToLowerInvariant(),
            Strategy = settings.Strategy.ToString().ToLowerInvariant(),
        };
        try
        {
            return new Running(await KernelHost.StartAsync(options, progress, line => Console.Error.WriteLine($"zcd: {line}"), cancel));
        }
        catch (KernelHostException failure)
        {
            throw new CliException(failure.Message);
        }
    }

    private sealed class Running(KernelHost host) : IRunningKernel
    {
        public Task StopRequested => host.StopRequested;

        public Task LoopEnded => host.LoopEnded;

        public Task DrainAsync(TimeSpan timeout) => host.DrainAsync(timeout);

        public ValueTask DisposeAsync() => host.DisposeAsync();
    }
}
