namespace ZeroCopyDaemon.Packetdrill.Sockets;

/// <summary>What a system call came to.</summary>
/// <param name="Value">Its return value.</param>
/// <param name="Errno">Name of its error; null = none.</param>
/// <param name="Problem">What it wrote into an argument is not what the script expects.</param>
internal readonly record struct CallResult(long Value, string? Errno = null, string? Problem = null)
{
    public static CallResult Fail(string errno) => new(-1, errno);

    public override string ToString() => Errno is null ? $"{Value}" : $"{Value} {Errno}";
}

/// <summary>Makes a call, or tries once more to complete one that blocks: null while it still does.</summary>
internal delegate CallResult? CallAttempt();
