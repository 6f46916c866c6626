using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>Connections that wait for something which isn't theirs: the device, a neighbour's address, memory that others hold, a slot to split a fragment.</summary>
internal sealed partial class TcpLayer
{
    private const int MaxMemoryLooks = 256;
    private readonly List<TcpConnection> _awaitingDevice = [];
    private readonly List<TcpConnection> _awaitingNeighbor = [];
    private readonly List<TcpConnection> _awaitingMemory = [];
    private readonly List<int> _awaitingSlot = [];
    private long _deviceSeenCompleted = -1;
    private int _memoryCursor;
    private bool _memoryReleased;

    /// <inheritdoc/>
    public void OnNeighborResolved(IpAddress nextHop, long nowUs) => RetryAwaitingNeighbor();

    /// <inheritdoc/>
    public void OnNeighborFailed(IpAddress nextHop, long nowUs)
    {
        // Which of them waited for this hop only the IP layer knows: each asks again, and those in SYN-SENT to it are told by their own timer, or at once when directly attached.
        foreach (TcpConnection connection in _awaitingNeighbor.ToArray())
        {
            if (connection.State == TcpState.SynSent && connection.Remote.Address == nextHop)
            {
                connection.Fail(TcpError.HostUnreachable, nowUs);
            }
        }

        RetryAwaitingNeighbor();
    }

    /// <summary>Items of this connection are acknowledged but may still be read by the device: it is told once they aren't.</summary>
    public void AwaitDevice(TcpConnection connection)
    {
        if (!connection.IsAwaitingDevice)
        {
            connection.IsAwaitingDevice = true;
            _awaitingDevice.Add(connection);
        }
    }

    /// <summary>This connection's window is small because others hold the budget's memory: it is looked at again once some is released.</summary>
    public void AwaitMemory(TcpConnection connection)
    {
        if (!connection.IsAwaitingMemory)
        {
            connection.IsAwaitingMemory = true;
            _awaitingMemory.Add(connection);
        }
    }

    /// <summary>A receive of this connection got nothing because no fragment could be split: it is told once one can.</summary>
    public void AwaitSlot(TcpConnection connection)
    {
        if (!connection.IsAwaitingSlot)
        {
            connection.IsAwaitingSlot = true;
            _awaitingSlot.Add(connection.Id);
        }
    }

    private void NotifyDeviceDone()
    {
        long completed = Device.TxCompleted;
        if (completed == _deviceSeenCompleted || _awaitingDevice.Count == 0)
        {
            return;
        }

        _deviceSeenCompleted = completed;
        for (int i = _awaitingDevice.Count - 1; i >= 0; i--)
        {
            TcpConnection connection = _awaitingDevice[i];
            if (connection.OnDeviceProgress(completed))
            {
                connection.IsAwaitingDevice = false;
                RemoveAt(_awaitingDevice, i);
            }
        }
    }

    /// <summary>Lets some of those that wait for memory look again, in turn: a bounded number, as any release brings us here.</summary>
    private void NotifyMemoryReleased()
    {
        if (!_memoryReleased)
        {
            return;
        }

        _memoryReleased = false;
        for (int looks = Math.Min(_awaitingMemory.Count, MaxMemoryLooks); looks > 0; looks--)
        {
            if (_memoryCursor >= _awaitingMemory.Count)
            {
                _memoryCursor = 0;
            }

            TcpConnection connection = _awaitingMemory[_memoryCursor];
            if (connection.IsRemoved || connection.TryUpdateWindow())
            {
                connection.IsAwaitingMemory = false;
                RemoveAt(_awaitingMemory, _memoryCursor);
            }
            else
            {
                _memoryCursor++;
            }
        }
    }

    private void NotifySlotReleased()
    {
        if (_awaitingSlot.Count == 0 || !ReceiveQueue.MaySplit(Pool))
        {
            return;
        }

        foreach (int id in _awaitingSlot)
        {
            // One that is only waiting for its data to be taken is still there, one whose last event was taken is not.
            if (TryGetConnection(id, out TcpConnection connection))
            {
                connection.IsAwaitingSlot = false;
                if (connection.ReadableBytes > 0)
                {
                    Raise(connection, TcpEvents.Readable);
                }
            }
        }

        _awaitingSlot.Clear();
    }

    private static void RemoveAt(List<TcpConnection> connections, int index)
    {
        connections[index] = connections[^1];
        connections.RemoveAt(connections.Count - 1);
    }

    private void RetryAwaitingNeighbor()
    {
        foreach (TcpConnection connection in _awaitingNeighbor)
        {
            connection.IsAwaitingNeighbor = false;
            MarkReady(connection);
        }

        _awaitingNeighbor.Clear();
    }
}
