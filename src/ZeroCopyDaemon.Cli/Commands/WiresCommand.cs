using System.CommandLine;
using Spectre.Console;
using ZeroCopyDaemon.Cli.Output;
using ZeroCopyDaemon.Kernel;

namespace ZeroCopyDaemon.Cli.Commands;

/// <summary><c>zcd wires</c>: which wires, placements and receive strategies go together, and why others don't.</summary>
internal static class WiresCommand
{
    public static Command Create()
    {
        Command command = new("wires", "Show which wires, NIC placements and receive strategies go together.");
        Option<bool> json = CommonOptions.Json();
        command.Add(json);
        command.SetAction(parsed =>
        {
            if (parsed.GetValue(json))
            {
                Console.Out.WriteLine(Json(WireMatrix.Here));
                return;
            }

            IAnsiConsole console = Terminal.Out;
            console.Write(Table(WireMatrix.Here).Render(console.Profile.Width));
            foreach (string line in Footnotes(WireMatrix.Here))
            {
                console.WriteLine(line);
            }
        });
        return command;
    }

    /// <summary>An array of all lines.</summary>
    internal static string Json(WireMatrix matrix) => ProtoJson.Document(
        writer =>
        {
            writer.WriteStartArray();
            foreach (WireCombination line in matrix.All)
            {
                writer.WriteStartObject();
                writer.WriteString("wire", line.Wire);
                writer.WriteString("placement", line.Placement);
                writer.WriteString("strategy", line.Strategy);
                writer.WriteBoolean("supported", line.Supported);
                writer.WriteString("note", line.Supported ? line.Note : $"{line.Note}; choose {line.Instead}");
                writer.WriteEndObject();
            }

            writer.WriteEndArray();
        },
        indented: true);

    /// <summary>The strategies that there are, those with the same answer in one line.</summary>
    internal static TextTable Table(WireMatrix matrix)
    {
        TextTable table = new("wire", "placement", "supported", "note", "strategy-");
        foreach (var same in matrix.All.Where(line => matrix.Strategies.Contains(line.Strategy, StringComparer.Ordinal)).GroupBy(line => line with { Strategy = string.Empty }))
        {
            table.AddRow(same.Key.Wire, same.Key.Placement, same.Key.Supported ? "yes" : "no", same.Key.Note, string.Join(", ", same.Select(line => line.Strategy)));
        }

        return table;
    }

    internal static IReadOnlyList<string> Footnotes(WireMatrix matrix)
    {
        IEnumerable<string> later = matrix.All.Select(line => line.Strategy).Distinct(StringComparer.Ordinal).Except(matrix.Strategies, StringComparer.Ordinal);
        return
        [
            "gateway, sim and pcap model the NIC's DMA; tap and afxdp are direct: the OS or hardware writes into the pages, before anybody has parsed.",
            $"Any wire can be impaired (--impair). Strategies that are not there yet: {string.Join(", ", later)}.",
        ];
    }
}
