using ZeroCopyDaemon.Cli.Settings;

namespace ZeroCopyDaemon.Cli.Hosting;

/// <summary>Starts a kernel host in this process.</summary>
internal interface IKernelHostLauncher
{
    /// <summary>Returns once the control service answers. Throws <see cref="CliException"/> with one line that says what to change.</summary>
    /// <param name="settings">What was asked for.</param>
    /// <param name="progress">Told how many bytes of the pool have been taken.</param>
    /// <param name="cancel">Gives the start up.</param>
    Task<IRunningKernel> StartAsync(DaemonSettings settings, IProgress<long> progress, CancellationToken cancel);
}

/// <summary>A kernel host in this process. Disposing stops it and removes what it put into the run directory.</summary>
internal interface IRunningKernel : IAsyncDisposable
{
    /// <summary>Ends when somebody asked for a stop by the control service.</summary>
    Task StopRequested { get; }

    /// <summary>Ends when the poll loop did; faulted if by a mistake of ours.</summary>
    Task LoopEnded { get; }

    /// <summary>Takes nothing new, tells the workers to finish, and waits for them at most that long.</summary>
    Task DrainAsync(TimeSpan timeout);
}
