namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>What is left of a connection in TIME-WAIT: enough to answer the peer's last segments and to keep old duplicates out of the next connection (RFC 9293 section 3.6.1).</summary>
internal struct TimeWaitEntry
{
    public SeqNumber SndNxt;
    public SeqNumber RcvNxt;
    public uint RecentTimestamp;
    public uint TimestampOffset;
    public bool Timestamps;

    /// <summary>The window field as it was last.</summary>
    public ushort Window;

    /// <summary>When the last acknowledgment of a segment without text was sent, so that two ends in TIME-WAIT can't keep each other busy.</summary>
    public long LastAckUs;
}

/// <summary>
/// The connections in TIME-WAIT, oldest first: all stay equally long, so that one list is in order of expiry. Bounded: beyond its limit the oldest goes early. Entries are reused, and nothing is
/// allocated once the table has reached the size that it needs.
/// </summary>
internal sealed class TimeWaitTable(int limit, long durationUs, FlowKeyComparer comparer)
{
    private const int None = -1;
    private readonly Dictionary<FlowKey, int> _index = new(comparer);
    private Node[] _nodes = new Node[16];
    private int _used;
    private int _free = None;
    private int _oldest = None;
    private int _newest = None;

    private struct Node
    {
        public TimeWaitEntry Entry;
        public FlowKey Flow;
        public long ExpiresUs;
        public int Previous;
        public int Next;
    }

    public int Count => _index.Count;

    /// <summary>Entries that went before their time.</summary>
    public long Evicted { get; private set; }

    public long NextDeadlineUs => _oldest == None ? long.MaxValue : _nodes[_oldest].ExpiresUs;

    public void Add(in FlowKey flow, in TimeWaitEntry entry, long nowUs)
    {
        if (limit == 0)
        {
            Evicted++;
            return;
        }

        Remove(flow);
        if (_index.Count >= limit)
        {
            Evicted++;
            Remove(_nodes[_oldest].Flow);
        }

        int slot = Take();
        _nodes[slot].Entry = entry;
        _nodes[slot].Flow = flow;
        _index.Add(flow, slot);
        Append(slot, nowUs);
    }

    /// <summary>Slot of a flow's entry.</summary>
    public bool TryFind(in FlowKey flow, out int slot) => _index.TryGetValue(flow, out slot);

    /// <summary>The entry in a slot that <see cref="TryFind"/> has just found.</summary>
    public ref TimeWaitEntry this[int slot] => ref _nodes[slot].Entry;

    public bool Contains(in FlowKey flow) => _index.ContainsKey(flow);

    /// <summary>The peer sent its FIN again: the time starts anew.</summary>
    public void Restart(int slot, long nowUs)
    {
        Unlink(slot);
        Append(slot, nowUs);
    }

    public void Remove(FlowKey flow)
    {
        if (_index.Remove(flow, out int slot))
        {
            Unlink(slot);
            _nodes[slot].Next = _free;
            _free = slot;
        }
    }

    public void Expire(long nowUs)
    {
        while (_oldest != None && _nodes[_oldest].ExpiresUs <= nowUs)
        {
            Remove(_nodes[_oldest].Flow);
        }
    }

    private int Take()
    {
        if (_free != None)
        {
            int slot = _free;
            _free = _nodes[slot].Next;
            return slot;
        }

        if (_used == _nodes.Length)
        {
            Array.Resize(ref _nodes, _used * 2);
        }

        return _used++;
    }

    private void Append(int slot, long nowUs)
    {
        ref Node node = ref _nodes[slot];
        node.ExpiresUs = nowUs + durationUs;
        node.Previous = _newest;
        node.Next = None;
        if (_newest == None)
        {
            _oldest = slot;
        }
        else
        {
            _nodes[_newest].Next = slot;
        }

        _newest = slot;
    }

    private void Unlink(int slot)
    {
        ref Node node = ref _nodes[slot];
        if (node.Previous == None)
        {
            _oldest = node.Next;
        }
        else
        {
            _nodes[node.Previous].Next = node.Next;
        }

        if (node.Next == None)
        {
            _newest = node.Previous;
        }
        else
        {
            _nodes[node.Next].Previous = node.Previous;
        }
    }
}
