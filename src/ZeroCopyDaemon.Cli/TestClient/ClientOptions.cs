using System.Net;

namespace ZeroCopyDaemon.Cli.TestClient;

/// <summary>What the far end is expected to do.</summary>
internal enum ClientMode
{
    /// <summary>Sends every byte back, then closes.</summary>
    Echo,

    /// <summary>Takes every byte, answers nothing, closes when we do.</summary>
    Sink,
}

/// <summary>One run of the test client.</summary>
internal sealed record ClientOptions
{
    public required EndPoint Server { get; init; }

    public int Connections { get; init; } = 1;

    /// <summary>In all, split over the connections.</summary>
    public long Bytes { get; init; } = 64L << 20;

    public ulong Seed { get; init; } = 1;

    /// <summary>Compare what comes back, byte for byte; else only count it.</summary>
    public bool Verify { get; init; }

    public ClientMode Mode { get; init; }

    /// <summary>A connection on which nothing has moved for so long has failed.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(30);
}

/// <summary>How one connection ended.</summary>
internal enum ConnectionOutcome
{
    Ok,

    /// <summary>A byte came back that was not sent there.</summary>
    Mismatch,

    /// <summary>The far end closed before everything had come back.</summary>
    Truncated,

    /// <summary>More came back than was sent.</summary>
    Excess,

    Reset,

    Refused,

    /// <summary>Nothing moved for the timeout.</summary>
    Stalled,

    Failed,
}

/// <summary>One connection's figures.</summary>
internal sealed record ConnectionResult(int Connection, long Bytes, long BytesSent, long BytesReceived, ConnectionOutcome Outcome, string? Error);

/// <summary>A run's figures. GB/s counts payload one way, in 10^9 bytes.</summary>
internal sealed record ClientResult(long Bytes, long BytesSent, long BytesReceived, double Seconds, bool Verified, IReadOnlyList<ConnectionResult> Connections)
{
    public int Errors => Connections.Count(c => c.Outcome != ConnectionOutcome.Ok);

    public string? FirstError => Connections.FirstOrDefault(c => c.Outcome != ConnectionOutcome.Ok)?.Error;

    public double GigabytesPerSecond => Seconds > 0 ? BytesSent / Seconds / 1e9 : 0;
}
