using System.Net;
using ZeroCopyDaemon.InteropTests;

[assembly: AssemblyFixture(typeof(DefaultDaemons))]

namespace ZeroCopyDaemon.InteropTests;

/// <summary>
/// One daemon for every IP version that all cases share which want no settings of their own; started by the first of them. A case that fails takes its daemon with it, so that the next one starts
/// with a fresh one.
/// </summary>
public sealed class DefaultDaemons : IAsyncDisposable
{
    private const int EchoPort = 7000;

    private readonly Dictionary<IpFamily, Shared> _daemons = [];

    /// <summary>Runs a case on the shared daemon.</summary>
    internal async Task CaseAsync(IpFamily family, Func<TapDaemon, Task> body)
    {
        if (!_daemons.TryGetValue(family, out Shared? shared))
        {
            _daemons[family] = shared = new(await TapDaemon.StartAsync(family));
        }

        try
        {
            await shared.Daemon.CaseAsync(() => body(shared.Daemon));
        }
        catch
        {
            _daemons.Remove(family);
            try
            {
                await shared.Daemon.DisposeAsync();
            }
            catch (Exception consequence)
            {
                TestContext.Current.TestOutputHelper?.WriteLine($"and its daemon did not end well: {consequence.Message}");
            }

            throw;
        }
    }

    /// <summary>Runs a case on the shared daemon; it is given the address of an echo app there.</summary>
    internal Task EchoCaseAsync(IpFamily family, Func<TapDaemon, IPEndPoint, Task> body) => CaseAsync(family, async daemon =>
    {
        Shared shared = _daemons[family];
        shared.Echo ??= await daemon.StartWorkerAsync("echo", EchoPort);
        await body(daemon, shared.Echo);
    });

    public async ValueTask DisposeAsync()
    {
        foreach (Shared shared in _daemons.Values)
        {
            await shared.Daemon.DisposeAsync();
        }
    }

    private sealed class Shared(TapDaemon daemon)
    {
        public TapDaemon Daemon { get; } = daemon;

        public IPEndPoint? Echo { get; set; }
    }
}
