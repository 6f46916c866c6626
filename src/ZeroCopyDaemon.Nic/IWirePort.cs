using ZeroCopyDaemon.Net.Devices;

namespace ZeroCopyDaemon.Nic;

/// <summary>Where a NIC's transmitted frames go: the wire it is plugged into.</summary>
public interface IWirePort
{
    /// <summary>
    /// Carries one wire frame (never a TSO super-frame, checksums complete). The wire has read the chunks when the call returns. False = the wire holds the sender back (pause); the
    /// NIC keeps the frame on its ring and tries again.
    /// </summary>
    bool TryCarry(in TxFrame frame, long nowUs);
}
