using System.Runtime.InteropServices;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Packetdrill.Environment;
using ZeroCopyDaemon.Packetdrill.Packets;
using ZeroCopyDaemon.Packetdrill.Runtime;

namespace ZeroCopyDaemon.Packetdrill.Sockets;

/// <summary>The sockets of a script's process, by file descriptor, and what the stack tells them. Owns the memory that is being sent.</summary>
internal sealed unsafe class SocketTable : IDisposable
{
    private readonly StackHost _host;
    private readonly Settings _settings;
    private readonly Dictionary<int, TestSocket> _sockets = [];
    private readonly HashSet<nint> _sending = [];

    public SocketTable(StackHost host, Settings settings)
    {
        _host = host;
        _settings = settings;
        host.OnEvent = OnEvent;
    }

    /// <summary>The one that was made last: packets of the script are its own, until a connection says whose they are.</summary>
    public TestSocket? Latest { get; private set; }

    public IEnumerable<TestSocket> Open => _sockets.Values;

    public bool TryGet(int fd, out TestSocket socket) => _sockets.TryGetValue(fd, out socket!);

    public bool IsTaken(int fd) => _sockets.ContainsKey(fd);

    public int FreeFd()
    {
        int fd = 3;
        while (_sockets.ContainsKey(fd))
        {
            fd++;
        }

        return fd;
    }

    public TestSocket Create(int fd)
    {
        TestSocket socket = NewSocket(fd);
        _sockets.Add(fd, socket);
        Latest = socket;
        return socket;
    }

    /// <summary>Gives an accepted connection its descriptor.</summary>
    public void Adopt(TestSocket accepted, int fd)
    {
        var socket = new TestSocket(fd)
        {
            Local = accepted.Local,
            Connection = accepted.Connection,
            IsConnected = accepted.IsConnected,
            IsOver = accepted.IsOver,
            PeerClosed = accepted.PeerClosed,
            PendingError = accepted.PendingError,
            ReceiveBuffer = accepted.ReceiveBuffer,
            SendBuffer = accepted.SendBuffer,
        };
        if (!socket.IsOver)
        {
            socket.Connection!.Owner = socket;
        }

        _sockets.Add(fd, socket);
    }

    public void Close(TestSocket socket)
    {
        _sockets.Remove(socket.Fd);
        socket.Listener?.Close(_host.NowUs);
        while (socket.AcceptQueue.TryDequeue(out TestSocket? waiting))
        {
            if (!waiting.IsOver)
            {
                waiting.Connection!.Abort(_host.NowUs);
            }
        }

        if (socket.Connection is null || socket.IsOver)
        {
            return;
        }

        if (socket.Linger is (true, 0))
        {
            socket.Connection.Abort(_host.NowUs);
        }
        else
        {
            socket.Connection.Close(_host.NowUs);
        }
    }

    /// <summary>Queues the next bytes of the pattern for sending. False if the connection takes no more.</summary>
    public bool Send(TestSocket socket, int length, bool more)
    {
        byte* memory = (byte*)NativeMemory.Alloc((nuint)length);
        for (int i = 0; i < length; i++)
        {
            memory[i] = PayloadPattern.At((uint)(socket.Written + i));
        }

        if (!socket.Connection!.TrySend(new SendItem(memory, length, tag: 0), more))
        {
            NativeMemory.Free(memory);
            return false;
        }

        _sending.Add((nint)memory);
        socket.Written += length;
        return true;
    }

    public void Dispose()
    {
        foreach (nint memory in _sending)
        {
            NativeMemory.Free((void*)memory);
        }
    }

    /// <summary>Every socket of the process, and every connection that no descriptor stands for, as <c>sockstat</c> lists them.</summary>
    public IEnumerable<SocketLine> Lines()
    {
        var owned = new HashSet<TcpConnection>();
        foreach (TestSocket socket in _sockets.Values)
        {
            if (socket.Connection is not null && !socket.IsOver)
            {
                owned.Add(socket.Connection);
            }

            yield return new SocketLine(true, socket.Local.Port, !_host.Stack.Options.Address.IsV4, StateOf(socket));
        }

        foreach (TcpConnection connection in _host.Stack.Connections)
        {
            if (!owned.Contains(connection) && connection.State != TcpState.Closed)
            {
                yield return new SocketLine(false, connection.Local.Port, !connection.Local.Address.IsV4, Name(connection.State));
            }
        }
    }

