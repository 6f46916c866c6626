using ZeroCopyDaemon.Memory;

namespace ZeroCopyDaemon.Nic.Dma;

/// <summary>A flow whose payload is being laid end to end: a run.</summary>
internal struct MergeContext
{
    public MergeFlow Flow;

    /// <summary>The sequence number that goes on the run.</summary>
    public uint NextSequence;

    /// <summary>When the run ends for want of segments.</summary>
    public long DueUs;

    /// <summary>Where its next byte goes; not open when the last one filled a page.</summary>
    public OpenPage Open;

    /// <summary>The contexts that were used just before and after this one.</summary>
    public int Older, Newer;

    public bool IsUsed;
}

/// <summary>
/// One RX queue's flow contexts: a few, searched one by one, in the order of their last use. As each has the same time until it is flushed, the oldest is also the next one due.
/// </summary>
internal sealed class MergeTable
{
    public const int None = -1;

    private readonly MergeContext[] _contexts;
    private int _free;

    /// <param name="capacity">Contexts; at least 1.</param>
    public MergeTable(int capacity)
    {
        _contexts = new MergeContext[capacity];
        for (int context = 0; context < capacity; context++)
        {
            _contexts[context].Newer = context + 1 < capacity ? context + 1 : None;
        }
    }

    public bool IsFull => _free == None;

    /// <summary>The context that has not been used for longest, or <see cref="None"/>.</summary>
    public int Oldest { get; private set; } = None;

    private int Newest { get; set; } = None;

    public ref MergeContext this[int context] => ref _contexts[context];

    public int Find(MergeFlow flow)
    {
        // A bulk flow's segments come in a row: the newest is nearly always the one.
        for (int context = Newest; context != None; context = _contexts[context].Older)
        {
            if (_contexts[context].Flow == flow)
            {
                return context;
            }
        }

        return None;
    }

    /// <summary>Takes a free context, as the newest.</summary>
    public int Add(MergeFlow flow)
    {
        int context = _free;
        Invariant.That(context != None, "a flow's context is only added where one is free");
        _free = _contexts[context].Newer;
        _contexts[context] = new MergeContext { Flow = flow, IsUsed = true };
        Append(context);
        return context;
    }

    /// <summary>The context was used: it is the newest.</summary>
    public void Touch(int context)
    {
        if (context != Newest)
        {
            Unlink(context);
            Append(context);
        }
    }

    /// <summary>Frees a context. Its open page, if any, is the caller's to finish.</summary>
    public void Remove(int context)
    {
        Invariant.That(_contexts[context].IsUsed, "a context is freed once");
        Unlink(context);
        _contexts[context] = new MergeContext { Newer = _free };
        _free = context;
    }

    private void Append(int context)
    {
        ref MergeContext added = ref _contexts[context];
        (added.Older, added.Newer) = (Newest, None);
        if (Newest == None)
        {
            Oldest = context;
        }
        else
        {
            _contexts[Newest].Newer = context;
        }

        Newest = context;
    }

    private void Unlink(int context)
    {
        ref MergeContext removed = ref _contexts[context];
        if (removed.Older == None)
        {
            Oldest = removed.Newer;
        }
        else
        {
            _contexts[removed.Older].Newer = removed.Newer;
        }

        if (removed.Newer == None)
        {
            Newest = removed.Older;
        }
        else
        {
            _contexts[removed.Newer].Older = removed.Older;
        }
    }
}
