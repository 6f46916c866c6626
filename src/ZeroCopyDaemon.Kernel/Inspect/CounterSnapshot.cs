using ZeroCopyDaemon.Memory.Counters;

namespace ZeroCopyDaemon.Kernel.Inspect;

/// <summary>Adds counters up by name.</summary>
internal sealed class CounterSnapshot : ICounterVisitor
{
    /// <summary>Name to value.</summary>
    public SortedDictionary<string, long> Values { get; } = new(StringComparer.Ordinal);

    /// <inheritdoc/>
    public void Counter(string name, long value) => Values[name] = Values.GetValueOrDefault(name) + value;
}
