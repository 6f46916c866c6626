using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>What TCP segments have in common whatever carries them.</summary>
internal static class TcpFraming
{
    /// <summary>
    /// Writes the TCP header. With <paramref name="partial"/> its checksum field holds the pseudo-header's sum, for the device to go on from; else all of the segment is summed up here.
    /// </summary>
    public static void Write(Span<byte> tcp, in TcpHeaderToSend header, ReadOnlySpan<TxChunk> payload, int segmentLength, bool partial)
    {
        ulong sum = InternetChecksum.PseudoHeader(header.Source.Address, header.Destination.Address, IpProtocol.Tcp, segmentLength);
        TcpHeader.Write(
            tcp,
            header.Source.Port,
            header.Destination.Port,
            header.Seq,
            header.Ack,
            header.Flags,
            header.Window,
            header.Options,
            checksum: partial ? InternetChecksum.Fold(sum) : (ushort)0);
        if (partial)
        {
            return;
        }

        var accumulator = new ChecksumAccumulator(sum);
        accumulator.Add(tcp);
        foreach (ref readonly TxChunk chunk in payload)
        {
            accumulator.Add(chunk.Span);
        }

        BinaryPrimitives.WriteUInt16BigEndian(tcp[TcpHeader.ChecksumOffset..], accumulator.Finish());
    }
}
