using ZeroCopyDaemon.Kernel.Workers;
using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Memory.Rings;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.Kernel.Sockets;

/// <summary>
/// Joins TCP and workers: shares listeners, hands accepted connections out, matches received pages with the worker that asked, passes sends down. Loop thread only.
/// </summary>
internal sealed partial class SocketLayer(NetStack stack, PagePool pool, int maxSendsPerConnection, Action<AttachedWorker> txDrained) : ICounterSource
{
    private readonly Dictionary<uint, SocketConnection> _byHandle = [];
    private readonly Dictionary<uint, SocketListener> _listeners = [];
    private readonly Dictionary<int, AttachedWorker> _txHolders = [];
    private uint _nextListener = 1;
    private long _deliveredBytes;
    private long _sentBytes;
    private long _accepted;
    private long _orphaned;
    private long _aborted;
    private long _receives;

    /// <summary>Open listeners.</summary>
    public IReadOnlyCollection<SocketListener> Listeners => _listeners.Values;

    /// <summary>Connections known here (accepted or waiting), orphans included.</summary>
    public int ConnectionCount => _byHandle.Count;

    /// <summary>All connections, for the inspector.</summary>
    public IEnumerable<SocketConnection> Connections => _byHandle.Values;

    public SocketListener? FindListener(uint id) => _listeners.GetValueOrDefault(id);

    public SocketListener? FindListenerByPort(int port) => _listeners.Values.FirstOrDefault(listener => listener.Port == port);

    public SocketListener AddListener(TcpListener tcp, int port, string publicAddress, string publicAddress6)
    {
        var listener = new SocketListener(_nextListener++, tcp, port, publicAddress, publicAddress6);
        tcp.Owner = listener;
        _listeners.Add(listener.Id, listener);
        return listener;
    }

    /// <summary>Closes a listener; connections that nobody took are reset.</summary>
    public void RemoveListener(SocketListener listener, long nowUs)
    {
        listener.Tcp.Close(nowUs);
        while (listener.Waiting.First is { } node)
        {
            listener.Waiting.RemoveFirst();
            node.Value.HandleClosed = true;
            Abort(node.Value, nowUs);
        }

        _listeners.Remove(listener.Id);
    }

    /// <summary>Takes what happened in the stack. Returns events handled.</summary>
    public int TakeEvents(long nowUs)
    {
        int handled = 0;
        while (stack.TryTakeEvent(out TcpConnection tcp, out TcpEvents events))
        {
            handled++;
            const TcpEvents CameAndWent = TcpEvents.Accepted | TcpEvents.Closed;
            if ((events & CameAndWent) == CameAndWent)
            {
                // Reset before anybody could take it: the stack has forgotten it already.
                continue;
            }

            if ((events & TcpEvents.Accepted) != 0)
            {
                OnAccepted(tcp, nowUs);
            }

            if (tcp.Owner is not SocketConnection connection)
            {
                continue;
            }

            connection.NoMemoryNotice |= (events & TcpEvents.NoMemory) != 0;
            if ((events & TcpEvents.Failed) != 0)
            {
                OnFailed(connection);
            }

            if ((events & TcpEvents.Closed) != 0)
            {
                OnClosed(connection);
            }
            else if (connection.Worker is null)
            {
                TakeSendsOfOrphan(connection);
            }

            MarkDirty(connection);
            FreeIfDone(connection);
        }

        return handled;
    }

    /// <summary>A worker joined a listener.</summary>
    public static void Join(SocketListener listener, AttachedWorker worker)
    {
        if (!listener.Members.Contains(worker))
        {
            listener.Members.Add(worker);
        }

        listener.ClosesAtUs = long.MaxValue;
    }

    /// <summary>A worker left a listener. True if it was the last one.</summary>
    public static bool Leave(SocketListener listener, AttachedWorker worker)
    {
        worker.Credit.Remove(listener);
        return listener.Members.Remove(worker) && listener.Members.Count == 0;
    }

