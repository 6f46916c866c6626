using System.Text;

namespace ZeroCopyDaemon.Packetdrill.Language;

/// <summary>
/// The conditional lines that a suite written for several systems has: <c>#ifdef NAME</c>, <c>#ifndef NAME</c>, <c>#else</c>, <c>#endif</c>, <c>#define NAME</c>. Lines that are left out become empty, so
/// that line numbers stay true. Any other line that begins with # is a comment.
/// </summary>
internal static class Preprocessor
{
    public static string Run(string text, IEnumerable<string> defined)
    {
        var names = new HashSet<string>(defined, StringComparer.Ordinal);
        var open = new Stack<(int Line, bool Taken, bool Outer)>();
        bool taken = true;
        var result = new StringBuilder(text.Length);
        int line = 0;
        foreach (string content in text.Split('\n'))
        {
            line++;
            string trimmed = content.TrimStart();
            if (!trimmed.StartsWith('#'))
            {
                result.Append(taken ? content : string.Empty).Append('\n');
                continue;
            }

            result.Append('\n');
            string[] words = trimmed[1..].Split([' ', '\t', '\r'], StringSplitOptions.RemoveEmptyEntries);
            switch (words.FirstOrDefault())
            {
                case "ifdef" or "ifndef" when words.Length > 1:
                    open.Push((line, names.Contains(words[1]) == (words[0] == "ifdef"), taken));
                    taken &= open.Peek().Taken;
                    break;
                case "if" or "elif":
                    throw ScriptException.Unsupported(line, $"#{words[0]} with an expression");
                case "include":
                    throw ScriptException.Unsupported(line, "#include");
                case "else":
                    (int at, bool was, bool outer) = open.TryPop(out var top) ? top : throw new ScriptException(line, "#else without #ifdef");
                    open.Push((at, !was, outer));
                    taken = outer && !was;
                    break;
                case "endif":
                    taken = open.TryPop(out top) ? top.Outer : throw new ScriptException(line, "#endif without #ifdef");
                    break;
                case "define" when words.Length == 2 && taken:
                    names.Add(words[1]);
                    break;
                case "define" when taken:
                    throw ScriptException.Unsupported(line, "#define with a value");
                default:
                    break;
            }
        }

        return open.TryPop(out var left) ? throw new ScriptException(left.Line, "#ifdef without #endif") : result.ToString();
    }
}
