namespace ZeroCopyDaemon.Cli.Hosting;

/// <summary>Starts worker processes.</summary>
internal interface IWorkerLauncher
{
    IWorkerProcess Start(int slot);
}

/// <summary>A child process that the supervisor started, and nobody else's.</summary>
internal interface IWorkerProcess : IDisposable
{
    int Pid { get; }

    /// <summary>Its exit code: 128 + N if signal N ended it.</summary>
    Task<int> Exited { get; }

    /// <summary>Ends it at once.</summary>
    void Kill();
}
