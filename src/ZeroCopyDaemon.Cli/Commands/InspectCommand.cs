using System.CommandLine;
using ZeroCopyDaemon.Cli.Control;
using ZeroCopyDaemon.Cli.Hosting;
using ZeroCopyDaemon.Cli.Inspect;
using ZeroCopyDaemon.Cli.Settings;

namespace ZeroCopyDaemon.Cli.Commands;

/// <summary><c>zcd inspect ...</c>: what goes on inside.</summary>
internal static class InspectCommand
{
    public static Command Create()
    {
        Command command = new("inspect", "Look inside a running daemon.");
        command.Add(View("pages", "Map of the page pool: free, posted, in use, and by whom.", () => new PagesView()));
        command.Add(Page());
        command.Add(View("connections", "TCP connections with their windows, queues and leases.", () => new ConnectionsView()));
        command.Add(View("workers", "Workers with the connections and pages they hold.", () => new WorkersView()));
        command.Add(View("nic", "The NIC's settings, rings and counters.", () => new NicView()));
        command.Add(View("counters", "All counters, kernel host's and workers' added up.", () => new CountersView()));
        return command;
    }

    private static Command View(string name, string help, Func<InspectView> create)
    {
        Command command = new(name, help);
        Finish(command, _ => create());
        return command;
    }

    private static Command Page()
    {
        Argument<uint> page = new("page")
        {
            Description = "Number of the page, from 0",
            CustomParser = result =>
            {
                if (!uint.TryParse(result.Tokens[0].Value, out uint number))
                {
                    result.AddError($"a page is named by its number, not by '{result.Tokens[0].Value}'");
                }

                return number;
            },
        };
        Command command = new("page", "One page: state, holders, stream ranges, and its bytes.") { page };
        Finish(command, parsed => new PageView(parsed.GetValue(page)));
        return command;
    }

    private static void Finish(Command command, Func<ParseResult, InspectView> view)
    {
        SettingOptions settings = new(command, SettingsTable.Name, SettingsTable.RunDirectory);
        Option<bool> json = CommonOptions.Json();
        Option<bool> watch = CommonOptions.Watch();
        command.Add(json);
        command.Add(watch);
        command.SetAction(async parsed =>
        {
            using StopSignals signals = new();
            using ControlConnection control = ControlConnection.To(CommonOptions.Locate(settings, parsed));
            try
            {
                await InspectRunner.RunAsync(view(parsed), control, parsed.GetValue(json), parsed.GetValue(watch), signals.Token);
            }
            catch (OperationCanceledException) when (parsed.GetValue(watch))
            {
                // Stopping is how a watch ends.
            }

            return ExitCode.Ok;
        });
    }
}
