using System.Text.Json;
using Spectre.Console.Rendering;
using ZeroCopyDaemon.Cli.Control;

namespace ZeroCopyDaemon.Cli.Inspect;

/// <summary>One look at something in the daemon, ready to be drawn to a size or written as JSON.</summary>
internal sealed record InspectSnapshot(Func<int, int, IRenderable> Render, Action<Utf8JsonWriter> WriteJson);

/// <summary>Something that <c>zcd inspect</c> can show, once or over and over. May keep the look before, to show rates.</summary>
internal abstract class InspectView
{
    public abstract Task<InspectSnapshot> TakeAsync(ControlConnection control, CancellationToken cancel);
}
