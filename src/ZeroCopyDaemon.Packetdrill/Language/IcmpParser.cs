namespace ZeroCopyDaemon.Packetdrill.Language;

/// <summary>Reads what follows <c>icmp</c>: type and code by their names, what the type asks for, and the quoted segment in brackets.</summary>
internal static class IcmpParser
{
    private static readonly Dictionary<string, byte> UnreachableV4 = new(StringComparer.Ordinal)
    {
        ["net_unreachable"] = 0, ["host_unreachable"] = 1, ["protocol_unreachable"] = 2, ["port_unreachable"] = 3, ["frag_needed"] = 4, ["source_route_failed"] = 5, ["net_unknown"] = 6,
        ["host_unknown"] = 7, ["source_host_isolated"] = 8, ["net_prohibited"] = 9, ["host_prohibited"] = 10, ["net_unreachable_for_tos"] = 11, ["host_unreachable_for_tos"] = 12,
        ["packet_filtered"] = 13, ["precedence_violation"] = 14, ["precedence_cutoff"] = 15,
    };

    private static readonly Dictionary<string, byte> UnreachableV6 = new(StringComparer.Ordinal)
    {
        ["no_route"] = 0, ["net_unreachable"] = 0, ["admin_prohibited"] = 1, ["not_neighbour"] = 2, ["address_unreachable"] = 3, ["host_unreachable"] = 3, ["port_unreachable"] = 4,
        ["policy_fail"] = 5, ["reject_route"] = 6,
    };

    private static readonly Dictionary<string, byte> TimeExceeded = new(StringComparer.Ordinal)
    {
        ["ttl_exceeded_in_transit"] = 0, ["frag_reass_exceeded"] = 1, ["exceeded_hop_limit"] = 0, ["exceeded_frag_time"] = 1,
    };

    private static readonly Dictionary<string, byte> ParameterProblem = new(StringComparer.Ordinal)
    {
        ["code_0"] = 0, ["code_1"] = 1, ["code_2"] = 2, ["header_field"] = 0, ["unknown_next_header"] = 1, ["unknown_option"] = 2,
    };

    private static readonly Dictionary<string, byte> Redirect = new(StringComparer.Ordinal)
    {
        ["net_redirect"] = 0, ["host_redirect"] = 1, ["tos_net_redirect"] = 2, ["tos_host_redirect"] = 3,
    };

    public static IcmpSpec Parse(Scanner scanner, IpSpec ip, bool ipv6)
    {
        int line = scanner.Line;
        string type = scanner.Word("an ICMP type");
        string? code = scanner.TryWord();
        uint rest = 0;
        if (code == "mtu")
        {
            rest = (uint)scanner.Integer("an MTU");
            code = null;
        }
        else if (scanner.TryTakeWord("mtu"))
        {
            rest = (uint)scanner.Integer("an MTU");
        }

        (byte number, Dictionary<string, byte>? codes) = (type, ipv6) switch
        {
            ("unreachable", false) => ((byte)3, UnreachableV4),
            ("unreachable", true) => ((byte)1, UnreachableV6),
            ("source_quench", false) => ((byte)4, null),
            ("redirect", false) => ((byte)5, Redirect),
            ("time_exceeded", false) => ((byte)11, TimeExceeded),
            ("time_exceeded", true) => ((byte)3, TimeExceeded),
            ("parameter_problem", false) => ((byte)12, ParameterProblem),
            ("parameter_problem", true) => ((byte)4, ParameterProblem),
            ("packet_too_big", true) => ((byte)2, (Dictionary<string, byte>?)null),
            _ => throw ScriptException.Unsupported(line, $"ICMP messages of type '{type}'"),
        };
        byte value = 0;
        if (code is not null && !(codes?.TryGetValue(code, out value) ?? false))
        {
            throw new ScriptException(line, $"syntax: '{code}' is no code of '{type}'");
        }

        var packet = new IcmpSpec(ip) { Type = number, Code = value, Rest = rest };
        if (!scanner.TryTake("["))
        {
            return packet;
        }

        uint seq = (uint)scanner.Integer("a sequence number");
        scanner.Take(":");
        scanner.Integer("a sequence number");
        scanner.Take("(");
        long length = scanner.Integer("a payload length");
        scanner.Take(")");
        scanner.Take("]");
        return packet with { Seq = seq, Length = (int)Math.Clamp(length, 0, 65_495) };
    }
}