    /// <summary>The state of a socket's connection, TIME-WAIT included.</summary>
    public TcpState State(TestSocket socket) => socket.Connection switch
    {
        null => TcpState.Closed,
        _ when !socket.IsOver && socket.Connection.State != TcpState.Closed => socket.Connection.State,
        { } ended => _host.Stack.IsInTimeWait(ended.Local, ended.Remote) ? TcpState.TimeWait : TcpState.Closed,
    };

    /// <summary>FreeBSD's name of a state.</summary>
    public static string Name(TcpState state) => state switch
    {
        TcpState.SynSent => "SYN_SENT",
        TcpState.SynReceived => "SYN_RCVD",
        TcpState.Established => "ESTABLISHED",
        TcpState.FinWait1 => "FIN_WAIT_1",
        TcpState.FinWait2 => "FIN_WAIT_2",
        TcpState.CloseWait => "CLOSE_WAIT",
        TcpState.Closing => "CLOSING",
        TcpState.LastAck => "LAST_ACK",
        TcpState.TimeWait => "TIME_WAIT",
        _ => "CLOSED",
    };

    /// <summary>What a connection may hold of received data: what its socket says, rounded up to whole segments as FreeBSD does (it tells of that only once the connection is there).</summary>
    public void ApplyReceiveBuffer(TestSocket socket)
    {
        if (socket.Connection is not null && !socket.IsOver)
        {
            socket.Connection.ReceiveBufferBytes = Rounded(socket.ReceiveBuffer, _host.Stack.Options.Address.IsV4 ? _host.Mtu - 40 : _host.Mtu - 60);
        }

        if (socket.Listener is not null)
        {
            socket.Listener.ReceiveBufferBytes = Rounded(socket.ReceiveBuffer, _host.Stack.Options.Address.IsV4 ? _host.Mtu - 40 : _host.Mtu - 60);
        }
    }

    private string StateOf(TestSocket socket) => socket.Listener is not null ? "LISTEN" : Name(State(socket));

    private TestSocket NewSocket(int fd) => new(fd) { ReceiveBuffer = _settings.ReceiveSpace, SendBuffer = _settings.SendSpace };

    private void OnEvent(TcpConnection connection, TcpEvents events)
    {
        if ((events & TcpEvents.Accepted) != 0 && connection.Listener!.Owner is TestSocket listening)
        {
            TestSocket waiting = NewSocket(-1);
            waiting.Connection = connection;
            waiting.Local = connection.Local;
            waiting.ReceiveBuffer = listening.ReceiveBuffer;
            waiting.SendBuffer = listening.SendBuffer;
            waiting.IsConnected = true;
            RoundReceiveBuffer(waiting);
            connection.Owner = waiting;
            listening.AcceptQueue.Enqueue(waiting);
        }

        while (connection.TryTakeSent(out SendItem item))
        {
            if (_sending.Remove((nint)item.Pointer))
            {
                NativeMemory.Free(item.Pointer);
            }
        }

        if (connection.Owner is not TestSocket socket || socket.Connection != connection)
        {
            return;
        }

        if ((events & TcpEvents.Connected) != 0)
        {
            socket.IsConnected = true;
            RoundReceiveBuffer(socket);
        }

        socket.PeerClosed |= (events & TcpEvents.PeerClosed) != 0;
        if ((events & TcpEvents.Failed) != 0 && connection.Error != TcpError.Aborted)
        {
            socket.PendingError = Errno.Of(connection.Error);
        }

        if ((events & TcpEvents.Closed) != 0)
        {
            socket.IsOver = true;
            socket.IsConnected = false;
        }
    }

    /// <summary>The segments' size is known now.</summary>
    private void RoundReceiveBuffer(TestSocket socket)
    {
        TcpInfo info = socket.Connection!.GetInfo(_host.NowUs);
        socket.ReceiveBuffer = Rounded(socket.ReceiveBuffer, info.Mss + (info.Timestamps ? 12 : 0));
        socket.Connection.ReceiveBufferBytes = socket.ReceiveBuffer;
    }

    private long Rounded(long bytes, int mss) => _settings.IsFreeBsd ? Math.Min((bytes + mss - 1) / mss * mss, _settings.Tcp.MaxReceiveWindow) : bytes;
}
