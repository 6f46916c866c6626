namespace ZeroCopyDaemon.Packetdrill.Language;

/// <summary>Reads the options of a TCP segment, up to the closing bracket.</summary>
internal static class TcpOptionParser
{
    /// <summary>Null for <c>...</c>.</summary>
    public static IReadOnlyList<TcpOptionSpec>? Parse(Scanner scanner, bool inbound)
    {
        if (scanner.TryTake("..."))
        {
            scanner.Take(">");
            return null;
        }

        var options = new List<TcpOptionSpec>();
        if (scanner.TryTake(">"))
        {
            return options;
        }

        do
        {
            options.Add(ParseOne(scanner, inbound));
        }
        while (scanner.TryTake(","));
        scanner.Take(">");
        return options;
    }

    private static TcpOptionSpec ParseOne(Scanner scanner, bool inbound)
    {
        int line = scanner.Line;
        string word = scanner.Word("a TCP option");
        switch (word)
        {
            case "eol":
                return new TcpOptionSpec(TcpOptionNumber.EndOfList, []);
            case "nop":
                return new TcpOptionSpec(TcpOptionNumber.NoOperation, []);
            case "mss":
                return new TcpOptionSpec(TcpOptionNumber.MaximumSegmentSize, [Number(scanner, ushort.MaxValue)]);
            case "wscale":
                return new TcpOptionSpec(TcpOptionNumber.WindowScale, [Number(scanner, byte.MaxValue)]);
            case "sackOK":
                return new TcpOptionSpec(TcpOptionNumber.SackPermitted, []);
            case "sack":
                return new TcpOptionSpec(TcpOptionNumber.Sack, Blocks(scanner));
            case "TS":
                return Timestamps(scanner);
            case "uto":
                return new TcpOptionSpec(TcpOptionNumber.UserTimeout, [Number(scanner, ushort.MaxValue)]);
            case "FO" or "FOEXP" when inbound:
                return FastOpen(scanner, word == "FOEXP");
            case "FO" or "FOEXP":
                throw ScriptException.Unsupported(line, "TCP Fast Open (RFC 7413)");
            case "md5":
                throw ScriptException.Unsupported(line, "TCP-MD5 signatures (RFC 2385)");
            case "ECN" or "AccECN" or "acc_ecn" or "ACCECN":
                throw ScriptException.Unsupported(line, "Accurate ECN's option");
            case "mp_capable" or "mp_join" or "mp_join_syn" or "dss" or "add_address" or "mp_fastclose" or "mp_prio" or "mp_fail":
                throw ScriptException.Unsupported(line, "Multipath TCP (RFC 8684)");
            default:
                throw ScriptException.Unsupported(line, $"the TCP option '{word}'");
        }
    }

    private static uint Number(Scanner scanner, long most)
    {
        int line = scanner.Line;
        long value = scanner.Integer("a number");
        return value >= 0 && value <= most ? (uint)value : throw new ScriptException(line, $"syntax: {value} does not fit into the option");
    }

    private static List<uint> Blocks(Scanner scanner)
    {
        var edges = new List<uint>();
        while (scanner.TryInteger(out long left))
        {
            scanner.Take(":");
            edges.Add((uint)left);
            edges.Add((uint)scanner.Integer("a right edge"));
        }

        return edges.Count is > 0 and <= 8 ? edges : throw scanner.Error("expected one to four SACK blocks");
    }

    private static TcpOptionSpec Timestamps(Scanner scanner)
    {
        if (!scanner.TryTakeWord("val"))
        {
            throw scanner.Error("expected 'val'");
        }

        uint value = Number(scanner, uint.MaxValue);
        return scanner.TryTakeWord("ecr")
            ? new TcpOptionSpec(TcpOptionNumber.Timestamps, [value, Number(scanner, uint.MaxValue)])
            : throw scanner.Error("expected 'ecr'");
    }

    /// <summary>A cookie in hexadecimal, or none. A stack without Fast Open takes it as an option that it doesn't know.</summary>
    private static TcpOptionSpec FastOpen(Scanner scanner, bool experimental)
    {
        int line = scanner.Line;
        string digits = string.Empty;
        if (scanner.Peek() is not (',' or '>'))
        {
            digits = scanner.HexDigits();
        }

        try
        {
            byte[] cookie = Convert.FromHexString(digits);
            return experimental
                ? new TcpOptionSpec(TcpOptionNumber.Experimental, []) { Raw = [0xF9, 0x89, .. cookie] }
                : new TcpOptionSpec(TcpOptionNumber.FastOpen, []) { Raw = cookie };
        }
        catch (FormatException)
        {
            throw new ScriptException(line, $"syntax: '{digits}' is no cookie");
        }
    }
}
