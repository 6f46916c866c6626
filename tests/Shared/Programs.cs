using System.Diagnostics;
using System.Text;

namespace ZeroCopyDaemon.TestTools;

/// <summary>The result of a program that ran to its end.</summary>
internal sealed record ProgramResult(int ExitCode, string Output, string Error)
{
    public string All => Output + Error;
}

/// <summary>Finds and runs the programs that were built beside these tests.</summary>
internal static class Programs
{
    private static readonly string Root = FindRoot();
    private static readonly string Configuration = AppContext.BaseDirectory.Contains($"{Path.DirectorySeparatorChar}Debug{Path.DirectorySeparatorChar}", StringComparison.Ordinal) ? "Debug" : "Release";

    public static string Zcd { get; } = Path.Combine(Root, "src", "ZeroCopyDaemon.Cli", "bin", Configuration, "net10.0", "zcd.dll");

    public static string TestWorker { get; } = Path.Combine(Root, "tests", "ZeroCopyDaemon.TestWorker", "bin", Configuration, "net10.0", "ZeroCopyDaemon.TestWorker.dll");

    /// <summary>Starts a .NET program with its output taken.</summary>
    public static Process Start(string dll, IReadOnlyDictionary<string, string> environment, params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet") { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        start.ArgumentList.Add(dll);
        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        foreach ((string name, string value) in environment)
        {
            start.Environment[name] = value;
        }

        Process process = Process.Start(start)!;
        process.StandardInput.Close();
        return process;
    }

    /// <summary>Runs a program to its end; ends it (and fails) after <paramref name="seconds"/>.</summary>
    public static async Task<ProgramResult> RunAsync(string dll, IReadOnlyDictionary<string, string> environment, int seconds, params string[] arguments) =>
        await WaitAsync(Start(dll, environment, arguments), seconds, string.Join(' ', arguments));

    /// <summary>Runs a program of the system to its end.</summary>
    public static async Task<ProgramResult> RunSystemAsync(string program, int seconds, params string[] arguments)
    {
        Process process = StartSystem(program, arguments);
        process.StandardInput.Close();
        return await WaitAsync(process, seconds, $"{program} {string.Join(' ', arguments)}");
    }

    /// <summary>Starts a program of the system with all its streams taken.</summary>
    public static Process StartSystem(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program) { UseShellExecute = false, RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        return Process.Start(start)!;
    }

    public static bool Exists(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Any(folder => File.Exists(Path.Combine(folder, program)));

    public static async Task<ProgramResult> WaitAsync(Process process, int seconds, string what)
    {
        using (process)
        {
            Task<string> output = process.StandardOutput.ReadToEndAsync();
            Task<string> error = process.StandardError.ReadToEndAsync();
            using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(seconds));
            try
            {
                await process.WaitForExitAsync(timeout.Token);
            }
            catch (OperationCanceledException e)
            {
                process.Kill(entireProcessTree: true);
                throw new TimeoutException($"'{what}' did not end within {seconds} s. Output: {await output}{await error}", e);
            }

            return new ProgramResult(process.ExitCode, await output, await error);
        }
    }

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "ZeroCopyDaemon.sln")))
            {
                return folder.FullName;
            }
        }

        throw new InvalidOperationException("These tests run from within the repository.");
    }
}
