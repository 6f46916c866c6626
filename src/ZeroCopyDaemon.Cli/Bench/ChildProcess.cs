using System.Diagnostics;
using System.Globalization;

namespace ZeroCopyDaemon.Cli.Bench;

/// <summary>Child processes of the benchmark. None of them outlives the call that started it.</summary>
internal static class ChildProcess
{
    /// <summary>Runs a process to its end.</summary>
    public static async Task<(int Code, string Output, string Error)> RunAsync(ProcessStartInfo start, CancellationToken cancel)
    {
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        using Process process = Process.Start(start) ?? throw new CliException($"{start.FileName} could not be started");
        try
        {
            Task<string> output = process.StandardOutput.ReadToEndAsync(cancel);
            string error = await process.StandardError.ReadToEndAsync(cancel);
            string text = await output;
            await process.WaitForExitAsync(cancel);
            return (process.ExitCode, text, error);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw;
        }
    }

    /// <summary>A process and all that came of it.</summary>
    public static IReadOnlyList<int> Tree(int root)
    {
        ILookup<int, int> children = Processes().ToLookup(process => process.Parent, process => process.Pid);
        List<int> tree = [root];
        for (int i = 0; i < tree.Count; i++)
        {
            tree.AddRange(children[tree[i]]);
        }

        return tree;
    }

    private static IEnumerable<(int Pid, int Parent)> Processes()
    {
        foreach (string folder in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(folder), out int pid))
            {
                continue;
            }

            string stat;
            try
            {
                stat = File.ReadAllText($"/proc/{pid}/stat");
            }
            catch (IOException)
            {
                // It has ended meanwhile.
                continue;
            }

            // The program's name is in parentheses and may contain anything; the state and the parent's number follow it.
            yield return (pid, int.Parse(stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[1], CultureInfo.InvariantCulture));
        }
    }
}
