using System.Diagnostics;

namespace ZeroCopyDaemon.Cli.Bench.OverWire;

/// <summary>A program that the benchmark calls and that the machine may lack.</summary>
/// <param name="Name">As it is called.</param>
/// <param name="Package">Debian's package that has it.</param>
internal sealed record Tool(string Name, string Package)
{
    public static Tool Ip { get; } = new("ip", "iproute2");

    public static Tool Wrk { get; } = new("wrk", "wrk");

    public static Tool Ab { get; } = new("ab", "apache2-utils");

    public static Tool Nginx { get; } = new("nginx", "nginx-light");

    /// <summary>Where it is; null if it isn't installed. Administrators' folders are looked into too: they aren't on everybody's path.</summary>
    public string? Path =>
        (Environment.GetEnvironmentVariable("PATH") ?? string.Empty).Split(System.IO.Path.PathSeparator).Concat(["/usr/sbin", "/sbin", "/usr/local/sbin"])
        .Where(folder => folder.Length > 0)
        .Select(folder => System.IO.Path.Combine(folder, Name))
        .FirstOrDefault(File.Exists);

    /// <summary>What to say without it.</summary>
    public string Missing => $"{Name} is not installed (Debian: apt-get install {Package})";

    /// <summary>Ready to be started with these arguments. Throws <see cref="CliException"/> if it isn't installed.</summary>
    public ProcessStartInfo StartInfo(IEnumerable<string> arguments) =>
        new(Path ?? throw new CliException(Missing), arguments) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };

    /// <summary>Runs it to its end and returns what it printed. Throws <see cref="CliException"/> with its complaint if it failed.</summary>
    public async Task<string> RunAsync(IEnumerable<string> arguments, CancellationToken cancel)
    {
        ProcessStartInfo start = StartInfo(arguments);
        (int code, string output, string error) = await ChildProcess.RunAsync(start, cancel);
        return code == ExitCode.Ok ? output : throw new CliException($"{Name} {string.Join(' ', start.ArgumentList)} failed: {(error.Length > 0 ? error : output).Trim().ReplaceLineEndings(" ")}");
    }
}
