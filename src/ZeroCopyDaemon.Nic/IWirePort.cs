using ZeroCopyDaemon.Net.Devices;

namespace ZeroCopyDaemon.Nic;

/// <summary>What a wire takes over from a NIC's transmit side, as a device below takes it over from a driver (virtio-net's feature bits, for one).</summary>
[Flags]
public enum WireOffloads
{
    /// <summary>Wire frames only: cut to size, their checksums complete.</summary>
    None = 0,

    /// <summary>It carries frames whose TCP checksum is partial (<see cref="TxFrame.ChecksumPartial"/>).</summary>
    Checksum = 1,

    /// <summary>It carries TSO super-frames (<see cref="TxFrame.Mss"/> above 0) whole. Only together with <see cref="Checksum"/>.</summary>
    Tso = 2,
}

/// <summary>Where a NIC's transmitted frames go: the wire it is plugged into.</summary>
public interface IWirePort
{
    /// <summary>What the NIC may leave to the wire. Doesn't change while the NIC is plugged in.</summary>
    WireOffloads TxOffloads => WireOffloads.None;

    /// <summary>
    /// Carries one frame: a wire frame with complete checksums, or what <see cref="TxOffloads"/> allows besides. The wire has read the chunks when the call returns. False = the wire
    /// holds the sender back (pause); the NIC keeps the frame on its ring and tries again.
    /// </summary>
    bool TryCarry(in TxFrame frame, long nowUs);
}
