namespace ZeroCopyDaemon.Packetdrill.Language;

/// <summary>Why a script ended before its end.</summary>
internal enum ScriptFault
{
    /// <summary>The script can't be read, or what it expects did not happen.</summary>
    Failed,

    /// <summary>The script asks for something that this interpreter, or the stack, does not have: named by a rule, never by the script's name.</summary>
    Unsupported,
}

/// <summary>Ends a script, with the line that it is about.</summary>
internal sealed class ScriptException(int line, string message, ScriptFault fault = ScriptFault.Failed) : Exception(message)
{
    /// <summary>Line in the script, from 1 on.</summary>
    public int Line { get; } = line;

    public ScriptFault Fault { get; } = fault;

    public static ScriptException Unsupported(int line, string reason) => new(line, reason, ScriptFault.Unsupported);
}
