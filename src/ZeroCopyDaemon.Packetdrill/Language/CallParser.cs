using System.Text;

namespace ZeroCopyDaemon.Packetdrill.Language;

/// <summary>Reads what follows a system call's name: arguments, and the result with its error.</summary>
internal static class CallParser
{
    public static (IReadOnlyList<Expression> Arguments, Expression Result, string? Errno) Parse(Scanner scanner)
    {
        scanner.Take("(");
        IReadOnlyList<Expression> arguments = ParseList(scanner, ")");
        scanner.Take("=");
        Expression result = ParseExpression(scanner);
        string? errno = result.AsNumber == -1 ? scanner.TryWord() : null;
        if (scanner.TryTake("("))
        {
            // What strace prints behind it, for people: the error in words, or the flags by name.
            scanner.Until(")", "a note");
        }

        return (arguments, result, errno);
    }

    private static List<Expression> ParseList(Scanner scanner, string close)
    {
        var items = new List<Expression>();
        if (scanner.TryTake(close))
        {
            return items;
        }

        do
        {
            items.Add(ParseExpression(scanner));
        }
        while (scanner.TryTake(","));
        scanner.Take(close);
        return items;
    }

    private static Expression ParseExpression(Scanner scanner)
    {
        Expression first = ParseTerm(scanner);
        if (!scanner.TryTake("|"))
        {
            return first;
        }

        var parts = new List<Expression> { first };
        do
        {
            parts.Add(ParseTerm(scanner));
        }
        while (scanner.TryTake("|"));
        return new OrExpression(parts);
    }

    private static Expression ParseTerm(Scanner scanner)
    {
        if (scanner.TryTake("..."))
        {
            return new AnyExpression();
        }

        if (scanner.TryTake("["))
        {
            return new ListExpression(ParseList(scanner, "]"));
        }

        if (scanner.TryTake("{"))
        {
            return ParseStruct(scanner);
        }

        if (scanner.TryTake("\""))
        {
            return new StringExpression(Unescape(scanner.Until("\"", "a string")));
        }

        if (scanner.TryTake("("))
        {
            Expression inner = ParseExpression(scanner);
            scanner.Take(")");
            return inner;
        }

        if (scanner.TryInteger(out long number))
        {
            return new NumberExpression(number);
        }

        string name = scanner.Word("an argument");
        return scanner.TryTake("(") ? new CallExpression(name, ParseList(scanner, ")")) : new NameExpression(name);
    }

    /// <summary>Fields by name or not; a name may have a length in parentheses: <c>msg_iov(1)=[...]</c>.</summary>
    private static StructExpression ParseStruct(Scanner scanner)
    {
        var fields = new List<(string, Expression)>();
        if (scanner.TryTake("}"))
        {
            return new StructExpression(fields);
        }

        do
        {
            Expression value = ParseExpression(scanner);
            string name = value switch
            {
                NameExpression plain => plain.Name,
                CallExpression call => call.Name,
                _ => string.Empty,
            };
            fields.Add(name.Length > 0 && scanner.TryTake("=") ? (name, ParseExpression(scanner)) : (string.Empty, value));
        }
        while (scanner.TryTake(",") && scanner.Peek() != '}');
        scanner.Take("}");
        return new StructExpression(fields);
    }

    private static string Unescape(string text)
    {
        if (!text.Contains('\\', StringComparison.Ordinal))
        {
            return text;
        }

        var result = new StringBuilder();
        for (int i = 0; i < text.Length; i++)
        {
            char c = text[i];
            if (c == '\\' && i + 1 < text.Length)
            {
                c = text[++i] switch { 'n' => '\n', 't' => '\t', '0' => '\0', char other => other };
            }

            result.Append(c);
        }

        return result.ToString();
    }
}
