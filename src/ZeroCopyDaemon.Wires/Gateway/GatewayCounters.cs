using ZeroCopyDaemon.Memory.Counters;

namespace ZeroCopyDaemon.Wires.Gateway;

/// <summary>What the gateway counts.</summary>
internal sealed class GatewayCounters
{
    public long Accepted;
    public long AcceptErrors;
    public long Refused;
    public long Resets;
    public long BytesIn;
    public long BytesOut;
    public long SystemCalls;
    public long WouldBlock;

    public void Visit(ICounterVisitor visitor)
    {
        visitor.Counter("gateway.accepted", Accepted);
        visitor.Counter("gateway.accept_errors", AcceptErrors);
        visitor.Counter("gateway.refused", Refused);
        visitor.Counter("gateway.resets", Resets);
        visitor.Counter("gateway.bytes_in", BytesIn);
        visitor.Counter("gateway.bytes_out", BytesOut);
        visitor.Counter("gateway.syscalls", SystemCalls);
        visitor.Counter("gateway.would_block", WouldBlock);
    }
}

/// <summary>Puts a prefix in front of each name, so that the modelled hosts' counters are not added to the kernel's.</summary>
internal sealed class PrefixedVisitor(string prefix) : ICounterVisitor
{
    private readonly Dictionary<string, string> _names = new(StringComparer.Ordinal);

    public ICounterVisitor? Inner { get; set; }

    public void Counter(string name, long value)
    {
        if (!_names.TryGetValue(name, out string? prefixed))
        {
            _names.Add(name, prefixed = prefix + name);
        }

        Inner!.Counter(prefixed, value);
    }
}