    /// <summary>
    /// Takes everything from a worker that is gone: open connections are reset (<paramref name="orderly"/>: closed), its leases return, sends that it published go on as orphans.
    /// </summary>
    public void Disown(AttachedWorker worker, bool orderly, long nowUs)
    {
        foreach (SocketConnection connection in worker.Connections)
        {
            connection.Worker = null;
            connection.IsDirty = false;
            connection.ReceivePending = false;
            connection.SendEnds = null;
            if (connection is { AcceptNotice: true, TcpGone: false, Listener: { } listener } && _listeners.ContainsKey(listener.Id) && !connection.FailNotice)
            {
                // Nobody had told the worker about it yet: another one can have it.
                connection.AcceptNotice = false;
                connection.Tcp.Budget = stack.RootBudget;
                listener.Waiting.AddLast(connection);
                continue;
            }

            bool open = !connection.HandleClosed;
            connection.HandleClosed = true;
            if (connection.TcpGone)
            {
                FreeIfDone(connection);
                continue;
            }

            _orphaned += open ? 0 : 1;
            if (open && orderly)
            {
                connection.Tcp.Close(nowUs);
            }
            else if (open)
            {
                Abort(connection, nowUs);
            }

            // A page that it still holds or sends is the pool's business from here on, not the worker's.
            connection.Tcp.Budget = stack.RootBudget;
        }

        worker.Connections.Clear();
        worker.Dirty.Clear();
        worker.Credit.Clear();
        pool.ReclaimLeases(worker.Id);
        foreach (SocketListener listener in _listeners.Values)
        {
            Distribute(listener);
        }

        if (worker.TxInFlight == 0)
        {
            _txHolders.Remove(worker.Id);
            txDrained(worker);
        }
    }

    /// <summary>Makes a worker's TX area known, before its first send.</summary>
    public void AddWorker(AttachedWorker worker) => _txHolders.Add(worker.Id, worker);

