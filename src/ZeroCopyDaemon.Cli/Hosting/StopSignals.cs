using System.Runtime.InteropServices;

namespace ZeroCopyDaemon.Cli.Hosting;

/// <summary>Ctrl-C and SIGTERM as a token. The second one doesn't wait for anybody: <see cref="OnImpatience"/> is run, then the process exits.</summary>
internal sealed class StopSignals : IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly List<PosixSignalRegistration> _registrations = [];
    private readonly bool _ignoreInterrupt;
    private int _count;

    /// <param name="ignoreInterrupt">For a supervised worker: a terminal's Ctrl-C reaches the whole process group, and the supervisor decides what it means.</param>
    public StopSignals(bool ignoreInterrupt = false)
    {
        _ignoreInterrupt = ignoreInterrupt;
        foreach (PosixSignal signal in new[] { PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGQUIT, PosixSignal.SIGHUP })
        {
            _registrations.Add(PosixSignalRegistration.Create(signal, Handle));
        }
    }

    public CancellationToken Token => _stop.Token;

    /// <summary>Done at the second signal, before the process exits.</summary>
    public Action? OnImpatience { get; set; }

    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations)
        {
            registration.Dispose();
        }

        _stop.Dispose();
    }

    private void Handle(PosixSignalContext context)
    {
        context.Cancel = true;
        if (_ignoreInterrupt && context.Signal is PosixSignal.SIGINT or PosixSignal.SIGQUIT or PosixSignal.SIGHUP)
        {
            return;
        }

        if (Interlocked.Increment(ref _count) == 1)
        {
            _stop.Cancel();
            return;
        }

        OnImpatience?.Invoke();
        Environment.Exit(ExitCode.Interrupted);
    }
}
