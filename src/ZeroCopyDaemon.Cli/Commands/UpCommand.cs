using System.CommandLine;
using ZeroCopyDaemon.Cli.Control;
using ZeroCopyDaemon.Cli.Hosting;
using ZeroCopyDaemon.Cli.Settings;
using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.Cli.Commands;

/// <summary><c>zcd up</c>: a daemon with its workers, in the foreground or the background.</summary>
internal static class UpCommand
{
    public static Command Create()
    {
        Command command = new("up", "Start a daemon: the kernel host and its workers.");
        SettingOptions settings = new(command, SettingsTable.All);
        Option<bool> detach = new("--detach") { Description = "Run in the background; returns once clients can connect" };
        Option<string?> log = new(Detached.ChildOption) { Hidden = true };
        command.Add(detach);
        command.Add(log);
        command.SetAction(parsed => RunAsync(settings.Given(parsed), parsed.GetValue(detach), parsed.GetValue(log)));
        return command;
    }

    private static async Task<int> RunAsync(Dictionary<string, string> given, bool detach, string? log)
    {
        // Before anything touches the console: it remembers the descriptors it first saw.
        PipeProgress? pipe = log is null ? null : new PipeProgress(Detached.TakeOver(log));
        using StopSignals signals = new();
        try
        {
            DaemonSettings settings = SettingsResolver.Resolve(given);
            RunDirectory directory = ControlConnection.Locate(settings);
            if (detach)
            {
                // Before the log of one that runs is put aside for ours.
                await DaemonRun.CheckNameAsync(directory, signals.Token);
                return await Detached.StartAsync(directory, ["up", .. given.SelectMany(g => (string[])["--" + g.Key, g.Value])], signals.Token);
            }

            TerminalProgress terminal = new();
            try
            {
                return await new DaemonRun(settings, KernelHostLauncher.Instance, pipe is null ? terminal : pipe).RunAsync(signals);
            }
            finally
            {
                terminal.Clear();
            }
        }
        catch (Exception failure) when (pipe is not null)
        {
            pipe.Error(CommandLine.Explain(failure).Lines[0]);
            throw;
        }
    }
}
