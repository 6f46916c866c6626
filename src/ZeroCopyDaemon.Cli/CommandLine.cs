using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using ZeroCopyDaemon.Cli.Commands;
using ZeroCopyDaemon.Cli.Hosting;
using ZeroCopyDaemon.Memory.Mapping;
using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.Cli;

/// <summary>All commands, and the one place where a failure becomes a line on standard error and an exit code.</summary>
internal static class CommandLine
{
    private const string DebugVariable = "ZCD_DEBUG";

    public static async Task<int> RunAsync(string[] args)
    {
        RootCommand root = CreateRoot();
        ParseResult parsed = root.Parse(args);
        if (parsed.Action is ParseErrorAction || (parsed.Action is null && parsed.Errors.Count > 0))
        {
            await Console.Error.WriteLineAsync($"zcd: {Complaint(parsed)} (see {ProgramName.Command}{CommandPath(parsed)} --help)");
            return ExitCode.Usage;
        }

        try
        {
            return await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
        }
        catch (Exception failure)
        {
            return Report(failure);
        }
    }

    /// <summary>The tree of commands.</summary>
    public static RootCommand CreateRoot()
    {
        RootCommand root = new("ZeroCopyDaemon: a user-space network kernel whose workers read what the NIC wrote, where it wrote it.");
        foreach (Command command in (Command[])
        [
            UpCommand.Create(),
            DownCommand.Create(),
            StatusCommand.Create(),
            WorkerCommand.Create(),
            ClientCommand.Create(),
            InspectCommand.Create(),
            WiresCommand.Create(),
            SimCommand.Create(),
            PacketdrillCommand.Create(),
            BenchCommand.Create(),
            BenchCommand.CreateServer(),
        ])
        {
            root.Add(command);
        }

        root.SetAction(parsed =>
        {
            new HelpAction().Invoke(parsed);
            return ExitCode.Usage;
        });
        return root;
    }

    /// <summary>Writes what the user should know, in a line for each thing that is wrong, and returns the exit code.</summary>
    public static int Report(Exception failure)
    {
        (IReadOnlyList<string> lines, int code) = Explain(failure);
        foreach (string line in lines)
        {
            Console.Error.WriteLine("zcd: " + line);
        }

        if (Environment.GetEnvironmentVariable(DebugVariable) is { Length: > 0 })
        {
            Console.Error.WriteLine(failure);
        }

        return code;
    }

    /// <summary>A failure in words, and its exit code.</summary>
    public static (IReadOnlyList<string> Lines, int Code) Explain(Exception failure) => failure switch
    {
        UsageException usage => (usage.Lines, usage.ExitCode),
        CliException known => ([OneLine(known.Message)], known.ExitCode),
        OperationCanceledException => (["interrupted"], ExitCode.Interrupted),
        RunDirectoryException => ([OneLine(failure.Message)], ExitCode.Usage),
        IOException or UnauthorizedAccessException => ([OneLine(failure.Message)], ExitCode.Failed),
        _ => ([$"a mistake in this program: {failure.GetType().Name}: {OneLine(failure.Message)} ({DebugVariable}=1 shows where)"], ExitCode.Failed),
    };

    private static string OneLine(string message) => message.ReplaceLineEndings(" ").TrimEnd('.', ' ');

    private static string CommandPath(ParseResult parsed)
    {
        string path = string.Empty;
        for (SymbolResult? at = parsed.CommandResult; at is CommandResult { Command: not RootCommand } command; at = at.Parent)
        {
            path = $" {command.Command.Name}{path}";
        }

        return path;
    }

    // One line even where several things are wrong at once: what follows is mostly caused by the first.
    private static string Complaint(ParseResult parsed)
    {
        Command command = parsed.CommandResult.Command;
        if (parsed.UnmatchedTokens.Count > 0)
        {
            return $"{parsed.UnmatchedTokens[0]}: there is no such {(parsed.UnmatchedTokens[0].StartsWith('-') ? "option" : "command or argument")}";
        }

        if (command.Subcommands.Count > 0)
        {
            return $"{command.Name}: say of what: {string.Join(", ", command.Subcommands.Select(c => c.Name))}";
        }

        return OneLine(parsed.Errors.Count > 0 ? parsed.Errors[0].Message : "that could not be understood");
    }
}
