using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.Cli.Hosting;

/// <summary>
/// <c>up --detach</c>. The parent starts the same program again and reads over a pipe how its start goes; the child leaves the terminal's session, turns its standard streams to the log
/// file, so that its workers inherit those, and keeps the pipe to itself.
/// </summary>
internal static class Detached
{
    /// <summary>Hidden option: the log file of a child in the background.</summary>
    public const string ChildOption = "--detached-log";

    public const string LogName = "daemon.log";

    public static string LogPath(RunDirectory directory) => Path.Combine(directory.Logs, LogName);

    /// <summary>The parent's part: returns the exit code once the daemon serves, or has failed to.</summary>
    public static async Task<int> StartAsync(RunDirectory directory, IEnumerable<string> arguments, CancellationToken cancel)
    {
        directory.Create();
        string log = LogPath(directory);
        ProcessStartInfo start = SelfProcess.StartInfo([.. arguments, ChildOption, log]);
        start.RedirectStandardOutput = true;
        start.RedirectStandardInput = true;

        // The runtime keeps a copy of the standard error it was born with: it must not be ours, or whoever reads ours to its end waits for the daemon's.
        start.RedirectStandardError = true;
        start.CreateNoWindow = true;
        using Process child = Process.Start(start) ?? throw new CliException("the daemon's process could not be started");
        TerminalProgress progress = new();
        Task<string> early = child.StandardError.ReadToEndAsync(cancel);
        string? error = null;
        List<string> lines = [];
        try
        {
            while (await child.StandardOutput.ReadLineAsync(cancel) is { } line)
            {
                if (line.StartsWith(PipeProgress.StepMark, StringComparison.Ordinal))
                {
                    progress.Step(line[PipeProgress.StepMark.Length..]);
                }
                else if (line.StartsWith(PipeProgress.LineMark, StringComparison.Ordinal))
                {
                    lines.Add(line[PipeProgress.LineMark.Length..]);
                }
                else if (line.StartsWith(PipeProgress.ErrorMark, StringComparison.Ordinal))
                {
                    error = line[PipeProgress.ErrorMark.Length..];
                }
                else if (string.Equals(line, PipeProgress.ReadyMark, StringComparison.Ordinal))
                {
                    progress.Ready(lines);
                    return ExitCode.Ok;
                }
            }
        }
        catch (OperationCanceledException)
        {
            progress.Clear();
            Terminate(child);
            await child.WaitForExitAsync(CancellationToken.None);
            throw;
        }

        await child.WaitForExitAsync(cancel);
        progress.Clear();
        throw new CliException(error ?? LastLine(await early) ?? LastLine(ReadLog(log)) ?? $"the daemon ended while it started, with exit code {child.ExitCode}", child.ExitCode == ExitCode.Ok ? ExitCode.Failed : child.ExitCode);
    }

    /// <summary>The child's part, before anything has touched the console. Returns the pipe to the parent.</summary>
    public static TextWriter TakeOver(string logPath)
    {
        if (File.Exists(logPath))
        {
            File.Move(logPath, logPath + ".1", overwrite: true);
        }

        if (OperatingSystem.IsWindows())
        {
            // No duplicating of descriptors here: the log has what this process says, and the workers' words are lost.
            StreamWriter toParent = new(Console.OpenStandardOutput()) { AutoFlush = true };
            StreamWriter writer = new(new FileStream(logPath, FileMode.Create, FileAccess.Write, FileShare.ReadWrite)) { AutoFlush = true };
            Console.SetOut(writer);
            Console.SetError(writer);
            return toParent;
        }

        _ = setsid();
        int parent = dup(1);
        using (SafeFileHandle log = File.OpenHandle(logPath, FileMode.CreateNew, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete))
        using (SafeFileHandle nothing = File.OpenHandle("/dev/null", FileMode.Open, FileAccess.Read, FileShare.ReadWrite))
        {
            File.SetUnixFileMode(log, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            _ = dup2((int)nothing.DangerousGetHandle(), 0);
            _ = dup2((int)log.DangerousGetHandle(), 1);
            _ = dup2((int)log.DangerousGetHandle(), 2);
        }

        // Not for the workers: the parent learns of our end by the pipe's.
        _ = fcntl(parent, SetDescriptorFlags, CloseOnExec);
        return new StreamWriter(new FileStream(new SafeFileHandle(parent, ownsHandle: true), FileAccess.Write, 1)) { AutoFlush = true };
    }

    private const int SetDescriptorFlags = 2;
    private const int CloseOnExec = 1;

    // Asked kindly, it clears away what it has put up so far.
    private static void Terminate(Process child)
    {
        const int SigTerm = 15;
        if (OperatingSystem.IsWindows() || kill(child.Id, SigTerm) != 0)
        {
            child.Kill();
        }
    }

    private static string ReadLog(string log)
    {
        try
        {
            using FileStream stream = new(log, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            using StreamReader reader = new(stream);
            return reader.ReadToEnd();
        }
        catch (IOException)
        {
            return string.Empty;
        }
    }

    private static string? LastLine(string text)
    {
        string? line = text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).LastOrDefault();
        return line?.StartsWith("zcd: ", StringComparison.Ordinal) == true ? line[5..] : line;
    }

    [DllImport("libc", SetLastError = true)]
    private static extern int setsid();

    [DllImport("libc", SetLastError = true)]
    private static extern int kill(int pid, int signal);

    [DllImport("libc", SetLastError = true)]
    private static extern int dup(int fd);

    [DllImport("libc", SetLastError = true)]
    private static extern int dup2(int from, int to);

    [DllImport("libc", SetLastError = true)]
    private static extern int fcntl(int fd, int command, int argument);
}
