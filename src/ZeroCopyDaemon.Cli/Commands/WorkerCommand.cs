using System.CommandLine;
using ZeroCopyDaemon.Cli.Apps;
using ZeroCopyDaemon.Cli.Control;
using ZeroCopyDaemon.Cli.Hosting;
using ZeroCopyDaemon.Cli.Settings;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.Cli.Commands;

/// <summary><c>zcd worker</c>: one more worker of a running daemon; what it isn't told it takes over from the daemon's others.</summary>
internal static class WorkerCommand
{
    public static Command Create()
    {
        Command command = new("worker", "Attach one more worker to a running daemon.");
        SettingOptions options = new(command, SettingsTable.Name, SettingsTable.App, SettingsTable.Strategy, SettingsTable.Listen, SettingsTable.Backlog, SettingsTable.TxSize, SettingsTable.RunDirectory);
        Option<bool> supervised = new("--supervised") { Hidden = true };
        command.Add(supervised);
        command.SetAction(async parsed =>
        {
            bool child = parsed.GetValue(supervised);
            using StopSignals signals = new(ignoreInterrupt: child);
            Dictionary<string, string> given = options.Given(parsed);
            RunDirectory directory = ControlConnection.Locate(SettingsResolver.ResolveDaemon(given));
            if (!child)
            {
                await AddDaemonsChoicesAsync(given, directory, signals.Token);
            }

            DaemonSettings settings = SettingsResolver.Resolve([SettingsResolver.FromOptions(given)], SettingsTable.All);
            WorkerRun worker = new(new(directory, settings.App, settings.Strategy, settings.Port, settings.Backlog, settings.TxBytes));
            return await worker.RunAsync(signals.Token, (client, listener) =>
            {
                if (!child)
                {
                    Console.Out.WriteLine($"worker {client.WorkerId} (pid {Environment.ProcessId}) of zcd '{directory.Name}' serves {listener.PublicAddress}; Ctrl-C stops it");
                }
            });
        });
        return command;
    }

    private static async Task AddDaemonsChoicesAsync(Dictionary<string, string> given, RunDirectory directory, CancellationToken cancel)
    {
        using ControlConnection control = ControlConnection.To(directory);
        StatusReply status = await control.GetStatusAsync(cancel);
        if (status.App.Length > 0)
        {
            given.TryAdd(SettingsTable.App.Name, status.App);
        }

        if (status.Strategy.Length > 0)
        {
            given.TryAdd(SettingsTable.Strategy.Name, status.Strategy);
        }

        if (status.Listeners.Count > 0)
        {
            given.TryAdd(SettingsTable.Listen.Name, status.Listeners[0].Port.ToString(System.Globalization.CultureInfo.InvariantCulture));
        }
    }
}
