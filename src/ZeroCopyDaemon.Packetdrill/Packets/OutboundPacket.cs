using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Packetdrill.Language;

namespace ZeroCopyDaemon.Packetdrill.Packets;

/// <summary>An IP packet that the stack under test sent, taken apart. Checksums have been verified.</summary>
internal sealed class OutboundPacket
{
    private OutboundPacket()
    {
    }

    /// <summary>When it was sent.</summary>
    public long TimeUs { get; private init; }

    public IpEndpoint Source { get; private init; }

    public IpEndpoint Destination { get; private init; }

    public byte TrafficClass { get; private init; }

    public byte HopLimit { get; private init; }

    /// <summary>False: something else than TCP, of which only the protocol is known.</summary>
    public bool IsTcp { get; private init; }

    public byte Protocol { get; private init; }

    public uint Seq { get; private init; }

    public uint Ack { get; private init; }

    public TcpFlags Flags { get; private init; }

    public ushort Window { get; private init; }

    public ushort Urgent { get; private init; }

    /// <summary>Null if malformed.</summary>
    public IReadOnlyList<TcpOptionSpec>? Options { get; private init; } = [];

    public byte[] Payload { get; private init; } = [];

    /// <summary>What is wrong with it whatever the script says: a checksum, a length.</summary>
    public string? Defect { get; private init; }

    /// <summary>Takes an Ethernet frame apart. Null for what is no IP packet.</summary>
    public static OutboundPacket? Parse(byte[] frame, long nowUs)
    {
        if (!EthernetView.TryParse(frame, out EthernetView ethernet))
        {
            return null;
        }

        ReadOnlySpan<byte> packet = ethernet.Payload;
        return ethernet.EtherType switch
        {
            EtherType.Ipv4 when Ipv4View.TryParse(packet, out Ipv4View ip) => Parse(
                ip.Source, ip.Destination, packet[1], ip.TimeToLive, (byte)ip.Protocol, packet[ip.HeaderLength..Math.Min(packet.Length, ip.TotalLength)],
                ip.IsChecksumValid ? null : "the IP header's checksum is wrong", nowUs),
            EtherType.Ipv6 when packet.Length >= 40 => Parse(
                IpAddress.Read(packet[8..24]), IpAddress.Read(packet[24..40]), (byte)(BinaryPrimitives.ReadUInt16BigEndian(packet) >> 4), packet[7], packet[6],
                packet.Slice(40, Math.Min(packet.Length - 40, BinaryPrimitives.ReadUInt16BigEndian(packet[4..]))), null, nowUs),
            _ => null,
        };
    }

    /// <summary>As a script has it, with numbers relative to the flow's.</summary>
    public string Describe(Func<uint, uint> relativeSeq)
    {
        var text = new StringBuilder("> ");
        if (!IsTcp)
        {
            return text.Append(CultureInfo.InvariantCulture, $"IP protocol {Protocol} to {Destination.Address}").ToString();
        }

        uint seq = relativeSeq(Seq);
        text.Append(FlagLetters(Flags)).Append(CultureInfo.InvariantCulture, $" {seq}:{unchecked(seq + (uint)Payload.Length)}({Payload.Length})");
        if ((Flags & TcpFlags.Ack) != 0)
        {
            text.Append(CultureInfo.InvariantCulture, $" ack {Ack}");
        }

        text.Append(CultureInfo.InvariantCulture, $" win {Window}");
        if ((Flags & TcpFlags.Urg) != 0)
        {
            text.Append(CultureInfo.InvariantCulture, $" urg {Urgent}");
        }

        if (Options is null)
        {
            text.Append(" <malformed>");
        }
        else if (Options.Count > 0)
        {
            text.Append(" <").AppendJoin(',', Options).Append('>');
        }

        return text.ToString();
    }

    public static string FlagLetters(TcpFlags flags)
    {
        var text = new StringBuilder();
        foreach ((TcpFlags flag, char letter) in ((TcpFlags, char)[])
        [
            (TcpFlags.Syn, 'S'), (TcpFlags.Fin, 'F'), (TcpFlags.Rst, 'R'), (TcpFlags.Psh, 'P'), (TcpFlags.Urg, 'U'), (TcpFlags.Ece, 'E'), (TcpFlags.Cwr, 'W'), (TcpFlags.Ack, '.'),
        ])
        {
            if ((flags & flag) != 0)
            {
                text.Append(letter);
            }
        }

        return text.Length == 0 ? "-" : text.ToString();
    }

    private static OutboundPacket Parse(IpAddress source, IpAddress destination, byte traffic, byte hops, byte protocol, ReadOnlySpan<byte> bytes, string? defect, long nowUs)
    {
        if (protocol != (byte)IpProtocol.Tcp || !TcpView.TryParse(bytes, out TcpView tcp))
        {
            return new OutboundPacket
            {
                TimeUs = nowUs, Source = new IpEndpoint(source, 0), Destination = new IpEndpoint(destination, 0), TrafficClass = traffic, HopLimit = hops, Protocol = protocol, Defect = defect,
            };
        }

        if (!InternetChecksum.IsValid(bytes, InternetChecksum.PseudoHeader(source, destination, IpProtocol.Tcp, bytes.Length)))
        {
            defect ??= "the TCP checksum is wrong";
        }

        return new OutboundPacket
        {
            TimeUs = nowUs,
            Source = new IpEndpoint(source, tcp.SourcePort),
            Destination = new IpEndpoint(destination, tcp.DestinationPort),
            TrafficClass = traffic,
            HopLimit = hops,
            IsTcp = true,
            Protocol = protocol,
            Seq = tcp.Seq.Value,
            Ack = tcp.Ack.Value,
            Flags = tcp.Flags,
            Window = tcp.Window,
            Urgent = tcp.UrgentPointer,
            Options = TcpOptionCodec.Decode(tcp.Options),
            Payload = bytes[tcp.HeaderLength..].ToArray(),
            Defect = defect,
        };
    }
}
