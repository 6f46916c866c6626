namespace ZeroCopyDaemon.Cli;

/// <summary>What the user types to get here: <c>zcd</c>, or <c>./run.sh</c> where that started us.</summary>
internal static class ProgramName
{
    public const string CommandVariable = "ZCD_COMMAND";

    public static string Command { get; } = Environment.GetEnvironmentVariable(CommandVariable) is { Length: > 0 } command ? command : "zcd";
}
