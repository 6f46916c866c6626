using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace ZeroCopyDaemon.Memory;

/// <summary>
/// Checks of our own promises, on in every build. A broken invariant is a bug of ours, never a peer's or a worker's doing: it throws,
/// and the process that finds it must not go on with the structure it was found in.
/// </summary>
public static class Invariant
{
    /// <summary>Throws <see cref="InvariantViolationException"/> unless <paramref name="condition"/> holds.</summary>
    public static void That(
        [DoesNotReturnIf(false)] bool condition,
        string promise,
        [CallerFilePath] string file = "",
        [CallerLineNumber] int line = 0)
    {
        if (!condition)
        {
            Throw(promise, file, line);
        }
    }

    /// <summary>Fails at once: for the branch that must not be reached.</summary>
    [DoesNotReturn]
    public static void Fail(string promise, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Throw(promise, file, line);

    [DoesNotReturn]
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Throw(string promise, string file, int line) =>
        throw new InvariantViolationException($"Invariant broken: {promise} ({Path.GetFileName(file)}:{line})");
}

/// <summary>One of this library's own promises did not hold. Always a bug of ours.</summary>
public sealed class InvariantViolationException(string message) : Exception(message);
