using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace ZeroCopyDaemon.Simulation;

/// <summary>A checker found that a promise does not hold.</summary>
public sealed class SimFailureException(string message) : Exception(message)
{
    internal static void Unless([DoesNotReturnIf(false)] bool condition, string promise)
    {
        if (!condition)
        {
            throw new SimFailureException(promise);
        }
    }

    internal static void Unless([DoesNotReturnIf(false)] bool condition, [InterpolatedStringHandlerArgument(nameof(condition))] ref Text promise)
    {
        if (!condition)
        {
            throw new SimFailureException(promise.ToStringAndClear());
        }
    }

    /// <summary>Builds the text only if it is wanted: there are many checks for each frame.</summary>
    [InterpolatedStringHandler]
    internal ref struct Text
    {
        private DefaultInterpolatedStringHandler _inner;

        public Text(int literalLength, int formattedCount, bool condition, out bool wanted)
        {
            wanted = !condition;
            _inner = wanted ? new DefaultInterpolatedStringHandler(literalLength, formattedCount) : default;
        }

        public void AppendLiteral(string value) => _inner.AppendLiteral(value);

        public void AppendFormatted<T>(T value) => _inner.AppendFormatted(value);

        public string ToStringAndClear() => _inner.ToStringAndClear();
    }
}
