using System.Net.Sockets;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Wires.Gateway;

/// <summary>What a <see cref="GatewayClient"/> needs of its wire.</summary>
internal interface IGatewayClientHome
{
    GatewayCounters Counters { get; }

    SendRingStore Rings { get; }

    PagePool Pool { get; }

    int BytesPerTurn { get; }
}

/// <summary>
/// One real client and the modelled host's connection that stands for it. Bytes from the socket go into a <see cref="SendRing"/> and are transmitted from there; bytes from the
/// kernel are written to the socket from the pages they arrived in.
/// <para>Either direction stops by itself when the other side does not take any more: a full ring leaves bytes in the OS's socket buffer, and a full socket leaves them in the
/// connection's receive queue, which closes its window.</para>
/// </summary>
internal sealed class GatewayClient
{
    private const int MaxPendingFragments = 64;
    private static readonly LingerOption ResetOnClose = new(enable: true, seconds: 0);

    private readonly IGatewayClientHome _home;
    private readonly Socket _socket;
    private TcpConnection? _connection;
    private SendRing? _ring;
    private FragmentQueue _pending = FragmentQueue.Empty;
    private bool _readable = true;
    private bool _writable = true;
    private bool _hungUp;
    private bool _socketEnded;
    private bool _peerClosed;
    private bool _shutdown;
    private bool _failed;

    public GatewayClient(IGatewayClientHome home, Socket socket, TcpConnection connection, int host)
    {
        _home = home;
        _socket = socket;
        _connection = connection;
        Host = host;
        Modelled = connection.Local;
        Descriptor = (int)socket.Handle;
        RealEndpoint = socket.RemoteEndPoint?.ToString() ?? "gone";
        connection.Owner = this;
    }

    public int Descriptor { get; }

    /// <summary>Number of its modelled host.</summary>
    public int Host { get; }

    /// <summary>Its end of the modelled connection: what the kernel sees as the remote endpoint.</summary>
    public IpEndpoint Modelled { get; }

    /// <summary>The real remote endpoint.</summary>
    public string RealEndpoint { get; }

    /// <summary>Its place among the wire's tokens.</summary>
    public int Token { get; set; }

    /// <summary>It is on the wire's list of clients with something to do.</summary>
    public bool Queued { get; set; }

    /// <summary>Nothing is left to do, on either side: the wire disposes of it.</summary>
    public bool Finished { get; private set; }

    /// <summary>Most truesize bytes held for it.</summary>
    public long QuotaBytes
    {
        set
        {
            if (_connection is not null)
            {
                _connection.ReceiveQuotaBytes = value;
            }
        }
    }

    /// <summary>The real socket is ready.</summary>
    public void OnReady(bool readable, bool writable, bool hangUp)
    {
        _readable |= readable || hangUp;
        _writable |= writable || hangUp;
        _hungUp |= hangUp;
    }

    /// <summary>The modelled connection has news.</summary>
    public void OnEvents(TcpEvents events)
    {
        _failed |= (events & TcpEvents.Failed) != 0;
        _peerClosed |= (events & TcpEvents.PeerClosed) != 0;
        if ((events & TcpEvents.Closed) == 0 || _connection is null)
        {
            return;
        }

        // TCP is done, but the socket may not have taken everything yet: what is left stays here, and the connection's object goes back to the stack.
        TakeSent();
        if (!_failed)
        {
            while (_connection.Receive(int.MaxValue, int.MaxValue, out int head) > 0)
            {
                Append(head);
            }
        }

        _connection.Owner = null;
        _connection = null;
        ReturnRing();
    }

    /// <summary>Moves bytes both ways, a turn's worth at most. Returns the amount of work done; <paramref name="again"/> if there is more to do at once.</summary>
    public int Pump(long nowUs, out bool again)
    {
        again = false;
        if (_hungUp)
        {
            // While its bytes wait for room in the ring nobody reads the socket, so nobody else would find out.
            _hungUp = false;
            if (_socket.GetSocketOption(SocketOptionLevel.Socket, SocketOptionName.Error) is not 0)
            {
                SocketFailed(nowUs);
            }
        }

        if (_failed)
        {
            Fail(nowUs);
            return 1;
        }

        int work = TakeSent();
        work += FromSocket(nowUs, out bool moreIn);
        work += ToSocket(nowUs, out bool moreOut);
        if (!_failed)
        {
            EndWhatHasEnded(nowUs);
        }

        again = moreIn || moreOut || _failed;
        return work;
    }

    /// <summary>Gives everything back and closes the socket: with a reset unless both directions ended in order.</summary>
    public void Dispose(long nowUs)
    {
        if (_connection is not null)
        {
            _connection.Abort(nowUs);
            TakeSent();
        }

        _pending.Clear(_home.Pool);
        if (_failed || !_socketEnded || !_peerClosed)
        {
            Reset();
        }

        _socket.Dispose();
    }

    /// <summary>What it looks like, for a test's failure text.</summary>
    public string Describe(long nowUs) =>
        $"{Modelled} for {RealEndpoint}: readable {_readable}, writable {_writable}, socket ended {_socketEnded}, peer closed {_peerClosed}, shut down {_shutdown}, failed {_failed}, "
        + $"{_pending.Bytes} bytes pending, queued {Queued}, connection {_connection?.GetInfo(nowUs)}";

