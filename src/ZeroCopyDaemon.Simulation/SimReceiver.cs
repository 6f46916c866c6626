using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Wires.Sim;

namespace ZeroCopyDaemon.Simulation;

/// <summary>
/// The receiving half of an end: receives in random pieces, checks every byte where it lies, and holds it as a leased fragment for a while, or hands it on to be sent back.
/// </summary>
internal sealed class SimReceiver(SimEndPlan plan, SimPattern pattern, long expectedBytes, SimRandom random, PagePool pool, SimSender? echo)
{
    private const int MaxEchoBacklog = 64;
    private const int Worker = 1;
    private const long ExhaustedRetryUs = 1_000;

    private readonly PriorityQueue<ulong, (long DueUs, long Order)> _held = new();
    private long _position;
    private long _order;
    private long _nextReadUs = long.MinValue;

    /// <summary>Bytes received, all of them right.</summary>
    public long Position => _position;

    /// <summary>Everything was received.</summary>
    public bool Finished => _position == expectedBytes;

    /// <summary>Leases held.</summary>
    public int Held => _held.Count;

    /// <summary>When it wants to receive or to release next.</summary>
    public long NextDeadlineUs(TcpConnection? connection)
    {
        long dueUs = _held.TryPeek(out _, out (long DueUs, long Order) first) ? first.DueUs : long.MaxValue;
        return connection is not null && CanRead(connection) ? Math.Min(dueUs, _nextReadUs) : dueUs;
    }

    /// <summary>Receives what it wants now. Returns the number of receives.</summary>
    public int Read(TcpConnection connection, long nowUs)
    {
        int reads = 0;
        while (CanRead(connection) && _nextReadUs <= nowUs)
        {
            if (!TryReceive(connection, (int)random.LogBetween(1, plan.MaxReadBytes), (int)random.LogBetween(1, plan.MaxReadFragments), nowUs))
            {
                _nextReadUs = nowUs + ExhaustedRetryUs;
                break;
            }

            _nextReadUs = plan.ReadPauseUs == 0 ? nowUs : nowUs + random.Below(plan.ReadPauseUs + 1);
            reads++;
        }

        return reads;
    }

    /// <summary>Receives everything that is there: the connection's object is about to go.</summary>
    public void Drain(TcpConnection connection, long nowUs)
    {
        while (connection.ReadableBytes > 0)
        {
            TryReceive(connection, int.MaxValue, int.MaxValue, nowUs);
        }
    }

    /// <summary>Releases the leases whose time has come. Returns how many.</summary>
    public int ReleaseDue(long nowUs)
    {
        int released = 0;
        while (_held.TryPeek(out ulong lease, out (long DueUs, long Order) first) && first.DueUs <= nowUs)
        {
            _held.Dequeue();
            SimFailureException.Unless(pool.TryResolve(lease, Worker, out int slot) == LeaseStatus.Valid, "a lease is valid until it is released");
            pool.Release(slot);
            released++;
        }

        return released;
    }

    private bool CanRead(TcpConnection connection) => connection.ReadableBytes > 0 && (echo is null || echo.EchoBacklog < MaxEchoBacklog);

    /// <summary>False if a fragment would have to be split for it and the table of fragments has no more slots than the free pages need.</summary>
    private bool TryReceive(TcpConnection connection, int maxBytes, int maxFragments, long nowUs)
    {
        long readable = connection.ReadableBytes;
        int received = connection.Receive(maxBytes, maxFragments, out int head);
        if (received == 0 && maxBytes < readable && pool.FragmentsInUse + pool.FreePages + pool.PostedPages >= pool.FragmentCapacity)
        {
            return false;
        }

        SimFailureException.Unless(received > 0 && received <= maxBytes, $"a receive of up to {maxBytes} bytes with {readable} there returned {received}");
        SimFailureException.Unless(connection.ReadableBytes == readable - received, "what was received is no longer there to receive");
        int fragments = 0, bytes = 0;
        for (int slot = head, next; slot != PagePool.NoFragment; slot = next)
        {
            ref Fragment fragment = ref pool[slot];
            next = fragment.Next;
            fragments++;
            bytes += fragment.Length;
            Check(connection, slot, fragment);
            _position += fragment.Length;
            if (echo is not null)
            {
                echo.Echo(slot);
            }
            else
            {
                _held.Enqueue(pool.Lease(slot, Worker), (nowUs + random.Below(plan.HoldUs + 1), _order++));
            }
        }

        SimFailureException.Unless(bytes == received, $"a receive said {received} bytes and handed over {bytes}");
        SimFailureException.Unless(fragments <= maxFragments, $"a receive of up to {maxFragments} fragments handed over {fragments}");
        return true;
    }

    private void Check(TcpConnection connection, int slot, in Fragment fragment)
    {
        SimFailureException.Unless(
            fragment.State == FragmentState.Queued && fragment.Connection == connection.Id && fragment.Length > 0,
            $"a received fragment is {fragment.State} of connection {fragment.Connection} with {fragment.Length} bytes, not Queued of {connection.Id}");
        SimFailureException.Unless(
            fragment.StreamOffset == _position,
            $"a fragment says it is at byte {fragment.StreamOffset} of the stream, but {_position} bytes came before it");
        SimFailureException.Unless(
            _position + fragment.Length <= expectedBytes,
            $"{_position + fragment.Length} bytes were received, but only {expectedBytes} are sent");
        int wrong = pattern.FindMismatch(pool.Payload(slot), _position);
        SimFailureException.Unless(wrong < 0, $"byte {_position + wrong} of the stream is wrong, in a fragment of {fragment.Length} bytes at {_position}");
    }
}