    /// <summary>True while the id is in use by a worker or by sends of one that is gone.</summary>
    public bool IsIdInUse(int id) => _txHolders.ContainsKey(id);

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        visitor.Counter("rx.payload_delivered_bytes", _deliveredBytes);
        visitor.Counter("tx.payload_sent_bytes", _sentBytes);
        visitor.Counter("socket.accepted", _accepted);
        visitor.Counter("socket.receives", _receives);
        visitor.Counter("socket.orphaned", _orphaned);
        visitor.Counter("socket.aborted", _aborted);
        visitor.Counter("socket.connections", ConnectionCount);
    }

    private void OnAccepted(TcpConnection tcp, long nowUs)
    {
        if (tcp.Listener?.Owner is not SocketListener listener || !_listeners.ContainsKey(listener.Id))
        {
            // Its listener closed before anybody could take it.
            tcp.Abort(nowUs);
            return;
        }

        if (Add(tcp, listener) is not { } connection)
        {
            tcp.Abort(nowUs);
            return;
        }

        listener.Waiting.AddLast(connection);
        Distribute(listener);
    }

    /// <summary>
    /// Hands waiting connections to workers that have credit, each to the one with the fewest open; among equals, in turn. (How to distribute becomes a choice later.)
    /// </summary>
    private void Distribute(SocketListener listener)
    {
        while (listener.Waiting.First is { } node)
        {
            AttachedWorker? chosen = null;
            int members = listener.Members.Count;
            for (int i = 0; i < members; i++)
            {
                AttachedWorker member = listener.Members[(listener.NextMember + i) % members];
                if (member.Credit.GetValueOrDefault(listener) > 0 && (chosen is null || member.Connections.Count < chosen.Connections.Count))
                {
                    chosen = member;
                }
            }

            if (chosen is null)
            {
                return;
            }

            listener.NextMember = (listener.Members.IndexOf(chosen) + 1) % members;
            listener.Waiting.RemoveFirst();
            Assign(node.Value, chosen, listener);
        }
    }

    private void Assign(SocketConnection connection, AttachedWorker worker, SocketListener listener)
    {
        worker.Credit[listener]--;
        worker.Accepted++;
        _accepted++;
        connection.Worker = worker;
        connection.AcceptNotice = true;
        connection.Tcp.Budget = worker.Budget;
        worker.Connections.Add(connection);
        listener.Tcp.MarkAccepted(connection.Tcp);
        MarkDirty(connection);
    }

    private void OnFailed(SocketConnection connection)
    {
        connection.FailNotice = true;
        connection.FailStatus = connection.Tcp.Error switch
        {
            TcpError.ConnectionReset => CompletionStatus.ConnectionReset,
            TcpError.ConnectionRefused => CompletionStatus.ConnectionRefused,
            TcpError.TimedOut => CompletionStatus.TimedOut,
            TcpError.HostUnreachable => CompletionStatus.HostUnreachable,
            _ => CompletionStatus.Aborted,
        };
    }

    private void OnClosed(SocketConnection connection)
    {
        CompletionStatus status = connection.FailNotice ? connection.FailStatus : CompletionStatus.Ok;
        while (connection.Tcp.TryTakeSent(out SendItem item))
        {
            TakeBack(connection, item);
            if (connection.Worker is not null)
            {
                (connection.SendEnds ??= new()).Enqueue((item.Tag, status));
            }
        }

        connection.TcpGone = true;
        connection.Tcp.Owner = null;
        if (connection.Worker is null)
        {
            connection.Listener?.Waiting.Remove(connection);
            connection.HandleClosed = true;
        }
    }

    private void TakeSendsOfOrphan(SocketConnection connection)
    {
        while (connection.Tcp.TryTakeSent(out SendItem item))
        {
            TakeBack(connection, item);
        }
    }

    private void TakeBack(SocketConnection connection, in SendItem item)
    {
        connection.SendsOutstanding--;
        _sentBytes += item.Length;
        if (!_txHolders.TryGetValue((int)item.Context, out AttachedWorker? holder))
        {
            Invariant.Fail("a send's worker is known until the send has ended");
        }

        holder.SentBytes += item.Length;
        holder.TxInFlight--;
        if (holder.Detached && holder.TxInFlight == 0)
        {
            _txHolders.Remove(holder.Id);
            txDrained(holder);
        }
    }

    private void Abort(SocketConnection connection, long nowUs)
    {
        _aborted++;
        if (!connection.TcpGone)
        {
            connection.Tcp.Abort(nowUs);
        }
    }

    private static void MarkDirty(SocketConnection connection)
    {
        if (connection is { IsDirty: false, Worker: { } worker })
        {
            connection.IsDirty = true;
            worker.Dirty.Enqueue(connection);
        }
    }

    /// <summary>
    /// A connection's handle is its id in the stack, so that a worker, the ledger and every listing call it the same. Null in the all but impossible case that a worker still holds that handle of
    /// a connection long gone (the id comes again after some sixteen thousand others in its slot).
    /// </summary>
    private SocketConnection? Add(TcpConnection tcp, SocketListener listener)
    {
        var connection = new SocketConnection(tcp, listener, (uint)tcp.Id);
        if (!_byHandle.TryAdd(connection.Handle, connection))
        {
            return null;
        }

        tcp.Owner = connection;
        return connection;
    }

    private void FreeIfDone(SocketConnection connection)
    {
        if (!connection.TcpGone || !connection.HandleClosed || connection.IsDirty || connection.SendEnds is { Count: > 0 })
        {
            return;
        }

        if (!_byHandle.TryGetValue(connection.Handle, out SocketConnection? known) || known != connection)
        {
            return;
        }

        Invariant.That(connection.SendsOutstanding == 0, "a connection is forgotten when every send of it has ended");
        connection.Worker?.Connections.Remove(connection);
        connection.Worker = null;
        _byHandle.Remove(connection.Handle);
    }
}
