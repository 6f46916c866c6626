using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>A port that takes connections (the LISTEN state). Connections arrive as <see cref="TcpEvents.Accepted"/> events. Used on the stack's thread only.</summary>
public sealed class TcpListener
{
    private readonly TcpLayer _layer;

    internal TcpListener(TcpLayer layer, IpEndpoint local, int backlog, ReceiveBudget budget)
    {
        _layer = layer;
        Local = local;
        Backlog = backlog;
        Budget = budget;
    }

    public IpEndpoint Local { get; }

    /// <summary>Most half-open connections, and most established ones not yet accepted.</summary>
    public int Backlog { get; }

    /// <summary>What new connections are charged to until somebody moves them.</summary>
    public ReceiveBudget Budget { get; }

    /// <summary>What new connections begin with as <see cref="TcpConnection.ReceiveBufferBytes"/>.</summary>
    public long ReceiveBufferBytes { get; set; } = long.MaxValue;

    /// <summary>For the socket layer's use.</summary>
    public object? Owner { get; set; }

    /// <summary>Connections in SYN-RECEIVED.</summary>
    public int HalfOpen { get; internal set; }

    /// <summary>Established connections that <see cref="MarkAccepted"/> has not been called for.</summary>
    public int AcceptQueueLength { get; internal set; }

    internal bool IsClosed { get; private set; }

    /// <summary>The application took an established connection: it no longer counts against the backlog. Idempotent.</summary>
    public void MarkAccepted(TcpConnection connection)
    {
        if (connection.CountsInAcceptQueue)
        {
            connection.CountsInAcceptQueue = false;
            AcceptQueueLength--;
        }
    }

    /// <summary>Stops listening. Half-open connections are reset; established ones stay. Idempotent.</summary>
    public void Close(long nowUs)
    {
        if (!IsClosed)
        {
            IsClosed = true;
            _layer.CloseListener(this, nowUs);
        }
    }
}
