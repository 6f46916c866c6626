namespace ZeroCopyDaemon.Packetdrill.Language;

/// <summary>How an event's time is given.</summary>
internal enum TimeKind
{
    /// <summary>Not given: at once, when its turn comes.</summary>
    None,

    /// <summary>Counted from the script's start.</summary>
    Absolute,

    /// <summary><c>+t</c>: counted from the event before.</summary>
    Relative,

    /// <summary><c>*</c>: whenever.</summary>
    Any,
}

/// <summary>When an event is to happen: a point, or a range (<c>a~b</c>). Microseconds.</summary>
/// <param name="Kind">What it is counted from.</param>
/// <param name="StartUs">Earliest.</param>
/// <param name="EndUs">Latest; the same for a point.</param>
internal readonly record struct EventTime(TimeKind Kind, long StartUs, long EndUs)
{
    public bool IsRange => EndUs != StartUs;
}

/// <summary>One event of a script.</summary>
/// <param name="Line">Where it begins.</param>
/// <param name="Text">As written, white space folded.</param>
/// <param name="Time">When.</param>
internal abstract record ScriptEvent(int Line, string Text, EventTime Time);

/// <summary>A packet that the peer sends (inbound), or that the stack is expected to send.</summary>
internal sealed record PacketEvent(int Line, string Text, EventTime Time, bool Inbound, PacketSpec Packet) : ScriptEvent(Line, Text, Time);

/// <summary>A system call with its arguments and result.</summary>
/// <param name="Line">Where it begins.</param>
/// <param name="Text">As written.</param>
/// <param name="Time">When it is made.</param>
/// <param name="EndUs">When a blocking call is to return, counted like its time; null for one that returns at once.</param>
/// <param name="Name">The call's name.</param>
/// <param name="Arguments">What it is given.</param>
/// <param name="Result">What it returns.</param>
/// <param name="Errno">Name of the error expected; null for none.</param>
internal sealed record CallEvent(
    int Line, string Text, EventTime Time, long? EndUs, string Name, IReadOnlyList<Expression> Arguments, Expression Result, string? Errno) : ScriptEvent(Line, Text, Time);

/// <summary>A shell command.</summary>
internal sealed record CommandEvent(int Line, string Text, EventTime Time, string Command) : ScriptEvent(Line, Text, Time);

/// <summary>Code that looks at the connection under test: <c>%{ assert tcpi_state == TCPI_ESTABLISHED }%</c>.</summary>
internal sealed record CodeEvent(int Line, string Text, EventTime Time, string Code) : ScriptEvent(Line, Text, Time);

/// <summary>A script, read.</summary>
internal sealed record Script(ScriptOptions Options, IReadOnlyList<ScriptEvent> Events);
