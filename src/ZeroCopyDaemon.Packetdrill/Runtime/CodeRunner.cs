using System.Globalization;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Packetdrill.Language;

namespace ZeroCopyDaemon.Packetdrill.Runtime;

/// <summary>What code in a script looks at: TCP_INFO of the connection under test.</summary>
/// <param name="State">Its state, TIME-WAIT included.</param>
/// <param name="Info">All else; null when there is no connection.</param>
/// <param name="IsFreeBsd">Windows in bytes, as FreeBSD has them, rather than segments.</param>
internal sealed record CodeSubject(TcpState State, TcpInfo? Info, bool IsFreeBsd);

/// <summary>
/// Runs the code in a script: lines of <c>assert expression [, message]</c> with numbers, names of TCP_INFO's fields and states, comparisons, arithmetic, and, or, not. Anything else is not supported.
/// </summary>
internal sealed class CodeRunner
{
    private readonly CodeEvent _code;
    private readonly CodeSubject _subject;
    private readonly Scanner _scanner;

    private CodeRunner(CodeEvent code, string line, CodeSubject subject)
    {
        _code = code;
        _subject = subject;
        _scanner = new Scanner(line);
    }

    public static void Run(CodeEvent code, CodeSubject subject)
    {
        foreach (string line in code.Code.Split(['\n', ';'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            if (!line.StartsWith('#') && !line.StartsWith("print", StringComparison.Ordinal))
            {
                new CodeRunner(code, line, subject).RunAssertion(line);
            }
        }
    }

    private void RunAssertion(string line)
    {
        if (!_scanner.TryTakeWord("assert"))
        {
            throw ScriptException.Unsupported(_code.Line, $"code other than assertions: {line}");
        }

        long value = Or();
        if (!_scanner.AtEnd && !_scanner.IsNext(",") && !_scanner.IsNext("#"))
        {
            throw ScriptException.Unsupported(_code.Line, $"code: {line}");
        }

        if (value == 0)
        {
            throw new ScriptException(_code.Line, $"{line}: it is not so; {Describe()}");
        }
    }

    private string Describe() => _subject.Info is { } info
        ? string.Create(CultureInfo.InvariantCulture, $"state {_subject.State}, cwnd {info.CwndBytes}, ssthresh {info.SsthreshBytes}, mss {info.Mss}, rto {info.RtoUs} us, srtt {info.RttUs} us")
        : $"state {_subject.State}";

    private long Or()
    {
        long left = And();
        while (_scanner.TryTakeWord("or"))
        {
            long right = And();
            left = left != 0 || right != 0 ? 1 : 0;
        }

        return left;
    }

    private long And()
    {
        long left = Not();
        while (_scanner.TryTakeWord("and"))
        {
            long right = Not();
            left = left != 0 && right != 0 ? 1 : 0;
        }

        return left;
    }

    private long Not() => _scanner.TryTakeWord("not") ? (Not() == 0 ? 1 : 0) : Comparison();

    private long Comparison()
    {
        long left = Sum();
        long result = 1;
        bool any = false;
        while (Operator() is { } compare)
        {
            any = true;
            long right = Sum();
            result = result != 0 && compare(left, right) ? 1 : 0;
            left = right;
        }

        return any ? result : left;
    }

    private Func<long, long, bool>? Operator()
    {
        if (_scanner.TryTake("=="))
        {
            return (a, b) => a == b;
        }

        if (_scanner.TryTake("!="))
        {
            return (a, b) => a != b;
        }

        if (_scanner.TryTake("<="))
        {
            return (a, b) => a <= b;
        }

        if (_scanner.TryTake(">="))
        {
            return (a, b) => a >= b;
        }

        return _scanner.TryTake("<") ? (a, b) => a < b : _scanner.TryTake(">") ? (a, b) => a > b : null;
    }

    private long Sum()
    {
        long left = Product();
        while (true)
        {
            if (_scanner.TryTake("+"))
            {
                left += Product();
            }
            else if (_scanner.TryTake("-"))
            {
                left -= Product();
            }
            else
            {
                return left;
            }
        }
    }

    private long Product()
    {
        long left = Term();
        while (true)
        {
            if (_scanner.TryTake("*"))
            {
                left *= Term();
            }
            else if (_scanner.IsNext("/") && _scanner.TryTake("/"))
            {
                long right = Term();
                left = right == 0 ? throw new ScriptException(_code.Line, "the code divides by nothing") : left / right;
            }
            else if (_scanner.TryTake("&"))
            {
                left &= Term();
            }
            else
            {
                return left;
            }
        }
    }

    private long Term()
    {
        if (_scanner.TryTake("("))
        {
            long inner = Or();
            _scanner.Take(")");
            return inner;
        }

        return _scanner.TryInteger(out long number) ? number : Value(_scanner.Word("a number or a name"));
    }

    private long Value(string name)
    {
        if (name == "tcpi_state")
        {
            return StateNumber(_subject.State);
        }

        string bare = name.StartsWith("TCPI_", StringComparison.Ordinal) ? name[5..] : name.StartsWith("TCP_", StringComparison.Ordinal) ? name[4..] : name;
        return StateByName(bare) ?? FlagByName(name) ?? Field(name);
    }

    /// <summary>Linux's numbers of the states; scripts use the names.</summary>
    private static long StateNumber(TcpState state) => state switch
    {
        TcpState.Established => 1,
        TcpState.SynSent => 2,
        TcpState.SynReceived => 3,
        TcpState.FinWait1 => 4,
        TcpState.FinWait2 => 5,
        TcpState.TimeWait => 6,
        TcpState.CloseWait => 8,
        TcpState.LastAck => 9,
        TcpState.Closing => 11,
        _ => 7,
    };

    private static long? StateByName(string name) => name switch
    {
        "ESTABLISHED" => 1,
        "SYN_SENT" => 2,
        "SYN_RECV" or "SYN_RECEIVED" => 3,
        "FIN_WAIT1" or "FIN_WAIT_1" => 4,
        "FIN_WAIT2" or "FIN_WAIT_2" => 5,
        "TIME_WAIT" => 6,
        "CLOSE" or "CLOSED" => 7,
        "CLOSE_WAIT" => 8,
        "LAST_ACK" => 9,
        "LISTEN" => 10,
        "CLOSING" => 11,
        _ => null,
    };

    private static long? FlagByName(string name) => name switch
    {
        "TCPI_OPT_TIMESTAMPS" => 1,
        "TCPI_OPT_SACK" => 2,
        "TCPI_OPT_WSCALE" => 4,
        "TCPI_OPT_ECN" => 8,
        _ => null,
    };

    private long Field(string name)
    {
        TcpInfo info = _subject.Info ?? throw new ScriptException(_code.Line, $"there is no connection whose {name} could be looked at");
        long unit = _subject.IsFreeBsd ? 1 : Math.Max(1, info.Mss);
        return name switch
        {
            "tcpi_snd_mss" => info.Mss,
            "tcpi_rto" => info.RtoUs,
            "tcpi_rtt" => info.RttUs,
            "tcpi_rttvar" => info.RttVarUs,
            "tcpi_snd_cwnd" => info.CwndBytes / unit,
            "tcpi_snd_ssthresh" => info.SsthreshBytes / unit,
            "tcpi_snd_wnd" => info.SndWnd,
            "tcpi_rcv_space" => info.RcvWnd,
            "tcpi_snd_wscale" => info.SendScale,
            "tcpi_rcv_wscale" => info.ReceiveScale,
            "tcpi_bytes_acked" => info.BytesAcked,
            "tcpi_bytes_received" => info.BytesReceived,
            "tcpi_total_retrans" => info.Retransmits,
            "tcpi_segs_in" => info.SegmentsIn,
            "tcpi_segs_out" => info.SegmentsOut,
            "tcpi_unacked" => (info.SndNxt - info.SndUna + (uint)info.Mss - 1) / (uint)Math.Max(1, info.Mss),
            "tcpi_options" => (info.Timestamps ? 1 : 0) + (info.SendScale + info.ReceiveScale > 0 ? 4 : 0),
            _ => throw ScriptException.Unsupported(_code.Line, $"TCP_INFO's field {name}"),
        };
    }
}
