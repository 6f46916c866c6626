using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Rings;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Worker;
using ZeroCopyDaemon.Worker.Internal;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>
/// A kernel host for a worker's core, in the same process and with no network: it owns both control areas, an RX pool and a TX area, and says on the rings what a test tells it to. It keeps the
/// books that the real one keeps: which leases are out, which sends are outstanding.
/// </summary>
internal sealed unsafe class WorkerFakeKernel : IDisposable
{
    public const int PageBytes = 4096;
    public const uint ListenerId = 3;

    private readonly byte* _rx;
    private readonly byte* _kernel;
    private readonly byte* _own;
    private readonly byte* _tx;
    private readonly long _rxBytes;
    private readonly RingConsumer<Submission> _submissions;
    private readonly RingProducer<Completion> _completions;
    private readonly WorkerBell _bell;
    private readonly HashSet<ulong> _leases = [];
    private ulong _nextLease = 0x1_0000_0001;
    private int _nextPage;
    private bool _disposed;

    public WorkerFakeKernel(
        int submissionEntries = 256, int completionEntries = 256, int pages = 256, long txBytes = 1 << 20, int maxSends = 8, WorkerScheduling scheduling = WorkerScheduling.Inline, bool spin = false)
    {
        _rxBytes = (long)pages * PageBytes;
        _rx = Allocate(_rxBytes);
        _kernel = Allocate(WorkerAreaLayout.KernelAreaBytes(completionEntries));
        _own = Allocate(WorkerAreaLayout.WorkerAreaBytes(submissionEntries));
        _tx = Allocate(txBytes);
        _completions = new RingProducer<Completion>(_kernel + WorkerAreaLayout.HeaderBytes, completionEntries, _kernel + WorkerAreaLayout.CompletionTailOffset, _own + WorkerAreaLayout.CompletionHeadOffset);
        _submissions = new RingConsumer<Submission>(_own + WorkerAreaLayout.HeaderBytes, submissionEntries, _kernel + WorkerAreaLayout.SubmissionHeadOffset, _own + WorkerAreaLayout.SubmissionTailOffset);
        _bell = new WorkerBell(_kernel + WorkerAreaLayout.BellOffset, _own + WorkerAreaLayout.WorkerSleepingOffset, futex: true);
        Core = new WorkerCore(
            new WorkerAreas
            {
                Rx = _rx,
                RxBytes = _rxBytes,
                Kernel = _kernel,
                Own = _own,
                Tx = _tx,
                TxBytes = txBytes,
                SubmissionEntries = submissionEntries,
                CompletionEntries = completionEntries,
                MaxSendsPerConnection = maxSends,
                FutexBell = true,
                Spin = spin,
                RingKernel = () =>
                {
                    Interlocked.Increment(ref BellsHeard);
                    return Answers;
                },
                Unmap = () => Unmapped = true,
            },
            scheduling);
        Queue = new AcceptQueue(Core, ListenerId, 4);
        Assert.True(Core.TryAddListener(Queue));
        Queue.Open();
    }

    public int BellsHeard;

    public WorkerCore Core { get; }

    public AcceptQueue Queue { get; }

    /// <summary>What the worker's doorbell finds: false once the kernel is gone.</summary>
    public bool Answers { get; set; } = true;

    public bool Unmapped { get; private set; }

    /// <summary>Submissions in the order they came, those of <see cref="Take()"/> taken out.</summary>
    public List<Submission> Seen { get; } = [];

    public IReadOnlyCollection<ulong> Leases => _leases;

    public bool IsCompletionRingFull => _completions.Free == 0;

    public bool Sleeping
    {
        set
        {
            Volatile.Write(ref *(uint*)(_kernel + WorkerAreaLayout.KernelSleepingOffset), value ? 1u : 0u);
            Interlocked.MemoryBarrier();
        }
    }

    /// <summary>True while the worker's loop says that it sleeps.</summary>
    public bool WorkerSleeps => Volatile.Read(ref *(uint*)(_own + WorkerAreaLayout.WorkerSleepingOffset)) != 0;

    public Span<byte> Page(int page) => new(_rx + ((long)page * PageBytes), PageBytes);

    public ReadOnlySpan<byte> TxBytes(in Submission send) => new(_tx + send.Value, (int)send.Length);

    /// <summary>Reads the submission ring; keeps the lease book, and refuses what the real kernel would detach the worker for.</summary>
    public void Drain(int limit = int.MaxValue)
    {
        while (limit-- > 0 && _submissions.TryRead(out Submission submission))
        {
            Assert.Equal(0UL, submission.Reserved);
            if (submission.Op is SubmissionOp.Release or SubmissionOp.SendLease)
            {
                Assert.True(_leases.Remove(submission.Value), "A lease was given back that isn't out.");
            }

            Seen.Add(submission);
        }

        _submissions.Retire();
        Assert.False(_submissions.Corrupt);
    }

