using ZeroCopyDaemon.Cli.Settings;

namespace ZeroCopyDaemon.Cli.Hosting;

/// <summary>Starts the real kernel host.</summary>
internal sealed class KernelHostLauncher : IKernelHostLauncher
{
    public static KernelHostLauncher Instance { get; } = new();

    public Task<IRunningKernel> StartAsync(DaemonSettings settings, IProgress<long> progress, CancellationToken cancel) => throw new CliException("this build has no kernel host");
}
