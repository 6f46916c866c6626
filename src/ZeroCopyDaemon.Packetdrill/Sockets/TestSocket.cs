using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Packetdrill.Sockets;

/// <summary>A socket of a script's process.</summary>
internal sealed class TestSocket(int fd)
{
    public int Fd { get; } = fd;

    /// <summary>O_RDWR, and O_NONBLOCK if set.</summary>
    public long Flags { get; set; } = Constants.OReadWrite;

    public bool NonBlocking => (Flags & Constants.ONonBlock) != 0;

    /// <summary>Where it was bound to; port 0 = nowhere.</summary>
    public IpEndpoint Local { get; set; }

    public TcpListener? Listener { get; set; }

    /// <summary>Connections that wait for <c>accept</c>.</summary>
    public Queue<TestSocket> AcceptQueue { get; } = new();

    /// <summary>The connection, also when it is over: ask <see cref="IsOver"/> first.</summary>
    public TcpConnection? Connection { get; set; }

    public bool IsConnected { get; set; }

    /// <summary>The stack is done with the connection and may use the object for another.</summary>
    public bool IsOver { get; set; }

    /// <summary>The peer's FIN was taken in.</summary>
    public bool PeerClosed { get; set; }

    public bool ReadShut { get; set; }

    public bool WriteShut { get; set; }

    /// <summary>Name of the error that the next call reports, and SO_ERROR; null = none.</summary>
    public string? PendingError { get; set; }

    /// <summary>SO_RCVBUF.</summary>
    public long ReceiveBuffer { get; set; }

    /// <summary>SO_SNDBUF.</summary>
    public long SendBuffer { get; set; }

    /// <summary>The script set SO_RCVBUF.</summary>
    public bool ReceiveBufferIsSet { get; set; }

    /// <summary>SO_LINGER: on, seconds.</summary>
    public (bool On, long Seconds) Linger { get; set; }

    /// <summary>Options that are only remembered, by name.</summary>
    public Dictionary<string, long> Options { get; } = new(StringComparer.Ordinal);

    /// <summary>Bytes the application has written.</summary>
    public long Written { get; set; }

    /// <summary>Bytes the application has read.</summary>
    public long Read { get; set; }

    public long ReadableBytes => Connection is null || IsOver ? 0 : Connection.ReadableBytes;

    public long Unsent => Connection is null || IsOver ? 0 : Connection.SendQueueBytes;

    public string? TakeError()
    {
        string? error = PendingError;
        PendingError = null;
        return error;
    }
}
