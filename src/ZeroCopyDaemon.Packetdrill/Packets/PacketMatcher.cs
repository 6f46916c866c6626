using System.Globalization;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Packetdrill.Language;

namespace ZeroCopyDaemon.Packetdrill.Packets;

/// <summary>Compares what the stack sent with what the script expects, field by field.</summary>
internal static class PacketMatcher
{
    /// <summary>Null if they agree, else the first difference.</summary>
    /// <param name="expected">What the script says.</param>
    /// <param name="sent">What came.</param>
    /// <param name="flow">Its connection.</param>
    /// <param name="options">Tolerance, and whether timestamps are compared.</param>
    public static string? Difference(TcpSpec expected, OutboundPacket sent, FlowUnderTest flow, ScriptOptions options)
    {
        if (!sent.IsTcp)
        {
            return "not a TCP segment";
        }

        if (sent.Defect is not null)
        {
            return sent.Defect;
        }

        if (expected.Flags != sent.Flags)
        {
            return $"flags {OutboundPacket.FlagLetters(sent.Flags)}, expected {OutboundPacket.FlagLetters(expected.Flags)}";
        }

        if ((sent.Flags & TcpFlags.Syn) != 0 && !expected.AnySeq && !expected.Absolute)
        {
            flow.OnOutboundSyn(expected.Seq, sent.Seq);
        }

        uint seq = expected.Absolute ? sent.Seq : flow.RelativeSeq(sent.Seq);
        return Number("seq", sent.Payload.Length == expected.Length && expected.AnySeq ? expected.Seq : seq, expected.Seq)
            ?? Number("payload length", (uint)sent.Payload.Length, (uint)expected.Length)
            ?? ((expected.Flags & TcpFlags.Ack) != 0 && expected.Ack is { } ack ? Number("ack", sent.Ack, ack) : null)
            ?? (expected.Window is { } window ? Number("win", sent.Window, (uint)window) : null)
            ?? (expected.Urgent is { } urgent ? Number("urg", sent.Urgent, urgent) : null)
            ?? IpDifference(expected.Ip, sent)
            ?? OptionDifference(expected, sent, flow, options)
            ?? PayloadDifference(sent, flow);
    }

    private static string? Number(string name, uint got, uint expected) =>
        got == expected ? null : string.Create(CultureInfo.InvariantCulture, $"{name} {got}, expected {expected}");

    private static string? IpDifference(IpSpec expected, OutboundPacket sent)
    {
        var mark = (EcnMark)(sent.TrafficClass & 3);
        bool marked = expected.Ecn switch
        {
            EcnMark.Unspecified => true,
            EcnMark.AnyEct => mark is EcnMark.Ect0 or EcnMark.Ect1,
            EcnMark other => mark == other,
        };
        return marked
            ? (expected.TrafficClass is { } traffic ? Number("traffic class", sent.TrafficClass, traffic) : null)
                ?? (expected.HopLimit is { } hops ? Number("hop limit", sent.HopLimit, hops) : null)
            : $"ECN field {mark}, expected {expected.Ecn}";
    }

    /// <summary>
    /// Which options there are, and what is in them. Their order, and where padding stands, is the sender's choice (RFC 9293 section 3.1: a receiver must take them in any order), so neither is compared.
    /// </summary>
    private static string? OptionDifference(TcpSpec expected, OutboundPacket sent, FlowUnderTest flow, ScriptOptions options)
    {
        if (sent.Options is null)
        {
            return "malformed TCP options";
        }

        List<TcpOptionSpec> left = [.. sent.Options.Where(option => !option.IsPadding)];
        TcpOptionSpec? stamp = left.FirstOrDefault(option => option.Kind == TcpOptionNumber.Timestamps);
        if (expected.Options is null)
        {
            return null;
        }

        foreach (TcpOptionSpec wanted in expected.Options.Where(option => !option.IsPadding))
        {
            TcpOptionSpec? found = left.Find(option => option.Kind == wanted.Kind);
            if (found is null)
            {
                return $"no option '{wanted}'";
            }

            left.Remove(found);
            if (wanted.Kind == TcpOptionNumber.Timestamps)
            {
                if (TimestampDifference(wanted, stamp!, flow, options) is { } difference)
                {
                    return difference;
                }
            }
            else if (!wanted.Matches(found))
            {
                return $"option '{found}', expected '{wanted}'";
            }
        }

        return left.Count > 0 ? $"option '{left[0]}', not expected" : null;
    }

    private static string? TimestampDifference(TcpOptionSpec wanted, TcpOptionSpec sent, FlowUnderTest flow, ScriptOptions options)
    {
        int off = flow.OnTimestamp(wanted.Values[0], sent.Values[0]);
        if (sent.Values[1] != wanted.Values[1])
        {
            return string.Create(CultureInfo.InvariantCulture, $"TS ecr {sent.Values[1]}, expected {wanted.Values[1]}");
        }

        return options.TimestampTickUs > 0 && Math.Abs((long)off) * options.TimestampTickUs > options.ToleranceUs
            ? string.Create(CultureInfo.InvariantCulture, $"TS val {unchecked(wanted.Values[0] + (uint)off)}, expected {wanted.Values[0]}")
            : null;
    }

    /// <summary>The application's bytes follow a pattern by their place in the stream.</summary>
    private static string? PayloadDifference(OutboundPacket sent, FlowUnderTest flow)
    {
        uint first = unchecked(flow.RelativeSeq(sent.Seq) + ((sent.Flags & TcpFlags.Syn) != 0 ? 1u : 0u) - flow.LocalFirst);
        for (int i = 0; i < sent.Payload.Length; i++)
        {
            if (sent.Payload[i] != PayloadPattern.At(unchecked(first + (uint)i)))
            {
                return string.Create(CultureInfo.InvariantCulture, $"byte {i} of the payload is not what the application wrote there");
            }
        }

        return null;
    }
}
