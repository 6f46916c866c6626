using System.CommandLine;
using System.Diagnostics;
using System.Text.Json;
using ZeroCopyDaemon.Cli.Hosting;
using ZeroCopyDaemon.Packetdrill;

namespace ZeroCopyDaemon.Cli.Commands;

/// <summary><c>zcd packetdrill</c>: scripts of what TCP must do, run against the stack in virtual time.</summary>
internal static class PacketdrillCommand
{
    public static Command Create()
    {
        Command command = new("packetdrill", "Run packetdrill scripts against the TCP/IP stack, in virtual time.");
        Argument<string[]> paths = new("path") { Description = "Scripts, or folders of them", HelpName = "PATH", Arity = ArgumentArity.OneOrMore };
        Option<string[]> define = new("--define")
        {
            Description = $"A name that #ifdef finds in scripts, instead of {string.Join(" and ", ScriptRunner.DefaultDefines)}",
            HelpName = "NAME",
        };
        Option<bool> json = CommonOptions.Json();
        command.Add(paths);
        command.Add(define);
        command.Add(json);
        command.SetAction(parsed =>
        {
            using StopSignals signals = new();
            string[] names = parsed.GetValue(define) ?? [];
            return Run(parsed.GetValue(paths)!, names.Length > 0 ? names : ScriptRunner.DefaultDefines, parsed.GetValue(json), signals.Token);
        });
        return command;
    }

    private static int Run(string[] paths, IReadOnlyList<string> defines, bool json, CancellationToken cancel)
    {
        IReadOnlyList<string> files;
        try
        {
            files = ScriptRunner.Find(paths);
        }
        catch (FileNotFoundException missing)
        {
            throw new UsageException(missing.Message);
        }

        if (files.Count == 0)
        {
            throw new UsageException($"there is no script (*.pkt) in {string.Join(", ", paths)}");
        }

        long started = Stopwatch.GetTimestamp();
        var results = new ScriptResult[files.Count];
        Parallel.For(0, files.Count, new ParallelOptions { CancellationToken = cancel }, i => results[i] = ScriptRunner.RunFile(files[i], defines));
        TimeSpan took = Stopwatch.GetElapsedTime(started);
        if (json)
        {
            PrintJson(results, took);
        }
        else
        {
            PrintLines(results, took);
        }

        // What can't be run is not passed, but no failure either: unless there is nothing else.
        return results.Any(result => result.Outcome == ScriptOutcome.Fail) || results.All(result => result.Outcome == ScriptOutcome.Unsupported) ? ExitCode.Failed : ExitCode.Ok;
    }

    private static void PrintLines(ScriptResult[] results, TimeSpan took)
    {
        foreach (ScriptResult result in results)
        {
            Console.Out.WriteLine(result);
            if (results.Length == 1)
            {
                foreach (string note in result.Notes)
                {
                    Console.Out.WriteLine($"  note: {note}");
                }
            }
        }

        Console.Out.WriteLine(
            $"{Count(results, ScriptOutcome.Pass)} passed, {Count(results, ScriptOutcome.Fail)} failed, {Count(results, ScriptOutcome.Unsupported)} unsupported, of {results.Length} scripts: "
            + $"{results.Sum(result => result.ElapsedUs) / 1e6:0} s of virtual time in {took.TotalSeconds:0.0} s");
    }

    private static void PrintJson(ScriptResult[] results, TimeSpan took)
    {
        using Stream output = Console.OpenStandardOutput();
        using var writer = new Utf8JsonWriter(output, new JsonWriterOptions { Indented = true });
        writer.WriteStartObject();
        writer.WriteNumber("passed", Count(results, ScriptOutcome.Pass));
        writer.WriteNumber("failed", Count(results, ScriptOutcome.Fail));
        writer.WriteNumber("unsupported", Count(results, ScriptOutcome.Unsupported));
        writer.WriteNumber("seconds", Math.Round(took.TotalSeconds, 3));
        writer.WriteStartArray("scripts");
        foreach (ScriptResult result in results)
        {
            writer.WriteStartObject();
            writer.WriteString("path", result.Name);
            writer.WriteString("outcome", result.Outcome switch { ScriptOutcome.Pass => "PASS", ScriptOutcome.Fail => "FAIL", _ => "UNSUPPORTED" });
            if (result.Outcome != ScriptOutcome.Pass)
            {
                writer.WriteNumber("line", result.Line);
                writer.WriteString("message", result.Message);
            }

            writer.WriteNumber("virtual_seconds", result.ElapsedUs / 1e6);
            writer.WriteStartArray("notes");
            foreach (string note in result.Notes)
            {
                writer.WriteStringValue(note);
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
        writer.Flush();
        output.WriteByte((byte)'\n');
    }

    private static int Count(ScriptResult[] results, ScriptOutcome outcome) => results.Count(result => result.Outcome == outcome);
}