    /// <summary>Everything submitted since the last call.</summary>
    public Submission[] Take()
    {
        Drain();
        Submission[] taken = [.. Seen];
        Seen.Clear();
        return taken;
    }

    /// <summary>What was submitted since the last call, without accept credit.</summary>
    public SubmissionOp[] TakeOps() => [.. Take().Where(submission => submission.Op != SubmissionOp.AcceptCredit).Select(submission => submission.Op)];

    /// <summary>Drops what was submitted, without looking and without allocating; returns how many.</summary>
    public int Discard()
    {
        int count = 0;
        while (_submissions.TryRead(out _))
        {
            count++;
        }

        _submissions.Retire();
        return count;
    }

    public bool TryWrite(in Completion completion) => _completions.TryWrite(completion);

    public void Write(in Completion completion) => Assert.True(TryWrite(completion), "The completion ring is full.");

    public void Publish()
    {
        _completions.Publish();
        _bell.RingIfAsleep();
    }

    /// <summary>Publishes and, where no loop thread runs, has the worker look.</summary>
    public void Deliver()
    {
        Publish();
        Core.RunOnce();
    }

    public Connection Accept(uint handle = 1)
    {
        Write(new Completion { Kind = CompletionKind.Accepted, Connection = handle, Tag = ListenerId, Value = 0x0000_FFFF_0A00_0001, Length = 40_000 });
        Deliver();
        Task<Connection> accepting = Queue.TakeAsync(default).AsTask();
        Assert.True(accepting.IsCompletedSuccessfully);
        return accepting.Result;
    }

    /// <summary>One receive's worth of data, a page for each part.</summary>
    public void WriteData(uint handle, params byte[][] parts)
    {
        for (int i = 0; i < parts.Length; i++)
        {
            int page = _nextPage++ % (int)(_rxBytes / PageBytes);
            parts[i].CopyTo(Page(page));
            WriteData(handle, page, parts[i].Length, more: i < parts.Length - 1);
        }
    }

    public ulong WriteData(uint handle, int page, int length, bool more = false, bool book = true)
    {
        ulong lease = _nextLease++;
        if (book)
        {
            _leases.Add(lease);
        }

        Write(new Completion
        {
            Kind = CompletionKind.Data, Flags = more ? CompletionFlags.More : CompletionFlags.None, Area = WorkerAreaLayout.RxArea, Connection = handle, Lease = lease,
            Value = (ulong)page * PageBytes, Length = (uint)length,
        });
        return lease;
    }

    public void Data(uint handle, params byte[][] parts)
    {
        WriteData(handle, parts);
        Deliver();
    }

    public void Sent(in Submission send, CompletionStatus status = CompletionStatus.Ok)
    {
        Write(new Completion { Kind = CompletionKind.Sent, Connection = send.Connection, Tag = send.Tag, Status = status, Length = send.Length });
        Deliver();
    }

    public void Tell(CompletionKind kind, uint handle, CompletionStatus status = CompletionStatus.Ok)
    {
        Write(new Completion { Kind = kind, Connection = handle, Status = status });
        Deliver();
    }

    /// <summary>What the kernel leaves in its area when it detaches a worker.</summary>
    public void Detach(DetachReason reason)
    {
        Volatile.Write(ref *(uint*)(_kernel + WorkerAreaLayout.DetachedOffset), (uint)reason);
        _bell.Ring();
    }

    /// <summary>Answers every receive with a page of the given length and every send with its acknowledgement. Allocates nothing.</summary>
    public int Serve(int page, int length)
    {
        int served = 0;
        while (_submissions.TryRead(out Submission submission))
        {
            served++;
            switch (submission.Op)
            {
                case SubmissionOp.Receive:
                    WriteData(submission.Connection, page, length, more: false, book: false);
                    break;
                case SubmissionOp.SendLease or SubmissionOp.SendRange:
                    _completions.TryWrite(new Completion { Kind = CompletionKind.Sent, Connection = submission.Connection, Tag = submission.Tag });
                    break;
            }
        }

        _submissions.Retire();
        Publish();
        return served;
    }

    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        Core.Fail(DetachReason.Requested);
        Core.Close();

        // A test that left a lease out has left the areas in use, as far as the worker knows; here nobody touches them any more.
        NativeMemory.AlignedFree(_rx);
        NativeMemory.AlignedFree(_kernel);
        NativeMemory.AlignedFree(_own);
        NativeMemory.AlignedFree(_tx);
    }

    private static byte* Allocate(long bytes)
    {
        byte* memory = (byte*)NativeMemory.AlignedAlloc((nuint)bytes, 4096);
        NativeMemory.Clear(memory, (nuint)bytes);
        return memory;
    }
}
