using System.Threading.Channels;
using ZeroCopyDaemon.Kernel.Sockets;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Mapping;
using ZeroCopyDaemon.Memory.Rings;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.Kernel.Workers;

/// <summary>
/// A worker as the kernel sees it: its two control areas, TX area, rings and doorbells, and what it holds. Made on a control thread, then owned by the loop thread; <see cref="Events"/>
/// is read by the control thread that serves the worker's attach stream. Nothing in here trusts a word that the worker wrote.
/// </summary>
internal sealed unsafe class AttachedWorker : IDisposable
{
    private readonly long[] _counterFloor = new long[WorkerCounters.Names.Count];

    public AttachedWorker(
        int id, int pid, string name, string token, SharedRegion kernelArea, SharedRegion ownArea, SharedRegion txArea, int submissionEntries, int completionEntries, KernelBellReader doorbell, ReceiveBudget budget)
    {
        Id = id;
        Pid = pid;
        Name = name;
        Token = token;
        KernelArea = kernelArea;
        OwnArea = ownArea;
        TxArea = txArea;
        Doorbell = doorbell;
        Budget = budget;
        byte* kernel = kernelArea.Address;
        byte* own = ownArea.Address;
        Completions = new RingProducer<Completion>(kernel + WorkerAreaLayout.HeaderBytes, completionEntries, kernel + WorkerAreaLayout.CompletionTailOffset, own + WorkerAreaLayout.CompletionHeadOffset);
        Submissions = new RingConsumer<Submission>(own + WorkerAreaLayout.HeaderBytes, submissionEntries, kernel + WorkerAreaLayout.SubmissionHeadOffset, own + WorkerAreaLayout.SubmissionTailOffset);
        Bell = new WorkerBell(kernel + WorkerAreaLayout.BellOffset, own + WorkerAreaLayout.WorkerSleepingOffset, OperatingSystem.IsLinux());
    }

    public int Id { get; }

    public int Pid { get; }

    public string Name { get; }

    /// <summary>Names the worker in later control calls.</summary>
    public string Token { get; }

    public SharedRegion KernelArea { get; }

    public SharedRegion OwnArea { get; }

    /// <summary>Mapped until the last send out of it was acknowledged, also when the worker is long gone.</summary>
    public SharedRegion TxArea { get; }

    public KernelBellReader Doorbell { get; }

    public ReceiveBudget Budget { get; }

    public RingProducer<Completion> Completions { get; }

    public RingConsumer<Submission> Submissions { get; }

    public WorkerBell Bell { get; }

    /// <summary>For the attach stream: what happens to this worker until it is detached.</summary>
    public Channel<AttachEvent> Events { get; } = Channel.CreateUnbounded<AttachEvent>();

    public bool Detached { get; set; }

    public DetachReason Reason { get; set; }

    public bool Draining { get; set; }

    public long AttachedAtUs { get; set; }

    /// <summary>Connections whose handle this worker holds.</summary>
    public HashSet<SocketConnection> Connections { get; } = [];

    /// <summary>Connections that have something to say to this worker; each is here at most once.</summary>
    public Queue<SocketConnection> Dirty { get; } = new();

    /// <summary>Accept credit by listener.</summary>
    public Dictionary<SocketListener, long> Credit { get; } = [];

    /// <summary>Sends out of the TX area that the stack still holds.</summary>
    public int TxInFlight { get; set; }

    /// <summary>True while completions could not be written for want of room.</summary>
    public bool Blocked { get; set; }

    public long Accepted { get; set; }

    public long DeliveredBytes { get; set; }

    public long SentBytes { get; set; }

    /// <summary>Tells the worker whether the kernel's loop sleeps.</summary>
    public void SetKernelSleeping(bool sleeping) => Volatile.Write(ref *(uint*)(KernelArea.Address + WorkerAreaLayout.KernelSleepingOffset), sleeping ? 1u : 0u);

    /// <summary>
    /// A counter that the worker keeps. It can write anything there, so what is shown never falls and never goes below zero; it reaches no decision.
    /// </summary>
    public long Counter(int index)
    {
        long value = Volatile.Read(ref *(long*)(OwnArea.Address + WorkerAreaLayout.CountersOffset + (index * sizeof(long))));
        if (value > _counterFloor[index])
        {
            _counterFloor[index] = value;
        }

        return _counterFloor[index];
    }

    /// <summary>Unmaps the control areas; the TX area goes by <see cref="DisposeTx"/>.</summary>
    public void Dispose()
    {
        Doorbell.Dispose();
        KernelArea.Dispose();
        OwnArea.Dispose();
    }

    /// <summary>Unmaps the TX area, once nothing is in flight out of it.</summary>
    public void DisposeTx()
    {
        Memory.Invariant.That(TxInFlight == 0, "a TX area is unmapped when nothing is in flight out of it");
        TxArea.Dispose();
    }
}
