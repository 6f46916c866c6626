namespace ZeroCopyDaemon.Cli;

/// <summary>The command <c>zcd</c>.</summary>
internal static class Program
{
    public static async Task<int> Main(string[] args) => await CommandLine.RunAsync(args);
}
