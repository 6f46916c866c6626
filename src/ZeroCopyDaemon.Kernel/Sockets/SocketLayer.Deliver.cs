using ZeroCopyDaemon.Kernel.Workers;
using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Memory.Rings;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.Kernel.Sockets;

/// <summary>Up: what a worker is told, as far as its completion ring has room.</summary>
internal sealed partial class SocketLayer
{
    /// <summary>
    /// Writes what a worker has to be told, as far as its completion ring has room. Returns completions written; <see cref="AttachedWorker.Blocked"/> says whether more waits.
    /// </summary>
    public int Deliver(AttachedWorker worker)
    {
        int written = 0;
        for (int turns = worker.Dirty.Count; turns > 0; turns--)
        {
            SocketConnection connection = worker.Dirty.Peek();
            bool done = Deliver(worker, connection, ref written);
            if (!done)
            {
                break;
            }

            worker.Dirty.Dequeue();
            connection.IsDirty = false;
            FreeIfDone(connection);
        }

        worker.Blocked = worker.Dirty.Count > 0;
        return written;
    }

    /// <summary>False when the ring had no room for everything.</summary>
    private bool Deliver(AttachedWorker worker, SocketConnection connection, ref int written)
    {
        RingProducer<Completion> ring = worker.Completions;
        if (connection.AcceptNotice)
        {
            IpEndpoint remote = connection.TcpGone ? default : connection.Tcp.Remote;
            var accepted = new Completion
            {
                Kind = CompletionKind.Accepted, Connection = connection.Handle, Tag = connection.Listener!.Id, Lease = remote.Address.High, Value = remote.Address.Low, Length = remote.Port,
            };
            if (!ring.TryWrite(accepted))
            {
                return false;
            }

            written++;
            connection.AcceptNotice = false;
        }

        if (!connection.TcpGone && !DeliverSends(ring, connection, ref written))
        {
            return false;
        }

        while (connection.SendEnds is { Count: > 0 } ends)
        {
            (uint tag, CompletionStatus status) = ends.Peek();
            if (!ring.TryWrite(new Completion { Kind = CompletionKind.Sent, Connection = connection.Handle, Tag = tag, Status = status }))
            {
                return false;
            }

            written++;
            ends.Dequeue();
        }

        if (connection.HandleClosed)
        {
            return true;
        }

        if (connection.FailNotice)
        {
            if (!ring.TryWrite(new Completion { Kind = CompletionKind.Failed, Connection = connection.Handle, Status = connection.FailStatus }))
            {
                return false;
            }

            written++;
            connection.FailNotice = false;
            connection.ReceivePending = false;
            return true;
        }

        if (connection.NoMemoryNotice)
        {
            if (!ring.TryWrite(new Completion { Kind = CompletionKind.NoMemory, Connection = connection.Handle }))
            {
                return false;
            }

            written++;
            connection.NoMemoryNotice = false;
        }

        return !connection.ReceivePending || DeliverReceive(worker, connection, ref written);
    }

    private bool DeliverSends(RingProducer<Completion> ring, SocketConnection connection, ref int written)
    {
        while (ring.Free > 0)
        {
            if (!connection.Tcp.TryTakeSent(out SendItem item))
            {
                return true;
            }

            TakeBack(connection, item);
            ring.TryWrite(new Completion
            {
                Kind = CompletionKind.Sent, Connection = connection.Handle, Tag = item.Tag, Length = (uint)item.Length, Status = connection.FailNotice ? connection.FailStatus : CompletionStatus.Ok,
            });
            written++;
        }

        return false;
    }

    private bool DeliverReceive(AttachedWorker worker, SocketConnection connection, ref int written)
    {
        RingProducer<Completion> ring = worker.Completions;
        if (!connection.TcpGone && connection.Tcp.ReadableBytes > 0)
        {
            int room = Math.Min(connection.ReceiveMaxFragments, ring.Free);
            if (room == 0)
            {
                return false;
            }

            int bytes = connection.Tcp.Receive(connection.ReceiveMaxBytes, room, out int slot);
            if (bytes == 0)
            {
                return true;
            }

            while (slot != PagePool.NoFragment)
            {
                int next = pool[slot].Next;
                pool[slot].Next = PagePool.NoFragment;
                ring.TryWrite(new Completion
                {
                    Kind = CompletionKind.Data,
                    Flags = next == PagePool.NoFragment ? CompletionFlags.None : CompletionFlags.More,
                    Area = WorkerAreaLayout.RxArea,
                    Connection = connection.Handle,
                    Value = (ulong)pool.PoolOffset(slot),
                    Length = (uint)pool[slot].Length,
                    Tag = connection.ReceiveTag,
                    Lease = pool.Lease(slot, worker.Id),
                });
                written++;
                slot = next;
            }

            _deliveredBytes += bytes;
            _receives++;
            worker.DeliveredBytes += bytes;
            connection.ReceivePending = false;
            return true;
        }

        if (connection.TcpGone || connection.Tcp.PeerClosed)
        {
            if (!ring.TryWrite(new Completion { Kind = CompletionKind.PeerClosed, Connection = connection.Handle, Tag = connection.ReceiveTag }))
            {
                return false;
            }

            written++;
            connection.ReceivePending = false;
        }

        return true;
    }
}
