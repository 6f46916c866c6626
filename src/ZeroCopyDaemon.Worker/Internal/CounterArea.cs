using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.Worker.Internal;

/// <summary>The counters that the kernel reads out of this worker's area. Any thread; whoever counts holds the mapping.</summary>
internal sealed unsafe class CounterArea(byte* ownArea)
{
    private readonly long* _counters = (long*)(ownArea + WorkerAreaLayout.CountersOffset);

    /// <summary>Exact, whichever threads count: sums are compared to the byte.</summary>
    public void Add(WorkerCounter counter, long value) => Interlocked.Add(ref _counters[(int)counter], value);

    public long this[WorkerCounter counter] => Volatile.Read(ref _counters[(int)counter]);
}
