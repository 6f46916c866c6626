using System.Diagnostics;
using System.Text.Json;
using Spectre.Console;
using Spectre.Console.Rendering;
using ZeroCopyDaemon.Cli.Control;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.Cli.Inspect;

/// <summary>All counters, kernel host's and workers' added up; from the second look on with what they grew by a second.</summary>
internal sealed class CountersView : InspectView
{
    private Dictionary<string, long>? _before;
    private long _takenAt;

    public override async Task<InspectSnapshot> TakeAsync(ControlConnection control, CancellationToken cancel)
    {
        CountersReply reply = await control.GetCountersAsync(cancel);
        SortedDictionary<string, long> counters = new(reply.Counters, StringComparer.Ordinal);
        Dictionary<string, long>? before = _before;
        double seconds = before is null ? 0 : Stopwatch.GetElapsedTime(_takenAt).TotalSeconds;
        _before = new(reply.Counters, StringComparer.Ordinal);
        _takenAt = Stopwatch.GetTimestamp();
        return new((_, _) => Render(counters, before, seconds), json =>
        {
            json.WriteStartObject();
            foreach ((string name, long value) in counters)
            {
                json.WriteNumber(name, value);
            }

            json.WriteEndObject();
        });
    }

    private static Table Render(SortedDictionary<string, long> counters, Dictionary<string, long>? before, double seconds)
    {
        Table table = before is null ? Tables.New("counter", "value") : Tables.New("counter", "value", "per second");
        table.Columns[1].RightAligned();
        foreach ((string name, long value) in counters)
        {
            // What has never moved would bury what has; but the promise of no copies is worth a line with a zero in it.
            if (value == 0 && !name.EndsWith("_copied_bytes", StringComparison.Ordinal) && !Console.IsOutputRedirected)
            {
                continue;
            }

            if (before is null)
            {
                table.AddRow(Markup.Escape(name), Tables.Number(value));
            }
            else
            {
                long grown = value - before.GetValueOrDefault(name);
                table.AddRow(Markup.Escape(name), Tables.Number(value), grown == 0 ? string.Empty : Tables.Number(Math.Round(grown / seconds)));
            }
        }

        return table;
    }
}

/// <summary>The NIC's settings, rings and counters, as the kernel host describes them.</summary>
internal sealed class NicView : InspectView
{
    public override async Task<InspectSnapshot> TakeAsync(ControlConnection control, CancellationToken cancel)
    {
        NicReply reply = await control.GetNicAsync(cancel);
        JsonElement root;
        using (JsonDocument document = JsonDocument.Parse(reply.Json))
        {
            root = document.RootElement.Clone();
        }

        return new((_, _) => Render(root), json => root.WriteTo(json));
    }

    private static Table Render(JsonElement root)
    {
        Table table = Tables.New("nic", "value");
        AddRows(table, string.Empty, root);
        return table;
    }

    private static void AddRows(Table table, string path, JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                foreach (JsonProperty property in element.EnumerateObject())
                {
                    AddRows(table, path.Length == 0 ? property.Name : $"{path}.{property.Name}", property.Value);
                }

                break;
            case JsonValueKind.Array when element.EnumerateArray().Any(e => e.ValueKind is JsonValueKind.Object or JsonValueKind.Array):
                int index = 0;
                foreach (JsonElement item in element.EnumerateArray())
                {
                    AddRows(table, $"{path}[{index++}]", item);
                }

                break;
            case JsonValueKind.Array:
                table.AddRow(Markup.Escape(path), Markup.Escape(string.Join(' ', element.EnumerateArray().Select(e => e.ToString()))));
                break;
            case JsonValueKind.Number when element.TryGetInt64(out long number):
                table.AddRow(Markup.Escape(path), Tables.Number(number));
                break;
            default:
                table.AddRow(Markup.Escape(path), Markup.Escape(element.ToString()));
                break;
        }
    }
}
