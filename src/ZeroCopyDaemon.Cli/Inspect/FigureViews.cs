using System.Diagnostics;
using System.Text.Json;
using Spectre.Console.Rendering;
using ZeroCopyDaemon.Cli.Control;
using ZeroCopyDaemon.Cli.Output;
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
        return new((width, _) => Render(counters, before, seconds, width), json =>
        {
            json.WriteStartObject();
            foreach ((string name, long value) in counters)
            {
                json.WriteNumber(name, value);
            }

            json.WriteEndObject();
        });
    }

    private static IRenderable Render(SortedDictionary<string, long> counters, Dictionary<string, long>? before, double seconds, int width)
    {
        TextTable table = before is null ? new("counter", "value") : new("counter", "value", "per second");
        foreach ((string name, long value) in counters)
        {
            // What has never moved would bury what has; but the promise of no copies is worth a line with a zero in it.
            if (value == 0 && !name.EndsWith("_copied_bytes", StringComparison.Ordinal) && !Console.IsOutputRedirected)
            {
                continue;
            }

            if (before is null)
            {
                table.AddRow(name, TextTable.Number(value));
            }
            else
            {
                long grown = value - before.GetValueOrDefault(name);
                table.AddRow(name, TextTable.Number(value), grown == 0 ? string.Empty : TextTable.Number(Math.Round(grown / seconds)));
            }
        }

        return table.Render(width);
    }
}

/// <summary>The NIC's settings, rings and counters, as the kernel host describes them.</summary>
internal sealed class NicView : InspectView
{
    private const int MaxValueLength = 48;

    public override async Task<InspectSnapshot> TakeAsync(ControlConnection control, CancellationToken cancel)
    {
        NicReply reply = await control.GetNicAsync(cancel);
        JsonElement root;
        using (JsonDocument document = JsonDocument.Parse(reply.Json))
        {
            root = document.RootElement.Clone();
        }

        return new((width, _) => Render(root, width), json => root.WriteTo(json));
    }

    private static IRenderable Render(JsonElement root, int width)
    {
        TextTable table = new("nic", "value");
        AddRows(table, string.Empty, root);
        return table.Render(width);
    }

    private static void AddRows(TextTable table, string path, JsonElement element)
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
                table.AddRow(path, Shorten(string.Join(' ', element.EnumerateArray().Select(e => e.ToString()))));
                break;
            case JsonValueKind.Number when element.TryGetInt64(out long number):
                table.AddRow(path, TextTable.Number(number));
                break;
            default:
                table.AddRow(path, Shorten(element.ToString()));
                break;
        }
    }

    // An indirection table or a key is for --json.
    private static string Shorten(string value) => value.Length <= MaxValueLength ? value : value[..(MaxValueLength - 4)] + " ...";
}
