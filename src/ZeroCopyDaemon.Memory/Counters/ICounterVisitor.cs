namespace ZeroCopyDaemon.Memory.Counters;

/// <summary>Takes each counter of a component by its public name, such as <c>rx.dma_bytes</c>. Called on the thread that owns the component.</summary>
public interface ICounterVisitor
{
    /// <summary>One counter. A name that was visited before is added up.</summary>
    void Counter(string name, long value);
}

/// <summary>A component that has counters to show.</summary>
public interface ICounterSource
{
    /// <summary>Visits every counter, also those that read 0.</summary>
    void VisitCounters(ICounterVisitor visitor);
}
