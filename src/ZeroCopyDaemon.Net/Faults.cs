namespace ZeroCopyDaemon.Net;

/// <summary>Deliberate faults, to prove that the simulation's checkers notice. They exist in test builds only (ZCD_FAULTS); elsewhere every check of them folds to false.</summary>
internal enum Fault
{
    None,

    /// <summary>Bytes received twice are delivered twice.</summary>
    OverlapNotTrimmed,

    /// <summary>Corrupt segments are accepted.</summary>
    ChecksumNotVerified,

    /// <summary>Data that arrives ahead of a gap is delivered at once.</summary>
    OutOfOrderDeliveredEarly,

    /// <summary>A retransmission takes its bytes from the wrong place.</summary>
    RetransmitWrongOffset,

    /// <summary>A trimmed or duplicate fragment is forgotten instead of released.</summary>
    FragmentLeaked,

    /// <summary>The FIN is taken in before the data in front of it.</summary>
    FinBeforeData,
}

internal static class Faults
{
#if ZCD_FAULTS
    /// <summary>The fault that is switched on, for all stacks on this thread.</summary>
    [ThreadStatic]
    public static Fault Active;

    public static bool IsOn(Fault fault) => Active == fault;
#else
    public static bool IsOn(Fault fault) => false;
#endif
}
