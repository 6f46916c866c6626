using Google.Protobuf;
using ZeroCopyDaemon.Kernel.Loop;
using ZeroCopyDaemon.Kernel.Sockets;
using ZeroCopyDaemon.Kernel.Workers;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.Kernel.Inspect;

/// <summary>What the inspector shows, read on the loop thread in one go, so that each listing is consistent in itself.</summary>
internal static class Snapshots
{
    public static PagesReply Pages(KernelCore core)
    {
        PagePool pool = core.Pool;

        // Somebody is looking anyway: recount everything.
        pool.CheckInvariants();
        var states = new PageState[pool.Geometry.PageCount];
        pool.CopyPageStates(states);
        byte[] bytes = new byte[states.Length];
        for (int page = 0; page < states.Length; page++)
        {
            bytes[page] = (byte)states[page];
        }

        byte[] holders = new byte[states.Length];
        int[] counts = new int[Enum.GetValues<FragmentState>().Length];
        for (int slot = 0; slot < pool.FragmentCapacity; slot++)
        {
            ref Fragment fragment = ref pool[slot];
            if (fragment.State == FragmentState.Free)
            {
                continue;
            }

            counts[(int)fragment.State]++;
            if (fragment.Worker != 0)
            {
                holders[fragment.Page] = (byte)fragment.Worker;
            }
        }

        return new PagesReply
        {
            Pages = (uint)states.Length,
            PageBytes = (uint)pool.Geometry.PageSize,
            States = UnsafeByteOperations.UnsafeWrap(bytes),
            Holders = UnsafeByteOperations.UnsafeWrap(holders),
            Free = (uint)pool.FreePages,
            Posted = (uint)pool.PostedPages,
            InUse = (uint)pool.PagesInUse,
            FragmentsReceived = (uint)counts[(int)FragmentState.Received],
            FragmentsQueued = (uint)counts[(int)FragmentState.Queued],
            FragmentsOutOfOrder = (uint)counts[(int)FragmentState.OutOfOrder],
            FragmentsLeased = (uint)counts[(int)FragmentState.Leased],
            FragmentsTransmitting = (uint)counts[(int)FragmentState.Transmitting],
        };
    }

    public static unsafe PageReply Page(KernelCore core, uint number, uint maxBytes)
    {
        PagePool pool = core.Pool;
        if (number >= pool.Geometry.PageCount)
        {
            throw new KernelHostException($"There is no page {number}: the pool has pages 0 to {pool.Geometry.PageCount - 1}.");
        }

        (PageState state, int references, bool nicHold, uint uses, _) = pool.DescribePage((int)number);
        int length = (int)Math.Min(maxBytes, (uint)pool.Geometry.PageSize);
        var reply = new PageReply
        {
            Page = number,
            State = state switch { PageState.Free => "free", PageState.Posted => "posted", _ => "in_use" },
            References = (uint)references,
            NicHold = nicHold,
            Uses = uses,
            Data = ByteString.CopyFrom(new ReadOnlySpan<byte>(pool.PageAddress((int)number), length)),
        };
        reply.Fragments.AddRange(PoolLedger.Entries(pool, (int)number).Select(entry => new FragmentInfo
        {
            Slot = (uint)entry.Slot,
            Generation = entry.Generation,
            Offset = (uint)entry.Offset,
            Length = (uint)entry.Length,
            State = Name(entry.State),
            Connection = entry.Connection,
            Worker = (uint)entry.Worker,
            StreamOffset = entry.StreamOffset,
        }));
        return reply;
    }

    public static ConnectionsReply Connections(KernelCore core, long nowUs)
    {
        var leased = new Dictionary<int, ulong>();
        foreach (LedgerEntry entry in PoolLedger.Entries(core.Pool))
        {
            if (entry.State == FragmentState.Leased)
            {
                leased[entry.Connection] = leased.GetValueOrDefault(entry.Connection) + (ulong)entry.Length;
            }
        }

        var reply = new ConnectionsReply();
        foreach (TcpConnection tcp in core.Stack.Connections)
        {
            TcpInfo info = tcp.GetInfo(nowUs);
            var socket = tcp.Owner as SocketConnection;
            string client = core.Wire.RealPeer(tcp.Remote);
            reply.Connections.Add(new ConnectionInfo
            {
                Id = tcp.Id,
                Local = tcp.Local.ToString(),
                Remote = tcp.Remote.ToString(),
                Client = client,
                State = Name(info.State),
                Worker = (uint)(socket?.Worker?.Id ?? 0),
                Orphan = socket is { HandleClosed: true },
                BytesReceived = (ulong)info.BytesReceived,
                BytesAcked = (ulong)info.BytesAcked,
                ReceiveQueue = (ulong)info.ReceiveQueueBytes,
                SendQueue = (ulong)info.SendQueueBytes,
                Leased = leased.GetValueOrDefault(tcp.Id),
                Charged = (ulong)info.ChargedBytes,
                RttUs = info.RttUs,
                RtoUs = info.RtoUs,
                Cwnd = info.CwndBytes,
                SndWnd = info.SndWnd,
                RcvWnd = info.RcvWnd,
                Retrans = (ulong)info.Retransmits,
                Mss = (uint)info.Mss,
            });
        }

        return reply;
    }

    public static List<WorkerInfo> Workers(KernelCore core, long nowUs)
    {
        var pages = new Dictionary<int, HashSet<int>>();
        var leases = new Dictionary<int, uint>();
        foreach (LedgerEntry entry in PoolLedger.Entries(core.Pool))
        {
            if (entry.Worker == 0)
            {
                continue;
            }

            leases[entry.Worker] = leases.GetValueOrDefault(entry.Worker) + 1;
            (pages.TryGetValue(entry.Worker, out HashSet<int>? held) ? held : pages[entry.Worker] = []).Add(entry.Page);
        }

        return core.Workers.Select(worker => new WorkerInfo
        {
            Id = (uint)worker.Id,
            Pid = worker.Pid,
            Name = worker.Name,
            State = worker.Draining ? "draining" : "attached",
            Connections = (uint)worker.Connections.Count,
            PagesHeld = (uint)(pages.GetValueOrDefault(worker.Id)?.Count ?? 0),
            Leases = leases.GetValueOrDefault(worker.Id),
            Accepted = (ulong)worker.Accepted,
            DeliveredBytes = (ulong)worker.DeliveredBytes,
            SentBytes = (ulong)worker.SentBytes,
            Charged = (ulong)Math.Max(0, worker.Budget.ChargedBytes),
            Quota = (ulong)worker.Budget.LimitBytes,
            AcceptCredit = (uint)worker.Credit.Values.Sum(),
            AttachedS = (nowUs - worker.AttachedAtUs) / 1e6,
        }).ToList();
    }

    private static string Name(FragmentState state) => state switch
    {
        FragmentState.OutOfOrder => "out_of_order",
        _ => state.ToString().ToLowerInvariant(),
    };

    /// <summary>As <c>ss</c> prints them.</summary>
    private static string Name(TcpState state) => state switch
    {
        TcpState.SynSent => "SYN-SENT",
        TcpState.SynReceived => "SYN-RECV",
        TcpState.Established => "ESTAB",
        TcpState.FinWait1 => "FIN-WAIT-1",
        TcpState.FinWait2 => "FIN-WAIT-2",
        TcpState.CloseWait => "CLOSE-WAIT",
        TcpState.LastAck => "LAST-ACK",
        TcpState.TimeWait => "TIME-WAIT",
        _ => state.ToString().ToUpperInvariant(),
    };
}
