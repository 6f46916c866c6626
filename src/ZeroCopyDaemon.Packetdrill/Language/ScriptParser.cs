namespace ZeroCopyDaemon.Packetdrill.Language;

/// <summary>Reads a script: option lines, then events in order of their times.</summary>
internal static class ScriptParser
{
    private static readonly string[] Directions = ["<", ">"];

    /// <summary>Throws <see cref="ScriptException"/> with the line at which the text stops making sense.</summary>
    /// <param name="text">The script.</param>
    /// <param name="defined">Names that <c>#ifdef</c> finds.</param>
    public static Script Parse(string text, IEnumerable<string> defined)
    {
        var scanner = new Scanner(Preprocessor.Run(text.ReplaceLineEndings("\n"), defined));
        ScriptOptions options = ParseOptions(scanner);
        var events = new List<ScriptEvent>();
        if (options.Unsupported is null)
        {
            while (!scanner.AtEnd)
            {
                events.Add(ParseEvent(scanner, options));
            }
        }

        return new Script(options, events);
    }

    private static ScriptOptions ParseOptions(Scanner scanner)
    {
        var options = new ScriptOptions();
        while (scanner.TryTake("--"))
        {
            int line = scanner.Line;
            string name = scanner.Word("an option's name");
            string value = scanner.IsNext("=") ? scanner.RestOfLine()[1..].Trim() : string.Empty;
            int comment = value.IndexOf("//", StringComparison.Ordinal);
            options.Set(line, name, comment < 0 ? value : value[..comment].TrimEnd());
        }

        return options;
    }

    private static ScriptEvent ParseEvent(Scanner scanner, ScriptOptions options)
    {
        scanner.Peek();
        int line = scanner.Line;
        int start = scanner.Position;
        (EventTime time, long? end) = ParseTime(scanner);
        scanner.Peek();
        start = time.Kind == TimeKind.None ? start : scanner.Position;
        if (scanner.TryTake("`"))
        {
            string command = scanner.Until("`", "a shell command");
            return new CommandEvent(line, scanner.TextFrom(start), time, command);
        }

        if (scanner.TryTake("%{"))
        {
            string code = scanner.Until("}%", "code");
            return new CodeEvent(line, scanner.TextFrom(start), time, code);
        }

        foreach (string direction in Directions)
        {
            if (scanner.TryTake(direction))
            {
                PacketSpec packet = PacketParser.Parse(scanner, direction == "<", options.IsIpv6);
                return new PacketEvent(line, scanner.TextFrom(start), time, direction == "<", packet);
            }
        }

        string name = scanner.TryWord() ?? throw scanner.Error(time.Kind == TimeKind.None ? "expected an event" : "expected a packet, a system call or a command");
        (IReadOnlyList<Expression> arguments, Expression result, string? errno) = CallParser.Parse(scanner);
        return new CallEvent(line, scanner.TextFrom(start), time, end, name, arguments, result, errno);
    }

    /// <summary><c>1.5</c>, <c>+0.1</c>, <c>1~2</c>, <c>+1~+2</c>, <c>*</c>; for blocking calls <c>0...0.2</c>.</summary>
    private static (EventTime Time, long? EndUs) ParseTime(Scanner scanner)
    {
        if (scanner.TryTake("*"))
        {
            return (new EventTime(TimeKind.Any, 0, 0), null);
        }

        TimeKind kind = scanner.TryTake("+") ? TimeKind.Relative : TimeKind.Absolute;
        if (!scanner.TrySeconds(out long from))
        {
            // A point that is no flag: '.5'.
            return kind == TimeKind.Relative ? throw scanner.Error("expected a time") : (default, null);
        }

        if (scanner.TryTake("~"))
        {
            scanner.TryTake("+");
            return scanner.TrySeconds(out long to) ? (new EventTime(kind, from, to), null) : throw scanner.Error("expected the end of a range of times");
        }

        if (scanner.TryTake("..."))
        {
            scanner.TryTake("+");
            return scanner.TrySeconds(out long end) ? (new EventTime(kind, from, from), end) : throw scanner.Error("expected the time at which the call returns");
        }

        return (new EventTime(kind, from, from), null);
    }
}
