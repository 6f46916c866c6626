using System.CommandLine;
using ZeroCopyDaemon.Cli.Settings;

namespace ZeroCopyDaemon.Cli.Commands;

/// <summary><c>zcd worker</c>: one more worker of a running daemon.</summary>
internal static class WorkerCommand
{
    public static Command Create()
    {
        Command command = new("worker", "Attach one more worker to a running daemon.");
        _ = new SettingOptions(command, SettingsTable.Name, SettingsTable.App, SettingsTable.Strategy, SettingsTable.Listen, SettingsTable.RunDirectory);
        command.SetAction(int (_) => throw new CliException("this build has no worker library"));
        return command;
    }
}
