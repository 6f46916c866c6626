using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Packetdrill.Language;

/// <summary>Reads what follows <c>&lt;</c> or <c>&gt;</c>: a packet.</summary>
internal static class PacketParser
{
    private static readonly HashSet<string> OtherProtocols = new(StringComparer.Ordinal) { "udp", "udplite", "sctp", "ipv4", "ipv6", "gre", "mpls", "dccp" };

    public static PacketSpec Parse(Scanner scanner, bool inbound, bool ipv6)
    {
        IpSpec ip = ParseIp(scanner);
        string? word = scanner.PeekWord();
        if (word is "icmp" or "icmpv6")
        {
            scanner.TryWord();
            return IcmpParser.Parse(scanner, ip, ipv6);
        }

        if (word is not null && OtherProtocols.Contains(word))
        {
            throw ScriptException.Unsupported(scanner.Line, $"{word} packets: the stack under test is TCP");
        }

        return ParseTcp(scanner, inbound, ip);
    }

    private static IpSpec ParseIp(Scanner scanner)
    {
        var ip = new IpSpec();
        while (true)
        {
            if (scanner.TryTake("["))
            {
                ip = ParseIpWord(scanner, ip);
                while (scanner.TryTake(","))
                {
                    ip = ParseIpWord(scanner, ip);
                }

                scanner.Take("]");
            }
            else if (scanner.TryTake("("))
            {
                ip = ParseIpWord(scanner, ip);
                while (scanner.TryTake(","))
                {
                    ip = ParseIpWord(scanner, ip);
                }

                scanner.Take(")");
            }
            else
            {
                return ip;
            }
        }
    }

    private static IpSpec ParseIpWord(Scanner scanner, IpSpec ip)
    {
        int line = scanner.Line;
        string word = scanner.Word("an IP field");
        switch (word)
        {
            case "noecn":
                return ip with { Ecn = EcnMark.NotEct };
            case "ect0":
                return ip with { Ecn = EcnMark.Ect0 };
            case "ect1":
                return ip with { Ecn = EcnMark.Ect1 };
            case "ce":
                return ip with { Ecn = EcnMark.Ce };
            case "ect01":
                return ip with { Ecn = EcnMark.AnyEct };
            case "tos" or "class" or "tclass":
                return ip with { TrafficClass = (byte)scanner.Integer("a traffic class") };
            case "ttl" or "hlim" or "hop_limit":
                return ip with { HopLimit = (byte)scanner.Integer("a hop limit") };
            case "flowlabel":
                scanner.Integer("a flow label");
                throw ScriptException.Unsupported(line, "flow labels");
            default:
                throw new ScriptException(line, $"syntax: '{word}' is no IP field");
        }
    }

    private static TcpSpec ParseTcp(Scanner scanner, bool inbound, IpSpec ip)
    {
        TcpFlags flags = ParseFlags(scanner);
        int line = scanner.Line;
        bool any = scanner.TryTake("...");
        uint seq = 0;
        long end = 0;
        if (!any)
        {
            seq = (uint)scanner.Integer("a sequence number");
            scanner.Take(":");
            end = scanner.Integer("a sequence number");
        }

        scanner.Take("(");
        long length = scanner.Integer("a payload length");
        scanner.Take(")");
        if (length is < 0 or > 65_495)
        {
            throw new ScriptException(line, $"syntax: no segment carries {length} bytes");
        }

        if (!any && (uint)end != unchecked(seq + (uint)length))
        {
            throw new ScriptException(line, $"syntax: {seq}:{end} are not {length} bytes");
        }

        if (any && inbound)
        {
            throw new ScriptException(line, "syntax: a packet to be sent needs its sequence number");
        }

        var packet = new TcpSpec(ip) { Flags = flags, Seq = seq, AnySeq = any, Absolute = scanner.TryTake("!"), Length = (int)length };
        if (scanner.TryTakeWord("ack"))
        {
            packet = packet with { Ack = (uint)scanner.Integer("an acknowledgment number") };
            scanner.TryTake("!");
        }

        if (scanner.TryTakeWord("win"))
        {
            packet = packet with { Window = (int)scanner.Integer("a window") };
        }

        if (scanner.TryTakeWord("urg"))
        {
            packet = packet with { Urgent = (ushort)scanner.Integer("an urgent pointer") };
        }

        if (scanner.TryTake("<"))
        {
            packet = packet with { Options = TcpOptionParser.Parse(scanner, inbound) };
        }

        return scanner.TryTake("/") ? throw ScriptException.Unsupported(line, "TCP over UDP (/udp)") : packet;
    }

    private static TcpFlags ParseFlags(Scanner scanner)
    {
        int line = scanner.Line;
        string letters = scanner.Run();
        TcpFlags flags = TcpFlags.None;
        foreach (char letter in letters)
        {
            flags |= letter switch
            {
                'F' => TcpFlags.Fin,
                'S' => TcpFlags.Syn,
                'R' => TcpFlags.Rst,
                'P' => TcpFlags.Psh,
                '.' => TcpFlags.Ack,
                'U' => TcpFlags.Urg,
                'E' => TcpFlags.Ece,
                'W' => TcpFlags.Cwr,
                '-' when letters.Length == 1 => TcpFlags.None,
                'A' or 'N' or (>= '0' and <= '7') => throw ScriptException.Unsupported(line, "Accurate ECN's flags"),
                _ => throw new ScriptException(line, $"syntax: '{letters}' are no TCP flags"),
            };
        }

        return flags;
    }
}
