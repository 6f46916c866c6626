using System.Diagnostics;
using System.Text.Json;

namespace ZeroCopyDaemon.TestTools;

/// <summary>A daemon in a run directory of its own, as the command <c>zcd</c> sees it. How it is started and ended is for who derives from this.</summary>
internal abstract class RunningDaemon(string name, string runDirectory)
{
    public string Name { get; } = name;

    public string RunDirectory { get; } = runDirectory;

    /// <summary>What names this daemon to a <c>zcd</c> command or a worker.</summary>
    public IReadOnlyDictionary<string, string> Environment { get; } =
        new Dictionary<string, string>(StringComparer.Ordinal) { ["ZCD_RUN_DIR"] = runDirectory, ["ZCD_NAME"] = name };

    /// <summary>Runs a <c>zcd</c> command against this daemon.</summary>
    public Task<ProgramResult> ZcdAsync(params string[] arguments) => Programs.RunAsync(Programs.Zcd, Environment, 120, arguments);

    public async Task<JsonElement> JsonAsync(params string[] arguments)
    {
        ProgramResult result = await ZcdAsync([.. arguments, "--json"]);
        Assert.True(result.ExitCode == 0, result.All);
        return JsonDocument.Parse(result.Output).RootElement;
    }

    public virtual async Task<Dictionary<string, long>> CountersAsync() => JsonSerializer.Deserialize<Dictionary<string, long>>((await JsonAsync("inspect", "counters")).GetRawText())!;

    public async Task<List<int>> WorkerPidsAsync() => (await JsonAsync("inspect", "workers")).EnumerateArray().Select(worker => worker.GetProperty("pid").GetInt32()).ToList();

    /// <summary>How many workers share that port; 0 as long as the daemon doesn't answer.</summary>
    public async Task<int> CountListeningAsync(int port)
    {
        ProgramResult status = await ZcdAsync("status", "--json");
        if (status.ExitCode != 0)
        {
            return 0;
        }

        foreach (JsonElement listener in JsonDocument.Parse(status.Output).RootElement.GetProperty("listeners").EnumerateArray())
        {
            if (listener.GetProperty("port").GetInt32() == port)
            {
                return listener.GetProperty("workers").GetInt32();
            }
        }

        return 0;
    }

    /// <summary>Waits, at most 5 s, until no page is in use; returns the last page report.</summary>
    public async Task<JsonElement> WaitUntilPagesAreBackAsync()
    {
        JsonElement totals = default;
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < TimeSpan.FromSeconds(5); await Task.Delay(100))
        {
            totals = (await JsonAsync("inspect", "pages")).GetProperty("totals");
            if (totals.GetProperty("in_use").GetInt64() == 0)
            {
                return totals;
            }
        }

        Assert.Fail($"Pages are still in use: {totals}");
        return totals;
    }

    /// <summary>After its end nothing but logs lies in the run directory.</summary>
    protected void ExpectNothingLeft()
    {
        string folder = Path.Combine(RunDirectory, Name);
        string[] left = Directory.Exists(folder)
            ? Directory.GetFileSystemEntries(folder, "*", SearchOption.AllDirectories).Where(entry => !entry.Contains("logs", StringComparison.Ordinal)).ToArray()
            : [];
        Assert.True(left.Length == 0, $"Left behind: {string.Join(", ", left)}");
    }

    /// <summary>Removes the daemon's folder, and the run directory with the last of them.</summary>
    protected void RemoveRunDirectory()
    {
        if (Directory.Exists(Path.Combine(RunDirectory, Name)))
        {
            Directory.Delete(Path.Combine(RunDirectory, Name), recursive: true);
        }

        if (Directory.Exists(RunDirectory) && !Directory.EnumerateFileSystemEntries(RunDirectory).Any())
        {
            Directory.Delete(RunDirectory);
        }
    }
}
