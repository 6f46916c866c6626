using System.Globalization;
using System.Text.RegularExpressions;

namespace ZeroCopyDaemon.Packetdrill.Environment;

/// <summary>One line of what <c>sockstat -s</c> would print.</summary>
/// <param name="Owned">A process has it open; half-open and orphaned connections have nobody.</param>
/// <param name="LocalPort">Its port.</param>
/// <param name="IsIpv6">Its family.</param>
/// <param name="State">In FreeBSD's words.</param>
internal readonly record struct SocketLine(bool Owned, int LocalPort, bool IsIpv6, string State);

/// <summary>What shell commands ask of, and do to, the stack.</summary>
internal interface ICommandTarget
{
    Settings Settings { get; }

    /// <summary>Settings have changed.</summary>
    void Apply();

    IEnumerable<SocketLine> Sockets();

    /// <summary>Ends every connection in a state (FreeBSD's words). Returns how many.</summary>
    int Drop(string state);
}

/// <summary>
/// The few shell commands that scripts of TCP suites use, understood rather than run: <c>sysctl</c>, <c>sockstat | grep</c>, <c>tcpdrop</c>, and what sets up a machine that isn't there.
/// </summary>
internal static partial class ShellCommands
{
    /// <summary>Runs a command line. Null if it succeeds.</summary>
    /// <returns>What went wrong, and whether it is that we don't know the command.</returns>
    public static (string Reason, bool Unknown)? Run(string text, ICommandTarget target)
    {
        foreach (string line in text.Split(['\n', ';'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            foreach (string command in line.Split("&&", StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
            {
                if (!command.StartsWith('#') && RunPipeline(command, target) is { } problem)
                {
                    return problem;
                }
            }
        }

        return null;
    }

    private static (string Reason, bool Unknown)? RunPipeline(string pipeline, ICommandTarget target)
    {
        string[] parts = pipeline.Split('|', StringSplitOptions.TrimEntries);
        string[] first = Words(parts[0]);
        switch (first.FirstOrDefault())
        {
            case null:
                return null;
            case "sysctl" when parts.Length == 1:
                return Sysctl(first, target);
            case "echo" when parts.Length == 1 && parts[0].Contains("> /proc/sys/", StringComparison.Ordinal):
                return Proc(parts[0], target);
            case "sockstat":
                return SockStat(first, parts, target);
            case "tcpdrop" when first is [_, "-s", var state]:
                target.Drop(state);
                return null;
            case "sleep" or "sync" or "true" or "tc" or "ip" or "ifconfig" or "ethtool" or "modprobe" or "kldload":
                return null;
            default:
                return first[0].EndsWith("defaults.sh", StringComparison.Ordinal) || first[0].EndsWith("set_sysctls.py", StringComparison.Ordinal)
                    ? FromScript(first, target)
                    : ($"the shell command '{first[0]}'", true);
        }
    }

    /// <summary><c>sysctl [-q] [-w] name=value ...</c>.</summary>
    private static (string Reason, bool Unknown)? Sysctl(string[] words, ICommandTarget target)
    {
        foreach (string word in words.Skip(1).Where(word => !word.StartsWith('-') && word != ">" && !word.StartsWith("/dev/", StringComparison.Ordinal)))
        {
            int equals = word.IndexOf('=', StringComparison.Ordinal);
            if (equals < 0)
            {
                return ($"reading the setting {word}", true);
            }

            if (SysctlTable.Set(target.Settings, word[..equals], word[(equals + 1)..].Trim('"', '\'')) is { } reason)
            {
                return (reason, true);
            }
        }

        target.Apply();
        return null;
    }

    /// <summary>Suites for Linux bring their tests a script that sets what is the default anyway, and one that takes settings as paths under /proc.</summary>
    private static (string Reason, bool Unknown)? FromScript(string[] words, ICommandTarget target)
    {
        foreach (string word in words.Skip(1))
        {
            int equals = word.IndexOf('=', StringComparison.Ordinal);
            if (equals > 0 && SysctlTable.Set(target.Settings, Path(word[..equals]), word[(equals + 1)..].Trim('"', '\'')) is { } reason)
            {
                return (reason, true);
            }
        }

        target.Apply();
        return null;
    }

    private static (string Reason, bool Unknown)? Proc(string command, ICommandTarget target)
    {
        string[] sides = command["echo".Length..].Split('>', StringSplitOptions.TrimEntries);
        if (SysctlTable.Set(target.Settings, Path(sides[^1]), sides[0].Trim('"', '\'')) is { } reason)
        {
            return (reason, true);
        }

        target.Apply();
        return null;
    }

    private static string Path(string path) => path.Replace("/proc/sys/", string.Empty, StringComparison.Ordinal).Replace('/', '.');

    /// <summary><c>sockstat -4 -P tcp [-p port] -s | grep ... | grep -c ... | grep 1</c>.</summary>
    private static (string Reason, bool Unknown)? SockStat(string[] words, string[] pipeline, ICommandTarget target)
    {
        int port = -1;
        bool v4 = words.Contains("-4"), v6 = words.Contains("-6");
        int at = Array.IndexOf(words, "-p");
        if (at > 0 && (at + 1 >= words.Length || !int.TryParse(words[at + 1], NumberStyles.None, CultureInfo.InvariantCulture, out port)))
        {
            return ($"the shell command '{pipeline[0]}'", true);
        }

        IEnumerable<string> lines = target.Sockets()
            .Where(socket => (port < 0 || socket.LocalPort == port) && (v4 == v6 || socket.IsIpv6 == v6))
            .Select(socket => string.Create(
                CultureInfo.InvariantCulture, $"{(socket.Owned ? "root packetdril 1 3" : "? ? ? ?")} {(socket.IsIpv6 ? "tcp6" : "tcp4")} *:{socket.LocalPort} *:* {(words.Contains("-s") ? socket.State : string.Empty)}"));
        foreach (string stage in pipeline.Skip(1))
        {
            string[] grep = Words(stage);
            if (grep is not ["grep", ..] || grep.Length is < 2 or > 3 || (grep.Length == 3 && grep[1] is not ("-c" or "-v")))
            {
                return ($"the shell command '{stage}'", true);
            }

            List<string> matching = [.. lines.Where(line => Regex.IsMatch(line, grep[^1], RegexOptions.None, TimeSpan.FromSeconds(1)) == (grep[1] != "-v"))];
            lines = grep[1] == "-c" ? [matching.Count.ToString(CultureInfo.InvariantCulture)] : matching;
        }

        return lines.Any() ? null : ($"'{string.Join(" | ", pipeline)}' finds nothing; there are: {Describe(target)}", false);
    }

    private static string Describe(ICommandTarget target)
    {
        string[] states = [.. target.Sockets().Select(socket => socket.State + (socket.Owned ? string.Empty : " (nobody's)"))];
        return states.Length == 0 ? "no sockets" : string.Join(", ", states);
    }

    /// <summary>Words, with quoted ones kept whole.</summary>
    private static string[] Words(string text) => [.. WordPattern().Matches(text).Select(match => match.Value.Replace("\"", string.Empty, StringComparison.Ordinal).Replace("'", string.Empty, StringComparison.Ordinal))];

    [GeneratedRegex("""(?:[^\s"']|"[^"]*"|'[^']*')+""", RegexOptions.None, 1000)]
    private static partial Regex WordPattern();
}
