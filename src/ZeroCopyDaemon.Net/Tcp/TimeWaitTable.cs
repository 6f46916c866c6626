namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>What is left of a connection in TIME-WAIT: enough to answer the peer's last segments and to keep old duplicates out of the next connection (RFC 9293 section 3.6.1).</summary>
internal struct TimeWaitEntry
{
    public SeqNumber SndNxt;
    public SeqNumber RcvNxt;
    public uint RecentTimestamp;
    public uint TimestampOffset;
    public bool Timestamps;
    public long ExpiresUs;
}

/// <summary>The connections in TIME-WAIT. Bounded: beyond its limit the oldest goes early.</summary>
internal sealed class TimeWaitTable(int limit, long durationUs, FlowKeyComparer comparer)
{
    private readonly Dictionary<FlowKey, TimeWaitEntry> _entries = new(comparer);
    private readonly Queue<(FlowKey Flow, long ExpiresUs)> _order = new();

    public int Count => _entries.Count;

    /// <summary>Entries that went before their time.</summary>
    public long Evicted { get; private set; }

    public long NextDeadlineUs => _order.TryPeek(out (FlowKey Flow, long ExpiresUs) first) ? first.ExpiresUs : long.MaxValue;

    public void Add(in FlowKey flow, TimeWaitEntry entry, long nowUs)
    {
        while (_entries.Count >= limit && _order.TryDequeue(out (FlowKey Flow, long ExpiresUs) oldest))
        {
            Evicted += _entries.Remove(oldest.Flow) ? 1 : 0;
        }

        entry.ExpiresUs = nowUs + durationUs;
        _entries[flow] = entry;
        _order.Enqueue((flow, entry.ExpiresUs));
    }

    public bool TryGet(in FlowKey flow, out TimeWaitEntry entry) => _entries.TryGetValue(flow, out entry);

    public bool Contains(in FlowKey flow) => _entries.ContainsKey(flow);

    /// <summary>The peer sent its FIN again: the time starts anew.</summary>
    public void Restart(in FlowKey flow, TimeWaitEntry entry, long nowUs)
    {
        entry.ExpiresUs = nowUs + durationUs;
        _entries[flow] = entry;
    }

    public void Remove(in FlowKey flow) => _entries.Remove(flow);

    public void Expire(long nowUs)
    {
        while (_order.TryPeek(out (FlowKey Flow, long ExpiresUs) first) && first.ExpiresUs <= nowUs)
        {
            _order.Dequeue();
            if (!_entries.TryGetValue(first.Flow, out TimeWaitEntry entry))
            {
                continue;
            }

            if (entry.ExpiresUs <= nowUs)
            {
                _entries.Remove(first.Flow);
            }
            else
            {
                _order.Enqueue((first.Flow, entry.ExpiresUs));
            }
        }
    }
}
