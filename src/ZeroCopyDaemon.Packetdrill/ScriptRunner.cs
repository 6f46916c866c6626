using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Packetdrill.Language;
using ZeroCopyDaemon.Packetdrill.Runtime;

namespace ZeroCopyDaemon.Packetdrill;

/// <summary>
/// Runs scripts in the packetdrill language against the stack, in virtual time: an hour of TCP takes milliseconds, and a script gives the same result every time. Each script has a stack of its own; scripts
/// may run on several threads at once.
/// </summary>
public static class ScriptRunner
{
    /// <summary>The names that <c>#ifdef</c> finds unless told otherwise: where a suite knows both what the standards say and what some system does instead, it is the standards.</summary>
    public static IReadOnlyList<string> DefaultDefines { get; } = ["STANDARD"];

    /// <summary>Scripts under paths: files as they are, of folders all <c>*.pkt</c> below them, in order of their names. Throws <see cref="FileNotFoundException"/> for a path that isn't there.</summary>
    public static IReadOnlyList<string> Find(IEnumerable<string> paths)
    {
        var files = new List<string>();
        foreach (string path in paths)
        {
            if (Directory.Exists(path))
            {
                files.AddRange(Directory.EnumerateFiles(path, "*.pkt", SearchOption.AllDirectories).Order(StringComparer.Ordinal));
            }
            else
            {
                files.Add(File.Exists(path) ? path : throw new FileNotFoundException($"There is no script or folder {path}.", path));
            }
        }

        return files;
    }

    /// <summary>Runs a script from a file.</summary>
    public static ScriptResult RunFile(string path, IEnumerable<string>? defines = null) => Run(path, File.ReadAllText(path), defines);

    /// <summary>Runs a script. Never throws because of what is in it.</summary>
    /// <param name="name">For the result.</param>
    /// <param name="text">The script.</param>
    /// <param name="defines">Names that <c>#ifdef</c> finds; null = <see cref="DefaultDefines"/>.</param>
    public static ScriptResult Run(string name, string text, IEnumerable<string>? defines = null)
    {
        ScriptRun? run = null;
        try
        {
            Script script = ScriptParser.Parse(text, defines ?? DefaultDefines);
            if (script.Options.Unsupported is { } missing)
            {
                throw ScriptException.Unsupported(missing.Line, missing.Reason);
            }

            run = new ScriptRun(script);
            run.Run();
            return new ScriptResult(name, ScriptOutcome.Pass, 0, string.Empty, run.ElapsedUs, run.Notes);
        }
        catch (ScriptException end)
        {
            ScriptOutcome outcome = end.Fault == ScriptFault.Unsupported ? ScriptOutcome.Unsupported : ScriptOutcome.Fail;
            return new ScriptResult(name, outcome, end.Line, end.Message, run?.ElapsedUs ?? 0, run?.Notes ?? []);
        }
        catch (Exception broken) when (broken is InvariantViolationException or InvalidOperationException or ArgumentException)
        {
            return new ScriptResult(name, ScriptOutcome.Fail, run?.Line ?? 0, $"the stack fails: {broken.Message}", run?.ElapsedUs ?? 0, run?.Notes ?? []);
        }
        finally
        {
            run?.Dispose();
        }
    }
}
