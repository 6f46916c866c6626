using System.Globalization;
using Spectre.Console;

namespace ZeroCopyDaemon.Cli.Inspect;

/// <summary>The one look that all tables have.</summary>
internal static class Tables
{
    public static Table New(params ReadOnlySpan<string> columns)
    {
        Table table = new() { Border = TableBorder.Simple };
        foreach (string column in columns)
        {
            table.AddColumn(new TableColumn($"[grey]{Markup.Escape(column)}[/]") { NoWrap = true });
        }

        return table;
    }

    public static string Number(double value) => value.ToString("#,0.##", CultureInfo.InvariantCulture);

    public static string Number(long value) => value.ToString("#,0", CultureInfo.InvariantCulture);

    public static string Number(ulong value) => value.ToString("#,0", CultureInfo.InvariantCulture);
}
