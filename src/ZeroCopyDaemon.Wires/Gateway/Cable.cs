using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.Wires.Gateway;

/// <summary>One direction of a cable between two modelled NICs of this process: lossless as long as the receiving NIC pauses its sender instead of dropping.</summary>
internal sealed class Cable(NicModel to) : IWirePort
{
    /// <summary>The last frame offered was held back: the receiving NIC has too few buffers posted.</summary>
    public bool HeldBack { get; private set; }

    /// <inheritdoc/>
    public bool TryCarry(in TxFrame frame, long nowUs)
    {
        HeldBack = to.RxPaused;
        if (!HeldBack)
        {
            to.ReceiveFromWire(frame, nowUs);
        }

        return !HeldBack;
    }
}
