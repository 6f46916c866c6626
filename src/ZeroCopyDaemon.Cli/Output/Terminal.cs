using System.Globalization;
using Spectre.Console;

namespace ZeroCopyDaemon.Cli.Output;

/// <summary>The process's standard streams as Spectre consoles.</summary>
internal static class Terminal
{
    // A file or pipe has no width; tables should not be folded for it, unless COLUMNS asks for that.
    private const int RedirectedWidth = 160;

    private const int LeastWidth = 40;

    private const int DefaultRows = 24;

    private static readonly Lazy<IAnsiConsole> Output = new(() => Create(Console.Out, Console.IsOutputRedirected));

    private static readonly Lazy<IAnsiConsole> ErrorOutput = new(() => Create(Console.Error, Console.IsErrorRedirected));

    public static IAnsiConsole Out => Output.Value;

    public static IAnsiConsole Error => ErrorOutput.Value;

    /// <summary>Height to draw into.</summary>
    public static int Rows => Console.IsOutputRedirected ? DefaultRows : Math.Max(DefaultRows / 2, Out.Profile.Height);

    private static IAnsiConsole Create(TextWriter writer, bool redirected)
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = new AnsiConsoleOutput(writer),
            Ansi = redirected ? AnsiSupport.No : AnsiSupport.Detect,
            Interactive = redirected ? InteractionSupport.No : InteractionSupport.Detect,
        });
        if (redirected)
        {
            bool asked = int.TryParse(Environment.GetEnvironmentVariable("COLUMNS"), NumberStyles.None, CultureInfo.InvariantCulture, out int columns) && columns >= LeastWidth;
            console.Profile.Width = asked ? columns : RedirectedWidth;
        }

        return console;
    }
}
