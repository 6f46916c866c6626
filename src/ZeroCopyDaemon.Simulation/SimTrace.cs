using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Wires.Impaired;

namespace ZeroCopyDaemon.Simulation;

/// <summary>Writes a simulation as text: a line a frame, much like tcpdump's, and a line for each event. Sequence numbers are relative to the connection's first.</summary>
internal sealed class SimTrace(TextWriter writer, long startUs)
{
    private readonly Dictionary<(int Port, ushort Source, ushort Destination), SeqNumber> _initial = [];
    private readonly StringBuilder _line = new();

    /// <summary>Something happened on a host.</summary>
    public void Event(long nowUs, string who, string what) => writer.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{Time(nowUs)}  {who,-6} {what}"));

    /// <summary>A frame was sent.</summary>
    public void Frame(int fromPort, in SimFrame frame, FrameFate fate, long nowUs)
    {
        _line.Clear();
        _line.Append(Time(nowUs)).Append(fromPort == 0 ? "  A > B  " : "  B > A  ");
        if (frame.IsTcp)
        {
            Tcp(fromPort, frame);
        }
        else if (frame.IsArp)
        {
            Arp(frame.Bytes);
        }
        else if (frame.IsNeighborDiscovery)
        {
            NeighborDiscovery(frame.Bytes);
        }
        else if (frame.IsIp)
        {
            _line.Append(CultureInfo.InvariantCulture, $"{(frame.IsIpv6 ? "IPv6" : "IPv4")} protocol {frame.Protocol}, length {frame.IpTotalLength}");
        }
        else
        {
            _line.Append(CultureInfo.InvariantCulture, $"ethertype 0x{frame.EtherType:x4}, length {frame.Bytes.Length}");
        }

        if (fate != FrameFate.Carried)
        {
#pragma warning disable CA1308 // It is read by people, not compared.
            _line.Append("   <-- ").Append(fate.ToString().ToLowerInvariant());
#pragma warning restore CA1308
        }

        writer.WriteLine(_line.ToString());
    }

    private string Time(long nowUs) => string.Create(CultureInfo.InvariantCulture, $"{(nowUs - startUs) / 1_000_000,6}.{(nowUs - startUs) % 1_000_000:d6}");

    private void Tcp(int fromPort, in SimFrame frame)
    {
        (int, ushort, ushort) direction = (fromPort, frame.SourcePort, frame.DestinationPort);
        (int, ushort, ushort) reverse = (1 - fromPort, frame.DestinationPort, frame.SourcePort);
        if ((frame.Flags & TcpFlags.Syn) != 0)
        {
            _initial[direction] = frame.Seq;
        }

        uint seq = (frame.Seq - (_initial.TryGetValue(direction, out SeqNumber initial) ? initial : default)) is int s ? (uint)s : 0;
        int length = frame.Payload.Length;
        _line.Append(CultureInfo.InvariantCulture, $"{frame.SourcePort} > {frame.DestinationPort}: Flags [{Flags(frame.Flags)}], seq {seq}");
        if (length > 0)
        {
            _line.Append(CultureInfo.InvariantCulture, $":{seq + (uint)length}");
        }

        if ((frame.Flags & TcpFlags.Ack) != 0)
        {
            uint ack = (uint)(frame.Ack - (_initial.TryGetValue(reverse, out SeqNumber first) ? first : default));
            _line.Append(CultureInfo.InvariantCulture, $", ack {ack}");
        }

        _line.Append(CultureInfo.InvariantCulture, $", win {frame.Window}");
        Options(frame.Options);
        _line.Append(CultureInfo.InvariantCulture, $", length {length}");
    }

    private void Options(ReadOnlySpan<byte> options)
    {
        string separator = ", options [";
        while (options.Length > 1 && options[0] != 0)
        {
            if (options[0] == 1)
            {
                options = options[1..];
                continue;
            }

            int length = Math.Clamp((int)options[1], 2, options.Length);
            _line.Append(separator);
            separator = ",";
            switch (options[0])
            {
                case 2 when length == 4:
                    _line.Append(CultureInfo.InvariantCulture, $"mss {BinaryPrimitives.ReadUInt16BigEndian(options[2..])}");
                    break;
                case 3 when length == 3:
                    _line.Append(CultureInfo.InvariantCulture, $"wscale {options[2]}");
                    break;
                case 4:
                    _line.Append("sackOK");
                    break;
                case 8 when length == 10:
                    _line.Append(
                        CultureInfo.InvariantCulture,
                        $"TS val {BinaryPrimitives.ReadUInt32BigEndian(options[2..])} ecr {BinaryPrimitives.ReadUInt32BigEndian(options[6..])}");
                    break;
                default:
                    _line.Append(CultureInfo.InvariantCulture, $"kind {options[0]}");
                    break;
            }

            options = options[length..];
        }

        if (separator == ",")
        {
            _line.Append(']');
        }
    }

    private void Arp(ReadOnlySpan<byte> frame)
    {
        IpAddress sender = IpAddress.Read(frame.Slice(28, 4));
        IpAddress target = IpAddress.Read(frame.Slice(38, 4));
        if (frame[21] == 1)
        {
            _line.Append(CultureInfo.InvariantCulture, $"ARP who-has {target} tell {sender}");
        }
        else
        {
            _line.Append(CultureInfo.InvariantCulture, $"ARP {sender} is-at {EthernetAddress.Read(frame[22..])}");
        }
    }

    private void NeighborDiscovery(ReadOnlySpan<byte> frame)
    {
        IpAddress source = IpAddress.Read(frame.Slice(22, 16));
        IpAddress target = IpAddress.Read(frame.Slice(62, 16));
        if (frame[54] == 135)
        {
            _line.Append(CultureInfo.InvariantCulture, $"ICMPv6 who-has {target} tell {source}");
        }
        else
        {
            _line.Append(CultureInfo.InvariantCulture, $"ICMPv6 {target} is-at {EthernetAddress.Read(frame[6..])}");
        }
    }

    private static string Flags(TcpFlags flags)
    {
        var text = new StringBuilder(8);
        Span<(TcpFlags Flag, char Letter)> letters =
        [
            (TcpFlags.Syn, 'S'), (TcpFlags.Fin, 'F'), (TcpFlags.Rst, 'R'), (TcpFlags.Psh, 'P'), (TcpFlags.Urg, 'U'), (TcpFlags.Ece, 'E'), (TcpFlags.Cwr, 'W'), (TcpFlags.Ack, '.'),
        ];
        foreach ((TcpFlags flag, char letter) in letters)
        {
            if ((flags & flag) != 0)
            {
                text.Append(letter);
            }
        }

        return text.Length == 0 ? "none" : text.ToString();
    }
}
