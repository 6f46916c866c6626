using System.Diagnostics;

namespace ZeroCopyDaemon.Cli.Hosting;

/// <summary>Starts <c>zcd worker</c> as a child of this process. The child has our standard streams, so that its last words are seen even when we are gone.</summary>
internal sealed class WorkerLauncher(IReadOnlyList<string> arguments) : IWorkerLauncher
{
    public IWorkerProcess Start(int slot)
    {
        ProcessStartInfo start = SelfProcess.StartInfo(arguments);
        return new Child(Process.Start(start) ?? throw new CliException("a worker process could not be started"));
    }

    private sealed class Child : IWorkerProcess
    {
        private readonly Process _process;

        public Child(Process process)
        {
            _process = process;
            Pid = process.Id;
            Exited = WaitAsync();
        }

        public int Pid { get; }

        public Task<int> Exited { get; }

        public void Kill()
        {
            try
            {
                _process.Kill();
            }
            catch (InvalidOperationException)
            {
                // It has ended meanwhile, which is what was wanted.
            }
        }

        public void Dispose() => _process.Dispose();

        private async Task<int> WaitAsync()
        {
            await _process.WaitForExitAsync();
            return _process.ExitCode;
        }
    }
}

/// <summary>How to start this very program again.</summary>
internal static class SelfProcess
{
    public static ProcessStartInfo StartInfo(IEnumerable<string> arguments)
    {
        string program = Environment.ProcessPath ?? throw new CliException("this program's own path is not known");
        List<string> all = [];
        if (string.Equals(Path.GetFileNameWithoutExtension(program), "dotnet", StringComparison.OrdinalIgnoreCase))
        {
            all.Add(Path.Combine(AppContext.BaseDirectory, "zcd.dll"));
        }

        all.AddRange(arguments);
        return new ProcessStartInfo(program, all) { UseShellExecute = false };
    }
}
