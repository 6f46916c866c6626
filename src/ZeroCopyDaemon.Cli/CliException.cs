namespace ZeroCopyDaemon.Cli;

/// <summary>What <c>zcd</c> exits with.</summary>
internal static class ExitCode
{
    public const int Ok = 0;

    /// <summary>It was asked rightly and could not be done.</summary>
    public const int Failed = 1;

    /// <summary>It was asked wrongly.</summary>
    public const int Usage = 2;

    /// <summary>A worker lost its kernel host.</summary>
    public const int KernelLost = 3;

    /// <summary>Ended by Ctrl-C before it was done.</summary>
    public const int Interrupted = 130;
}

/// <summary>Something the user should know, in one line, with the exit code that goes with it.</summary>
internal class CliException : Exception
{
    public CliException(string message, int exitCode = Cli.ExitCode.Failed)
        : base(message)
    {
        ExitCode = exitCode;
    }

    public int ExitCode { get; }
}

/// <summary>An option, variable or setting that can't be used; the message says which and what to change.</summary>
internal sealed class UsageException : CliException
{
    public UsageException(string message)
        : base(message, Cli.ExitCode.Usage)
    {
        Lines = [message];
    }

    public UsageException(IReadOnlyList<string> lines)
        : base(lines[0], Cli.ExitCode.Usage)
    {
        Lines = lines;
    }

    /// <summary>One line for each bad input.</summary>
    public IReadOnlyList<string> Lines { get; }
}
