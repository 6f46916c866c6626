using Microsoft.Extensions.Configuration;
using ZeroCopyDaemon.Kernel;

namespace ZeroCopyDaemon.Cli.Settings;

/// <summary>One place that settings come from, with how a message names an entry of it.</summary>
/// <param name="Entries">Key and value, in any spelling that <see cref="Setting.Flatten"/> makes equal.</param>
/// <param name="Describe">"--workers 300" of key and value.</param>
internal sealed record SettingsLayer(IReadOnlyList<(string Key, string Value)> Entries, Func<string, string, string> Describe);

/// <summary>
/// Lays appsettings.json, <c>ZCD_</c> variables and options over each other, in that order, checks the result, and says of each bad value where it stands and what to change.
/// </summary>
internal static class SettingsResolver
{
    public const string SectionName = "Zcd";

    public const string VariablePrefix = "ZCD_";

    private const string FileName = "appsettings.json";

    /// <summary>The settings of this process: files beside the program and in the current folder, its environment, and the given options.</summary>
    public static DaemonSettings Resolve(IReadOnlyDictionary<string, string> options, IReadOnlyList<Setting>? wanted = null)
    {
        List<SettingsLayer> layers = [];
        foreach (string folder in new[] { AppContext.BaseDirectory, Environment.CurrentDirectory }.Select(f => Path.GetFullPath(f).TrimEnd(Path.DirectorySeparatorChar)).Distinct(StringComparer.Ordinal))
        {
            string path = Path.Combine(folder, FileName);
            if (File.Exists(path))
            {
                layers.Add(FromFile(path));
            }
        }

        layers.Add(FromEnvironment());
        layers.Add(FromOptions(options));
        return Resolve(layers, wanted ?? SettingsTable.All);
    }

    /// <summary>Only which daemon: what <c>status</c>, <c>down</c> and <c>inspect</c> need. A bad pool size in the environment is none of their business.</summary>
    public static DaemonSettings ResolveDaemon(IReadOnlyDictionary<string, string> options) => Resolve(options, [SettingsTable.Name, SettingsTable.RunDirectory]);

    /// <summary>The layers' settings, later ones first. Throws <see cref="UsageException"/> with a line for each bad value.</summary>
    public static DaemonSettings Resolve(IReadOnlyList<SettingsLayer> layers, IReadOnlyList<Setting> wanted)
    {
        DaemonSettings settings = new();
        List<string> problems = [];
        Dictionary<Setting, string> origins = [];
        foreach (Setting setting in wanted)
        {
            (string Value, string Origin)? found = Find(layers, setting);
            if (found is null)
            {
                continue;
            }

            origins[setting] = found.Value.Origin;
            try
            {
                settings = setting.Apply(settings, found.Value.Value);
            }
            catch (FormatException problem)
            {
                problems.Add($"{found.Value.Origin}: {problem.Message}");
            }
        }

        if (problems.Count == 0 && wanted.Count == SettingsTable.All.Count)
        {
            foreach ((Setting setting, string origin) in origins.Where(given => given.Key.OnlyOnWires.Count > 0 && !given.Key.OnlyOnWires.Contains(settings.Wire, StringComparer.Ordinal)))
            {
                string wires = WireMatrix.Choice(setting.OnlyOnWires);
                problems.Add($"{origin}: this means nothing on wire {settings.Wire}; leave it out, or choose --wire {wires}");
            }

            foreach ((Setting blamed, string problem) in SettingsTable.CheckTogether(settings))
            {
                problems.Add($"{origins.GetValueOrDefault(blamed, blamed.OptionName)}: {problem}");
            }
        }

        return problems.Count == 0 ? settings : throw new UsageException(problems);
    }

    /// <summary>Options by their names without dashes.</summary>
    public static SettingsLayer FromOptions(IReadOnlyDictionary<string, string> options) => new([.. options.Select(o => (o.Key, o.Value))], (key, value) => $"--{key} {value}");

    /// <summary>Variables that begin with <see cref="VariablePrefix"/>.</summary>
    public static SettingsLayer FromEnvironment()
    {
        IConfigurationRoot root = new ConfigurationBuilder().AddEnvironmentVariables(VariablePrefix).Build();
        return new(Entries(root), (key, value) => $"{VariablePrefix}{key.Replace(":", "__", StringComparison.Ordinal)}={value}");
    }

    /// <summary>The section <c>Zcd</c> of a JSON file.</summary>
    public static SettingsLayer FromFile(string path)
    {
        IConfigurationSection section;
        try
        {
            section = new ConfigurationBuilder().AddJsonFile(path, optional: false, reloadOnChange: false).Build().GetSection(SectionName);
        }
        catch (Exception failure) when (failure is InvalidDataException or FormatException or IOException or UnauthorizedAccessException)
        {
            string why = (failure.InnerException ?? failure).Message.ReplaceLineEndings(" ");
            throw new UsageException($"{path} can't be read: {why}");
        }

        SettingsLayer layer = new(Entries(section), (key, value) => $"{path}, {SectionName}:{key} \"{value}\"");
        foreach ((string key, string value) in layer.Entries)
        {
            if (!SettingsTable.All.Any(s => s.Keys.Contains(Setting.Flatten(key), StringComparer.Ordinal)))
            {
                throw new UsageException($"{layer.Describe(key, value)}: there is no such setting; known are {string.Join(", ", SettingsTable.All.Select(s => s.Section))}");
            }
        }

        return layer;
    }

    private static List<(string Key, string Value)> Entries(IConfiguration configuration) =>
        [.. configuration.AsEnumerable(makePathsRelative: true).Where(e => e.Value is not null).Select(e => (e.Key, e.Value!))];

    private static (string Value, string Origin)? Find(IReadOnlyList<SettingsLayer> layers, Setting setting)
    {
        for (int i = layers.Count - 1; i >= 0; i--)
        {
            foreach ((string key, string value) in layers[i].Entries)
            {
                if (setting.Keys.Contains(Setting.Flatten(key), StringComparer.Ordinal))
                {
                    return (value, layers[i].Describe(key, value));
                }
            }
        }

        return null;
    }
}
