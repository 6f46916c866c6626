using System.CommandLine;
using System.Globalization;
using ZeroCopyDaemon.Cli.Hosting;
using ZeroCopyDaemon.Simulation;

namespace ZeroCopyDaemon.Cli.Commands;

/// <summary><c>zcd sim</c>: two stacks over an impaired wire, replayed from a seed.</summary>
internal static class SimCommand
{
    public static Command Create()
    {
        Command command = new("sim", "Run the simulation of two stacks over an impaired wire; a seed alone replays a run.");
        Option<ulong> seed = new("--seed")
        {
            Description = "Seed of the (first) run",
            HelpName = "N",
            Required = true,
            CustomParser = result =>
            {
                if (!ulong.TryParse(result.Tokens[0].Value, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number))
                {
                    result.AddError($"--seed must be a whole number from 0 on, not '{result.Tokens[0].Value}'");
                }

                return number;
            },
        };
        Option<int> count = CommonOptions.Number("--count", "Runs, with this seed and those that follow", "M", 1, 1, 100_000_000);
        Option<bool> trace = new("--trace") { Description = "Print each frame and what became of it" };
        command.Add(seed);
        command.Add(count);
        command.Add(trace);
        command.SetAction(parsed =>
        {
            using StopSignals signals = new();
            return parsed.GetValue(count) == 1 || parsed.GetValue(trace)
                ? RunTraced(parsed.GetValue(seed), parsed.GetValue(count), parsed.GetValue(trace), signals.Token)
                : RunMany(parsed.GetValue(seed), parsed.GetValue(count), signals.Token);
        });
        return command;
    }

    private static int RunTraced(ulong first, int count, bool trace, CancellationToken cancel)
    {
        bool ok = true;
        for (int i = 0; i < count; i++)
        {
            cancel.ThrowIfCancellationRequested();
            SimResult result = SimRunner.Run(first + (ulong)i, trace ? Console.Out : null);
            ok &= result.Ok;
            if (!trace)
            {
                Console.Out.WriteLine(result);
            }
        }

        return ok ? ExitCode.Ok : ExitCode.Failed;
    }

    private static int RunMany(ulong first, int count, CancellationToken cancel)
    {
        SimTotals totals = SimRunner.RunMany(first, count, each: result => PrintFailure(result), stop: cancel);
        Console.Out.WriteLine(totals);
        return totals.Failures.Count == 0 ? ExitCode.Ok : ExitCode.Failed;
    }

    private static void PrintFailure(SimResult result)
    {
        if (!result.Ok)
        {
            Console.Out.WriteLine(result);
            Console.Out.WriteLine($"replay it with: {ProgramName.Command} sim --seed {result.Seed} --trace");
        }
    }
}
