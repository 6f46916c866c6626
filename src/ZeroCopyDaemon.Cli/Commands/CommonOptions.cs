using System.CommandLine;
using System.CommandLine.Parsing;
using ZeroCopyDaemon.Cli.Control;
using ZeroCopyDaemon.Cli.Settings;
using ZeroCopyDaemon.Cli.Output;
using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.Cli.Commands;

/// <summary>A set of settings as options of one command.</summary>
internal sealed class SettingOptions
{
    private readonly List<(Setting Setting, Option<string?> Option)> _options = [];

    public SettingOptions(Command command, params IEnumerable<Setting> settings)
    {
        foreach (Setting setting in settings)
        {
            Option<string?> option = new(setting.OptionName) { Description = setting.Help, HelpName = setting.ValueName };
            command.Add(option);
            _options.Add((setting, option));
        }
    }

    /// <summary>What was given, by the settings' names.</summary>
    public Dictionary<string, string> Given(ParseResult parsed)
    {
        Dictionary<string, string> given = new(StringComparer.Ordinal);
        foreach ((Setting setting, Option<string?> option) in _options)
        {
            if (parsed.GetValue(option) is { } value)
            {
                given[setting.Name] = value;
            }
        }

        return given;
    }
}

/// <summary>Options that several commands have.</summary>
internal static class CommonOptions
{
    public static Option<bool> Json() => new("--json") { Description = "Print JSON" };

    public static Option<bool> Watch() => new("--watch") { Description = "Look again each second until stopped" };

    /// <summary>A size such as 1GiB.</summary>
    public static Option<long> Size(string name, string help, long byDefault) => new(name)
    {
        Description = help,
        HelpName = "SIZE",
        DefaultValueFactory = _ => byDefault,
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            if (!ByteSize.TryParse(text, out long bytes, out string problem))
            {
                result.AddError($"{name} {problem}");
            }

            return bytes;
        },
    };

    /// <summary>A whole number within bounds.</summary>
    public static Option<int> Number(string name, string help, string valueName, int byDefault, int least, int most) => new(name)
    {
        Description = help,
        HelpName = valueName,
        DefaultValueFactory = _ => byDefault,
        CustomParser = result => ParseNumber(result, name, least, most),
    };

    /// <summary>The daemon that a command's <c>--name</c> and <c>--run-dir</c> mean.</summary>
    public static RunDirectory Locate(SettingOptions options, ParseResult parsed) => ControlConnection.Locate(SettingsResolver.ResolveDaemon(options.Given(parsed)));

    private static int ParseNumber(ArgumentResult result, string name, int least, int most)
    {
        string text = result.Tokens[0].Value;
        if (!int.TryParse(text, System.Globalization.NumberStyles.AllowLeadingSign, System.Globalization.CultureInfo.InvariantCulture, out int number) || number < least || number > most)
        {
            result.AddError($"{name} must be a number from {least} to {most}, not '{text}'");
        }

        return number;
    }
}