    private int TakeSent()
    {
        int taken = 0;
        while (_connection is not null && _connection.TryTakeSent(out SendItem item))
        {
            _ring!.Release(item.Length);
            taken++;
        }

        if (_ring is { IsEmpty: true })
        {
            ReturnRing();
        }

        return taken;
    }

    private unsafe int FromSocket(long nowUs, out bool again)
    {
        int work = 0;
        int budget = _home.BytesPerTurn;
        again = false;
        while (_readable && !_socketEnded && !_failed && _connection is { SendItemsFree: > 0 })
        {
            if (budget <= 0)
            {
                again = true;
                break;
            }

            _ring ??= _home.Rings.Rent();
            Span<byte> free = _ring.Free;
            if (free.IsEmpty)
            {
                break;
            }

            int length = _socket.Receive(free, SocketFlags.None, out SocketError error);
            _home.Counters.SystemCalls++;
            work++;
            if (error == SocketError.WouldBlock)
            {
                _home.Counters.WouldBlock++;
                _readable = false;
            }
            else if (error != SocketError.Success)
            {
                SocketFailed(nowUs);
            }
            else if (length == 0)
            {
                _socketEnded = true;
                _connection.ShutdownSend();
            }
            else
            {
                _home.Counters.BytesIn += length;
                budget -= length;
                byte* bytes = _ring.Commit(length);
                if (!_connection.TrySend(new SendItem(bytes, length, tag: 0)))
                {
                    // The connection is failing; its event is on the way.
                    _ring.Release(length);
                    _readable = false;
                }
            }
        }

        if (_ring is { IsEmpty: true })
        {
            ReturnRing();
        }

        return work;
    }

    private int ToSocket(long nowUs, out bool again)
    {
        int work = 0;
        int budget = _home.BytesPerTurn;
        again = false;
        while (!_failed)
        {
            int room = MaxPendingFragments - _pending.Count;
            if (room > 0 && _connection is not null && _connection.Receive(int.MaxValue, room, out int head) > 0)
            {
                Append(head);
            }

            if (_pending.Head == PagePool.NoFragment || !_writable)
            {
                break;
            }

            if (budget <= 0)
            {
                again = true;
                break;
            }

            int written = SocketOutput.Write(_socket, Descriptor, _home.Pool, _pending.Head, budget, out SocketError error);
            _home.Counters.SystemCalls++;
            work++;
            if (error == SocketError.WouldBlock)
            {
                _home.Counters.WouldBlock++;
                _writable = false;
            }
            else if (error != SocketError.Success)
            {
                SocketFailed(nowUs);
            }
            else
            {
                _home.Counters.BytesOut += written;
                budget -= written;
                ReleaseWritten(written);
            }
        }

        return work;
    }

    private void EndWhatHasEnded(long nowUs)
    {
        bool allWritten = _pending.Head == PagePool.NoFragment && (_connection is null || _connection.ReadableBytes == 0);
        if (_peerClosed && allWritten && !_shutdown)
        {
            _shutdown = true;
            _home.Counters.SystemCalls++;
            if (!TryShutdown())
            {
                SocketFailed(nowUs);
                return;
            }
        }

        if (_connection is null && !_socketEnded)
        {
            // TCP gave the connection up while the real client still talks to it.
            _failed = true;
        }
        else if (_socketEnded && _shutdown)
        {
            // Both directions have ended; what is left is TCP's: our FIN and its acknowledgment.
            _connection?.Close(nowUs);
            Finished = _connection is null;
        }
    }

    private bool TryShutdown()
    {
        try
        {
            _socket.Shutdown(SocketShutdown.Send);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    /// <summary>The real client is gone: so is the modelled one.</summary>
    private void SocketFailed(long nowUs)
    {
        _failed = true;
        _connection?.Abort(nowUs);
    }

    private void Fail(long nowUs)
    {
        _pending.Clear(_home.Pool);
        _connection?.Abort(nowUs);
        TakeSent();
        Finished = _connection is null;
    }

    private void Reset()
    {
        _home.Counters.Resets++;
        try
        {
            _socket.LingerState = ResetOnClose;
        }
        catch (SocketException)
        {
            // The OS has reset it already.
        }
    }

    private void Append(int head)
    {
        while (head != PagePool.NoFragment)
        {
            int next = _home.Pool[head].Next;
            _pending.Append(_home.Pool, head);
            head = next;
        }
    }

    private void ReleaseWritten(int bytes)
    {
        PagePool pool = _home.Pool;
        while (bytes > 0)
        {
            ref Fragment first = ref pool[_pending.Head];
            if (bytes < first.Length)
            {
                first.Offset += bytes;
                first.Length -= bytes;
                _pending.Bytes -= bytes;
                return;
            }

            bytes -= first.Length;
            pool.Release(_pending.RemoveHead(pool));
        }
    }

    private void ReturnRing()
    {
        if (_ring is not null)
        {
            _home.Rings.Return(_ring);
            _ring = null;
        }
    }
}
