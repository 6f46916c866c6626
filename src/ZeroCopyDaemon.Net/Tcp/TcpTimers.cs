namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>The timers of a connection.</summary>
internal enum TcpTimer
{
    /// <summary>Armed while something sent is not acknowledged: send it again (RFC 6298).</summary>
    Retransmit,

    /// <summary>Armed while data waits, nothing is in flight and the peer's window is closed: probe it (RFC 9293 section 3.8.6.1).</summary>
    Persist,

    /// <summary>Armed by received data whose acknowledgment may wait for company (RFC 9293 section 3.8.6.3).</summary>
    DelayedAck,

    /// <summary>Armed in FIN-WAIT-2 once the application has closed: a peer that never closes is not waited for.</summary>
    FinWait2,
}

/// <summary>
/// Connections by when their next timer is due: a binary heap that is re-armed lazily. A deadline that moves later (the usual case: each acknowledgment pushes the retransmission timer back) leaves the heap
/// as it is; the connection is looked at too early once and sorted in again.
/// </summary>
internal sealed class TimerHeap
{
    private TcpConnection[] _heap = new TcpConnection[64];
    private int _count;

    /// <summary>When something may be due.</summary>
    public long NextDeadlineUs => _count == 0 ? long.MaxValue : _heap[0].HeapDeadlineUs;

    /// <summary>Sees to it that the connection is looked at no later than its next deadline.</summary>
    public void Update(TcpConnection connection)
    {
        long deadline = connection.NextDeadlineUs;
        if (connection.HeapIndex >= 0)
        {
            if (deadline < connection.HeapDeadlineUs)
            {
                connection.HeapDeadlineUs = deadline;
                SiftUp(connection.HeapIndex);
            }

            return;
        }

        if (deadline == long.MaxValue)
        {
            return;
        }

        if (_count == _heap.Length)
        {
            Array.Resize(ref _heap, _count * 2);
        }

        connection.HeapDeadlineUs = deadline;
        connection.HeapIndex = _count;
        _heap[_count++] = connection;
        SiftUp(connection.HeapIndex);
    }

    public void Remove(TcpConnection connection)
    {
        int index = connection.HeapIndex;
        if (index < 0)
        {
            return;
        }

        connection.HeapIndex = -1;
        TcpConnection last = _heap[--_count];
        _heap[_count] = null!;
        if (index == _count)
        {
            return;
        }

        _heap[index] = last;
        last.HeapIndex = index;
        SiftUp(index);
        SiftDown(last.HeapIndex);
    }

    /// <summary>Takes the next connection with a timer that is really due.</summary>
    public bool TryTakeDue(long nowUs, out TcpConnection connection)
    {
        while (_count > 0 && _heap[0].HeapDeadlineUs <= nowUs)
        {
            connection = _heap[0];
            Remove(connection);
            if (connection.NextDeadlineUs <= nowUs)
            {
                return true;
            }

            Update(connection);
        }

        connection = null!;
        return false;
    }

    private void SiftUp(int index)
    {
        TcpConnection moving = _heap[index];
        while (index > 0)
        {
            int parent = (index - 1) / 2;
            if (_heap[parent].HeapDeadlineUs <= moving.HeapDeadlineUs)
            {
                break;
            }

            Place(index, _heap[parent]);
            index = parent;
        }

        Place(index, moving);
    }

    private void SiftDown(int index)
    {
        TcpConnection moving = _heap[index];
        while (true)
        {
            int child = (index * 2) + 1;
            if (child >= _count)
            {
                break;
            }

            if (child + 1 < _count && _heap[child + 1].HeapDeadlineUs < _heap[child].HeapDeadlineUs)
            {
                child++;
            }

            if (moving.HeapDeadlineUs <= _heap[child].HeapDeadlineUs)
            {
                break;
            }

            Place(index, _heap[child]);
            index = child;
        }

        Place(index, moving);
    }

    private void Place(int index, TcpConnection connection)
    {
        _heap[index] = connection;
        connection.HeapIndex = index;
    }
}
