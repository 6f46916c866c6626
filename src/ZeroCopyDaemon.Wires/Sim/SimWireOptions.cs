using ZeroCopyDaemon.Wires.Impaired;

namespace ZeroCopyDaemon.Wires.Sim;

/// <summary>What a <see cref="SimWire"/> does to frames: as an impaired wire, but with a delay from the start.</summary>
public sealed record SimWireOptions : ImpairmentOptions
{
    /// <summary>A good cable of 100 us.</summary>
    public SimWireOptions() => LatencyUs = 100;
}

/// <summary>Sees each frame as it is sent, before the wire does anything to it. For traces and checkers.</summary>
public interface ISimWireObserver
{
    /// <summary>The frame is complete and contiguous; it is valid during the call only.</summary>
    void OnFrame(int fromPort, ReadOnlySpan<byte> frame, FrameFate fate, long nowUs);
}
