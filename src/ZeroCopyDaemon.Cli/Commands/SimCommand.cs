using System.CommandLine;
using System.Globalization;

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
        Option<int> count = CommonOptions.Number("--count", "Runs, with this seed and those that follow", "M", 1, 1, 1_000_000);
        Option<bool> trace = new("--trace") { Description = "Print each packet and what became of it" };
        command.Add(seed);
        command.Add(count);
        command.Add(trace);
        command.SetAction(int (_) => throw new CliException("this build has no simulation"));
        return command;
    }
}
