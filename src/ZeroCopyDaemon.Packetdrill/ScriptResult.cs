namespace ZeroCopyDaemon.Packetdrill;

/// <summary>How a script ended.</summary>
public enum ScriptOutcome
{
    /// <summary>Everything that it expects happened.</summary>
    Pass,

    /// <summary>Something did not happen, or otherwise; or the script can't be read.</summary>
    Fail,

    /// <summary>It asks for something that the interpreter or the stack does not have. Not counted as passed.</summary>
    Unsupported,
}

/// <summary>The result of one script.</summary>
/// <param name="Name">Path, as given.</param>
/// <param name="Outcome">How it ended.</param>
/// <param name="Line">Line that ended it; 0 when it passed.</param>
/// <param name="Message">What was expected and what came, or why it can't be run; empty when it passed.</param>
/// <param name="ElapsedUs">Virtual time that it took, in microseconds.</param>
/// <param name="Notes">What is worth knowing and is no failure: packets that the script does not mention, differences in what it calls non-fatal.</param>
public sealed record ScriptResult(string Name, ScriptOutcome Outcome, int Line, string Message, long ElapsedUs, IReadOnlyList<string> Notes)
{
    /// <inheritdoc/>
    public override string ToString() => Outcome switch
    {
        ScriptOutcome.Pass => $"PASS {Name}",
        ScriptOutcome.Fail => $"FAIL {Name}:{Line}: {Message}",
        _ => $"UNSUPPORTED {Name}:{Line}: {Message}",
    };
}
