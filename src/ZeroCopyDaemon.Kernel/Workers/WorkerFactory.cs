using System.Security.Cryptography;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Mapping;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.Kernel.Workers;

/// <summary>Makes what a new worker needs (areas, doorbell, token) and describes it in an attach reply. Control threads.</summary>
internal sealed class WorkerFactory(KernelHostOptions options, string runDirectory, SharedRegion rx, ulong epoch, bool spin, int maxSends, int maxConnections)
{
    /// <summary>Makes a worker with an id that the loop gave. Throws <see cref="KernelHostException"/> if the request can't be met.</summary>
    public (AttachedWorker Worker, Attached Reply) Create(int id, AttachRequest request, ReceiveBudget parentBudget)
    {
        int submissions = Entries(request.SubmissionEntries, options.SubmissionEntries, "submission");
        int completions = Entries(request.CompletionEntries, options.CompletionEntries, "completion");
        long txBytes = request.TxBytes == 0 ? options.TxBytes : checked((long)request.TxBytes);
        if (txBytes is < 65536 or > 4L << 30)
        {
            throw new KernelHostException($"A worker's TX area must be from 64 KiB to 4 GiB, not {txBytes} bytes.");
        }

        txBytes = (txBytes + 4095) & ~4095L;
        var made = new List<IDisposable>();
        try
        {
            string prefix = $"zcd-{options.Name}-w{id}";
            SharedRegion kernelArea = Keep(SharedRegion.Create(prefix + "-kernel", WorkerAreaLayout.KernelAreaBytes(completions), runDirectory), made);
            SharedRegion ownArea = Keep(SharedRegion.Create(prefix + "-worker", WorkerAreaLayout.WorkerAreaBytes(submissions), runDirectory), made);
            SharedRegion txArea = Keep(SharedRegion.Create(prefix + "-tx", txBytes, runDirectory), made);
            unsafe
            {
                *(uint*)(kernelArea.Address + WorkerAreaLayout.MagicOffset) = WorkerAreaLayout.Magic;
                *(uint*)(kernelArea.Address + WorkerAreaLayout.VersionOffset) = WorkerAreaLayout.Version;
                *(ulong*)(kernelArea.Address + WorkerAreaLayout.EpochOffset) = epoch;
            }

            kernelArea.SealReadOnlyForOthers();
            ownArea.SealSize();
            txArea.SealSize();
            string token = Convert.ToHexString(RandomNumberGenerator.GetBytes(16));
            string bells = Path.Combine(runDirectory, "bells");
            Directory.CreateDirectory(bells);
            KernelBellReader doorbell = Keep(KernelBellReader.Create(Path.Combine(bells, $"w{id}-{token[..8]}")), made);
            string name = request.Name.Length == 0 ? "worker" : request.Name[..Math.Min(64, request.Name.Length)];
            var budget = new ReceiveBudget($"worker {id}", parentBudget.LimitBytes, parentBudget);
            var worker = new AttachedWorker(id, request.Pid, name, token, kernelArea, ownArea, txArea, submissions, completions, doorbell, budget);
            var reply = new Attached
            {
                Worker = (uint)id,
                Token = token,
                Rx = Describe(rx, WorkerAreaLayout.RxArea, writable: false),
                Kernel = Describe(kernelArea, 2, writable: false),
                Own = Describe(ownArea, 3, writable: true),
                Tx = Describe(txArea, 4, writable: true),
                SubmissionEntries = (uint)submissions,
                CompletionEntries = (uint)completions,
                KernelBell = doorbell.Path,
                FutexBell = OperatingSystem.IsLinux(),
                PageBytes = (uint)options.PageBytes,
                MaxSendsPerConnection = (uint)maxSends,
                MaxConnections = (uint)maxConnections,
                Epoch = epoch,
                KernelPid = Environment.ProcessId,
                Spin = spin,
            };
            return (worker, reply);
        }
        catch
        {
            made.ForEach(one => one.Dispose());
            throw;
        }
    }

    private static int Entries(uint asked, int standard, string ring)
    {
        if (asked == 0)
        {
            return standard;
        }

        return KernelHostOptions.IsRingSize(asked)
            ? (int)asked
            : throw new KernelHostException($"A worker's {ring} ring must have a power of two of entries, from 64 to 65536, not {asked}.");
    }

    private static T Keep<T>(T made, List<IDisposable> list)
        where T : IDisposable
    {
        list.Add(made);
        return made;
    }

    private static Area Describe(SharedRegion region, uint id, bool writable) => new() { Id = id, Path = region.Path, Bytes = (ulong)region.Bytes, Writable = writable };
}
