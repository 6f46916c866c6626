using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>A port that takes connections (the LISTEN state). Connections arrive as <see cref="TcpEvents.Accepted"/> events.</summary>
public sealed class TcpListener
{
    internal TcpListener(IpEndpoint local, int backlog)
    {
        Local = local;
        Backlog = backlog;
    }

    public IpEndpoint Local { get; }

    /// <summary>Most half-open connections, and most established ones not yet accepted.</summary>
    public int Backlog { get; }

    /// <summary>For the socket layer's use.</summary>
    public object? Owner { get; set; }

    /// <summary>Connections in SYN-RECEIVED.</summary>
    public int HalfOpen { get; internal set; }

    /// <summary>Established connections that <see cref="MarkAccepted"/> has not been called for.</summary>
    public int AcceptQueueLength { get; internal set; }

    /// <summary>The application took an established connection: it no longer counts against the backlog.</summary>
    public void MarkAccepted(TcpConnection connection) => throw new InvalidOperationException("stub");

    /// <summary>Stops listening. Half-open connections are reset; established ones stay. Idempotent.</summary>
    public void Close(long nowUs) => throw new InvalidOperationException("stub");
}
