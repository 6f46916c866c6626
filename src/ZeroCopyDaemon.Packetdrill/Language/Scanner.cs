using System.Globalization;

namespace ZeroCopyDaemon.Packetdrill.Language;

/// <summary>Walks over a script's text and keeps count of lines. White space and comments (<c>//</c>, <c>/* */</c>) are skipped before whatever is asked for.</summary>
internal sealed class Scanner(string text)
{
    private int _at;

    /// <summary>Line of what comes next, from 1 on.</summary>
    public int Line { get; private set; } = 1;

    /// <summary>Position in the text, to cut out what was read.</summary>
    public int Position => _at;

    public bool AtEnd
    {
        get
        {
            SkipSpace();
            return _at >= text.Length;
        }
    }

    /// <summary>The next character after white space; 0 at the end.</summary>
    public char Peek()
    {
        SkipSpace();
        return Raw(0);
    }

    /// <summary>The text from a position up to here, white space folded.</summary>
    public string TextFrom(int start) => string.Join(' ', text[start..Math.Min(_at, text.Length)].Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));

    public bool IsNext(string literal)
    {
        SkipSpace();
        return string.CompareOrdinal(text, _at, literal, 0, literal.Length) == 0;
    }

    /// <summary>Takes punctuation if it comes next.</summary>
    public bool TryTake(string literal)
    {
        if (!IsNext(literal))
        {
            return false;
        }

        _at += literal.Length;
        return true;
    }

    public void Take(string literal)
    {
        if (!TryTake(literal))
        {
            throw Error($"expected '{literal}'");
        }
    }

    /// <summary>Takes a word if it comes next as a whole.</summary>
    public bool TryTakeWord(string word)
    {
        if (!IsNext(word) || IsWordPart(Raw(word.Length)))
        {
            return false;
        }

        _at += word.Length;
        return true;
    }

    /// <summary>A name: a letter or underscore, then letters, digits and underscores. Null if none comes next.</summary>
    public string? TryWord()
    {
        SkipSpace();
        if (!char.IsAsciiLetter(Raw(0)) && Raw(0) != '_')
        {
            return null;
        }

        int start = _at;
        while (IsWordPart(Raw(0)))
        {
            _at++;
        }

        return text[start.._at];
    }

    /// <summary>The name that comes next, not taken.</summary>
    public string? PeekWord()
    {
        int at = _at;
        int line = Line;
        string? word = TryWord();
        _at = at;
        Line = line;
        return word;
    }

    public string Word(string what) => TryWord() ?? throw Error($"expected {what}");

    /// <summary>A whole number, decimal or hexadecimal, with an optional minus.</summary>
    public bool TryInteger(out long value)
    {
        SkipSpace();
        value = 0;
        int start = _at;
        int at = _at + (Raw(0) == '-' ? 1 : 0);
        bool hex = at + 1 < text.Length && text[at] == '0' && text[at + 1] is 'x' or 'X';
        int digits = hex ? at + 2 : at;
        int end = digits;
        while (end < text.Length && (hex ? char.IsAsciiHexDigit(text[end]) : char.IsAsciiDigit(text[end])))
        {
            end++;
        }

        if (end == digits || !long.TryParse(text.AsSpan(digits, end - digits), hex ? NumberStyles.AllowHexSpecifier : NumberStyles.None, CultureInfo.InvariantCulture, out value))
        {
            return false;
        }

        value = at > start ? -value : value;
        _at = end;
        return true;
    }

    public long Integer(string what) => TryInteger(out long value) ? value : throw Error($"expected {what}");

    /// <summary>Seconds with up to six digits behind the point, in microseconds. <c>0...0.2</c> ends before the dots.</summary>
    public bool TrySeconds(out long microseconds)
    {
        SkipSpace();
        microseconds = 0;
        int end = _at;
        while (end < text.Length && char.IsAsciiDigit(text[end]))
        {
            end++;
        }

        if (end + 1 < text.Length && text[end] == '.' && char.IsAsciiDigit(text[end + 1]))
        {
            end++;
            while (end < text.Length && char.IsAsciiDigit(text[end]))
            {
                end++;
            }
        }

        if (end == _at || !decimal.TryParse(text.AsSpan(_at, end - _at), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal seconds) || seconds > 1_000_000_000)
        {
            return false;
        }

        microseconds = (long)(seconds * 1_000_000);
        _at = end;
        return true;
    }

    /// <summary>Everything up to the next white space, taken.</summary>
    public string Run()
    {
        SkipSpace();
        int start = _at;
        while (_at < text.Length && !char.IsWhiteSpace(text[_at]))
        {
            _at++;
        }

        return text[start.._at];
    }

    /// <summary>Hexadecimal digits, as many as there are.</summary>
    public string HexDigits()
    {
        SkipSpace();
        int start = _at;
        while (char.IsAsciiHexDigit(Raw(0)))
        {
            _at++;
        }

        return text[start.._at];
    }

    /// <summary>The rest of the line, taken.</summary>
    public string RestOfLine()
    {
        int start = _at;
        while (_at < text.Length && text[_at] != '\n')
        {
            _at++;
        }

        return text[start.._at].Trim();
    }

    /// <summary>Everything up to a closing mark, which is taken too. Nothing is skipped, and line ends may be within.</summary>
    public string Until(string close, string what)
    {
        int end = text.IndexOf(close, _at, StringComparison.Ordinal);
        if (end < 0)
        {
            throw Error($"{what} is not closed by {close}");
        }

        string content = text[_at..end];
        Line += content.Count(c => c == '\n');
        _at = end + close.Length;
        return content;
    }

    public ScriptException Error(string message)
    {
        SkipSpace();
        int end = _at;
        while (end < text.Length && text[end] != '\n' && end - _at < 40)
        {
            end++;
        }

        return new ScriptException(Line, $"syntax: {message}, not '{(_at >= text.Length ? "the end of the script" : text[_at..end].Trim())}'");
    }

    private static bool IsWordPart(char c) => char.IsAsciiLetterOrDigit(c) || c == '_';

    private char Raw(int ahead) => _at + ahead < text.Length ? text[_at + ahead] : '\0';

    private void SkipSpace()
    {
        while (_at < text.Length)
        {
            if (text[_at] == '\n')
            {
                Line++;
                _at++;
            }
            else if (char.IsWhiteSpace(text[_at]))
            {
                _at++;
            }
            else if (Raw(0) == '/' && Raw(1) == '/')
            {
                while (_at < text.Length && text[_at] != '\n')
                {
                    _at++;
                }
            }
            else if (Raw(0) == '/' && Raw(1) == '*')
            {
                _at += 2;
                Until("*/", "a comment");
            }
            else
            {
                return;
            }
        }
    }
}
