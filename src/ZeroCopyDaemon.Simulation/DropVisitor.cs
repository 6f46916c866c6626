using ZeroCopyDaemon.Memory.Counters;

namespace ZeroCopyDaemon.Simulation;

/// <summary>Picks out what NICs and stacks dropped: counters that are not 0.</summary>
internal sealed class DropVisitor : ICounterVisitor
{
    private static readonly string[] NicDrops = ["nic.rx_out_of_buffer", "nic.rx_missed_errors", "nic.rx_length_errors", "nic.rx_fragments_exhausted"];

    private readonly Dictionary<string, long> _drops = new(StringComparer.Ordinal);

    /// <summary>The drops among the counters that <paramref name="visit"/> visits, by name.</summary>
    public static Dictionary<string, long> Of(Action<ICounterVisitor> visit)
    {
        var visitor = new DropVisitor();
        visit(visitor);
        return visitor._drops;
    }

    public void Counter(string name, long value)
    {
        if (value != 0 && (name.StartsWith("drop.", StringComparison.Ordinal) || NicDrops.Contains(name)))
        {
            _drops[name] = _drops.GetValueOrDefault(name) + value;
        }
    }
}
