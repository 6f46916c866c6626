using System.CommandLine;
using System.Diagnostics;
using ZeroCopyDaemon.Cli.Control;
using ZeroCopyDaemon.Cli.Hosting;
using ZeroCopyDaemon.Cli.Settings;
using ZeroCopyDaemon.Memory.Mapping;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.Cli.Commands;

/// <summary><c>zcd down</c>: stops a daemon by asking it to, and waits until its process has gone. Kills nobody.</summary>
internal static class DownCommand
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);

    private static readonly TimeSpan DrainTimeout = TimeSpan.FromSeconds(5);

    public static Command Create()
    {
        Command command = new("down", "Stop a daemon: finish what is open, then end its processes.");
        SettingOptions settings = new(command, SettingsTable.Name, SettingsTable.RunDirectory);
        command.SetAction(async parsed =>
        {
            using StopSignals signals = new();
            return await RunAsync(CommonOptions.Locate(settings, parsed), signals.Token);
        });
        return command;
    }

    private static async Task<int> RunAsync(RunDirectory directory, CancellationToken cancel)
    {
        if (!ControlConnection.IsListening(directory))
        {
            if (CleanUp(directory))
            {
                Console.Out.WriteLine($"no daemon '{directory.Name}' was running; cleared away what a killed one had left in {directory.Path}");
                return ExitCode.Ok;
            }

            throw new CliException($"no daemon '{directory.Name}' is running (nobody answers on {directory.ControlSocket})");
        }

        using ControlConnection control = ControlConnection.To(directory);
        StatusReply status = await control.GetStatusAsync(cancel);
        await control.StopAsync(DrainTimeout, cancel);
        List<int> pids = [status.Pid, .. status.Workers.Where(w => w.Pid > 0 && w.State != "detached").Select(w => w.Pid)];
        long start = Stopwatch.GetTimestamp();
        while (pids.Any(IsAlive))
        {
            if (Stopwatch.GetElapsedTime(start) > Patience)
            {
                throw new CliException($"the daemon '{directory.Name}' was told to stop, but process {pids.First(IsAlive)} still runs after {Patience.TotalSeconds:0} s");
            }

            await Task.Delay(20, cancel);
        }

        CleanUp(directory);
        Console.Out.WriteLine($"zcd '{directory.Name}' (pid {status.Pid}) has stopped");
        return ExitCode.Ok;
    }

    /// <summary>Removes what a daemon that is gone has left; logs stay. False if there was nothing, or a daemon is alive after all.</summary>
    private static bool CleanUp(RunDirectory directory)
    {
        string[] files = [directory.ControlSocket, directory.StateFile, directory.Lock];
        string[] folders = [directory.Bells, directory.Areas];
        if (!files.Any(File.Exists) && !folders.Any(f => Directory.Exists(f) && Directory.EnumerateFileSystemEntries(f).Any()))
        {
            return false;
        }

        try
        {
            // Whoever holds the lock is alive, or about to be.
            using DaemonLock held = DaemonLock.Acquire(directory.Lock);
            foreach (string file in files[..2])
            {
                File.Delete(file);
            }

            foreach (string folder in folders.Where(Directory.Exists))
            {
                Directory.Delete(folder, recursive: true);
            }

            return true;
        }
        catch (DaemonAlreadyRunningException)
        {
            return false;
        }
    }

    private static bool IsAlive(int pid)
    {
        try
        {
            using Process process = Process.GetProcessById(pid);
            return !process.HasExited && !IsZombie(pid);
        }
        catch (ArgumentException)
        {
            return false;
        }
    }

    // A process that has ended but whose parent has not looked yet holds nothing any more.
    private static bool IsZombie(int pid)
    {
        if (!OperatingSystem.IsLinux())
        {
            return false;
        }

        try
        {
            string stat = File.ReadAllText($"/proc/{pid}/stat");
            return stat[(stat.LastIndexOf(')') + 1)..].TrimStart().StartsWith('Z');
        }
        catch (IOException)
        {
            return true;
        }
    }
}
