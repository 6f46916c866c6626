namespace ZeroCopyDaemon.Cli.Settings;

/// <summary>
/// One thing that can be set: as option <c>--rx-queues</c>, as variable <c>ZCD_RX_QUEUES</c>, and in appsettings.json as <c>Zcd:RxQueues</c> or, grouped, as <c>Zcd:Nic:Queues</c>.
/// </summary>
internal sealed class Setting
{
    private readonly Func<DaemonSettings, string, DaemonSettings> _apply;

    public Setting(string name, string section, string valueName, string help, Func<DaemonSettings, string, DaemonSettings> apply)
    {
        Name = name;
        Section = section;
        ValueName = valueName;
        Help = help;
        _apply = apply;
        Keys = [Flatten(name), Flatten(section)];
    }

    /// <summary>As on the command line, without the dashes.</summary>
    public string Name { get; }

    /// <summary>The grouped spelling in appsettings.json.</summary>
    public string Section { get; }

    /// <summary>What the help calls its value.</summary>
    public string ValueName { get; }

    public string Help { get; }

    public string OptionName => "--" + Name;

    /// <summary>The wires that it means anything on; empty = all. Given with another one it is refused.</summary>
    public IReadOnlyList<string> OnlyOnWires { get; init; } = [];

    /// <summary>Flattened spellings under which it is found.</summary>
    public IReadOnlyList<string> Keys { get; }

    /// <summary>Case and separators don't matter: <c>Pool:Size</c>, <c>POOL_SIZE</c>, <c>pool-size</c> and <c>PoolSize</c> are one key.</summary>
    public static string Flatten(string key) => string.Concat(key.Where(char.IsAsciiLetterOrDigit)).ToUpperInvariant();

    /// <summary>The settings with this one set. Throws <see cref="FormatException"/> whose message reads on after "--name VALUE: ".</summary>
    public DaemonSettings Apply(DaemonSettings settings, string value) => _apply(settings, value);
}
