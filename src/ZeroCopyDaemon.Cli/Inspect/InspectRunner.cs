using Spectre.Console;
using ZeroCopyDaemon.Cli.Control;
using ZeroCopyDaemon.Cli.Output;

namespace ZeroCopyDaemon.Cli.Inspect;

/// <summary>Shows a view once, or each second until stopped: in place on a terminal, below each other elsewhere, a JSON document a line with --json.</summary>
internal static class InspectRunner
{
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(1);

    public static async Task RunAsync(InspectView view, ControlConnection control, bool json, bool watch, CancellationToken cancel)
    {
        if (json)
        {
            await RunJsonAsync(view, control, watch, cancel);
            return;
        }

        IAnsiConsole console = Terminal.Out;
        InspectSnapshot first = await view.TakeAsync(control, cancel);
        if (!watch)
        {
            console.Write(first.Render(console.Profile.Width, Terminal.Rows));
            return;
        }

        using PeriodicTimer timer = new(Period);
        if (!console.Profile.Capabilities.Interactive || Console.IsOutputRedirected)
        {
            console.Write(first.Render(console.Profile.Width, Terminal.Rows));
            while (await timer.WaitForNextTickAsync(cancel))
            {
                console.WriteLine();
                console.Write((await view.TakeAsync(control, cancel)).Render(console.Profile.Width, Terminal.Rows));
            }

            return;
        }

        await console.Live(first.Render(console.Profile.Width, Terminal.Rows)).AutoClear(false).Overflow(VerticalOverflow.Crop).StartAsync(async live =>
        {
            live.Refresh();
            while (await timer.WaitForNextTickAsync(cancel))
            {
                live.UpdateTarget((await view.TakeAsync(control, cancel)).Render(console.Profile.Width, Terminal.Rows));
                live.Refresh();
            }
        });
    }

    private static async Task RunJsonAsync(InspectView view, ControlConnection control, bool watch, CancellationToken cancel)
    {
        InspectSnapshot snapshot = await view.TakeAsync(control, cancel);
        Console.Out.WriteLine(ProtoJson.Document(snapshot.WriteJson, indented: !watch));
        if (!watch)
        {
            return;
        }

        using PeriodicTimer timer = new(Period);
        while (await timer.WaitForNextTickAsync(cancel))
        {
            snapshot = await view.TakeAsync(control, cancel);
            Console.Out.WriteLine(ProtoJson.Document(snapshot.WriteJson, indented: false));
        }
    }
}
