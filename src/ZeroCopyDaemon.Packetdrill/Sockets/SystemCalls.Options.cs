using ZeroCopyDaemon.Packetdrill.Language;

namespace ZeroCopyDaemon.Packetdrill.Sockets;

/// <summary>Socket options and file flags.</summary>
internal sealed partial class SystemCalls
{
    /// <summary>Options of FreeBSD's alone. A script that uses one asserts something about that system, not about TCP.</summary>
    private static readonly HashSet<string> FreeBsdOnly = new(StringComparer.Ordinal)
    {
        "TCP_NOOPT", "TCP_FUNCTION_BLK", "TCP_FUNCTION_ALIAS", "TCP_LOG", "TCP_LOGBUF", "TCP_LOGID", "TCP_LOGDUMP", "TCP_REMOTE_UDP_ENCAPS_PORT", "TCP_DELACK", "TCP_PERF_INFO", "TCP_MAXUNACKTIME",
        "TCP_MAXPEAKRATE", "TCP_IDLE_REDUCE", "TCP_STATS", "TCP_PCAP_IN", "TCP_PCAP_OUT", "TCP_CCALGOOPT", "TCP_REUSPORT_LB_NUMA", "TCP_NOPUSH", "TCP_FINWAIT2_TIMEOUT",
    };

    /// <summary>Options that change nothing here, but keep what was set.</summary>
    private static readonly HashSet<string> Remembered = new(StringComparer.Ordinal)
    {
        "SO_REUSEADDR", "SO_REUSEPORT", "SO_BROADCAST", "SO_OOBINLINE", "SO_PRIORITY", "SO_MARK", "SO_NOSIGPIPE", "SO_RCVTIMEO", "SO_SNDTIMEO", "SO_TIMESTAMP", "SO_TIMESTAMPING", "SO_BUSY_POLL", "SO_MAX_PACING_RATE",
        "SO_RCVLOWAT", "TCP_QUICKACK", "TCP_CORK", "TCP_CONGESTION", "TCP_DEFER_ACCEPT", "TCP_NOTSENT_LOWAT", "TCP_ZEROCOPY_RECEIVE", "IPV6_V6ONLY", "IP_MTU_DISCOVER",
    };

    private CallAttempt FileControl(TestSocket socket, CallArguments arguments)
    {
        switch (arguments.Number(1))
        {
            case 1 or 2:
                return Now(new CallResult(0));
            case 3:
                return () => new CallResult(socket.Flags);
            case 4:
                long flags = arguments.Number(2);
                return () =>
                {
                    socket.Flags = Constants.OReadWrite | (flags & Constants.ONonBlock);
                    return new CallResult(0);
                };
            default:
                throw ScriptException.Unsupported(arguments.Line, "that command of fcntl");
        }
    }

    private CallAttempt InputOutputControl(TestSocket socket, CallArguments arguments)
    {
        long request = arguments.Number(1);
        switch (request)
        {
            case 0x5421:
                long on = arguments.OptionValue(2);
                return () =>
                {
                    socket.Flags = Constants.OReadWrite | (on != 0 ? Constants.ONonBlock : 0);
                    return new CallResult(0);
                };
            case 0x541B or 0x5411:
                return () => Compare(arguments, 2, request == 0x541B ? socket.ReadableBytes : socket.Unsent);
            default:
                throw ScriptException.Unsupported(arguments.Line, "that request of ioctl");
        }
    }

    /// <summary>The name of an option in its place among a call's arguments.</summary>
    private static string OptionName(CallArguments arguments)
    {
        if (arguments[2] is not NameExpression name)
        {
            throw ScriptException.Unsupported(arguments.Line, "a socket option by its number");
        }

        if (FreeBsdOnly.Contains(name.Name) || name.Name.StartsWith("TCP_RACK_", StringComparison.Ordinal) || name.Name.StartsWith("TCP_BBR_", StringComparison.Ordinal))
        {
            throw ScriptException.Unsupported(arguments.Line, $"the socket option {name.Name}, which is FreeBSD's alone");
        }

        return name.Name;
    }

    private CallAttempt GetOption(TestSocket socket, CallArguments arguments)
    {
        string name = OptionName(arguments);
        switch (name)
        {
            case "SO_ERROR":
                return () =>
                {
                    string error = socket.TakeError() ?? "0";
                    return Compare(arguments, error);
                };
            case "SO_LINGER":
                return () => CompareLinger(socket, arguments);
            case "TCP_INFO" when arguments.IsAny(3):
                return Now(new CallResult(0));
            default:
                return () => Compare(arguments, 3, ValueOf(socket, name, arguments.Line));
        }
    }

    private long ValueOf(TestSocket socket, string name, int line)
    {
        Net.Tcp.TcpInfo? info = socket.Connection is null || socket.IsOver ? null : socket.Connection.GetInfo(host.NowUs);
        return name switch
        {
            "SO_RCVBUF" => socket.ReceiveBuffer,
            "SO_SNDBUF" => socket.SendBuffer,
            "SO_TYPE" => 1,
            "SO_PROTOCOL" => 6,
            "SO_ACCEPTCONN" => socket.Listener is null ? 0 : 1,
            "TCP_NODELAY" => socket.Options.GetValueOrDefault(name),
            "TCP_MAXSEG" => info?.Mss ?? socket.Options.GetValueOrDefault(name, 536),
            "TCP_KEEPIDLE" => socket.Options.GetValueOrDefault(name, settings.KeepIdleSeconds),
            "TCP_KEEPINTVL" => socket.Options.GetValueOrDefault(name, settings.KeepIntervalSeconds),
            "TCP_KEEPCNT" => socket.Options.GetValueOrDefault(name, settings.KeepCount),
            "TCP_KEEPINIT" => socket.Options.GetValueOrDefault(name, settings.KeepInitSeconds),
            "SO_KEEPALIVE" or "TCP_USER_TIMEOUT" or "TCP_SYNCNT" => socket.Options.GetValueOrDefault(name),
            _ when Remembered.Contains(name) => socket.Options.GetValueOrDefault(name),
            _ => throw ScriptException.Unsupported(line, $"the socket option {name}"),
        };
    }

    private CallAttempt SetOption(TestSocket socket, CallArguments arguments)
    {
        string name = OptionName(arguments);
        if (name == "SO_LINGER")
        {
            return SetLinger(socket, arguments);
        }

        if (name is "TCP_CONGESTION" or "TCP_MD5SIG" or "TCP_FASTOPEN" or "TCP_FASTOPEN_CONNECT" or "TCP_REPAIR" or "TCP_ULP")
        {
            throw ScriptException.Unsupported(arguments.Line, $"the socket option {name}");
        }

        long value = arguments.OptionValue(3);
        switch (name)
        {
            case "SO_RCVBUF" or "SO_SNDBUF" or "TCP_NODELAY" or "SO_KEEPALIVE" or "TCP_KEEPIDLE" or "TCP_KEEPINTVL" or "TCP_KEEPCNT":
            case var _ when Remembered.Contains(name):
                return () =>
                {
                    socket.Options[name] = value;
                    SetBuffers(socket, name, value);
                    ApplyOptions(socket);
                    return new CallResult(0);
                };
            default:
                throw ScriptException.Unsupported(arguments.Line, $"the socket option {name}");
        }
    }

    /// <summary>Linux doubles what is asked for, to pay for its own overhead, and takes no less than its minimum.</summary>
    private void SetBuffers(TestSocket socket, string name, long value)
    {
        if (name == "SO_RCVBUF")
        {
            socket.ReceiveBuffer = settings.IsFreeBsd ? value : Math.Max(2304, 2 * value);
            socket.ReceiveBufferIsSet = true;
            sockets.ApplyReceiveBuffer(socket);
        }
        else if (name == "SO_SNDBUF")
        {
            socket.SendBuffer = settings.IsFreeBsd ? value : Math.Max(4608, 2 * value);
        }
    }

    /// <summary>What was set before there was a connection concerns it all the same.</summary>
    private static void ApplyOptions(TestSocket socket)
    {
        if (socket.Connection is not null && !socket.IsOver && socket.Options.TryGetValue("TCP_NODELAY", out long noDelay))
        {
            socket.Connection.NoDelay = noDelay != 0;
        }
    }

    private static CallAttempt SetLinger(TestSocket socket, CallArguments arguments)
    {
        if (arguments[3] is not StructExpression linger)
        {
            throw new ScriptException(arguments.Line, "syntax: SO_LINGER takes {onoff=, linger=}");
        }

        (bool On, long Seconds) value = (arguments.Evaluate(LingerField(linger, 0)) != 0, arguments.Evaluate(LingerField(linger, 1)));
        return () =>
        {
            socket.Linger = value;
            return new CallResult(0);
        };
    }

    private static Expression LingerField(StructExpression linger, int index) =>
        (index == 0 ? linger["onoff"] ?? linger["l_onoff"] : linger["linger"] ?? linger["l_linger"]) ?? linger.Fields[index].Value;

    private static CallResult CompareLinger(TestSocket socket, CallArguments arguments)
    {
        if (arguments[3] is not StructExpression linger)
        {
            return new CallResult(0);
        }

        (bool On, long Seconds) expected = (arguments.Evaluate(LingerField(linger, 0)) != 0, arguments.Evaluate(LingerField(linger, 1)));
        return new CallResult(0, Problem: socket.Linger == expected ? null : $"SO_LINGER is {socket.Linger}, expected {expected}");
    }

    /// <summary>Compares a value with what the script has in brackets; <c>...</c> is anything.</summary>
    private static CallResult Compare(CallArguments arguments, int index, long value)
    {
        if (arguments.IsAny(index) || arguments[index] is ListExpression { Items: [AnyExpression] })
        {
            return new CallResult(0);
        }

        long expected = arguments.OptionValue(index);
        return new CallResult(0, Problem: value == expected ? null : $"the value is {value}, expected {expected}");
    }

    /// <summary>The same for an error, by its name.</summary>
    private static CallResult Compare(CallArguments arguments, string error)
    {
        Expression expression = arguments[3] is ListExpression { Items: [var item] } ? item : arguments[3];
        string? expected = expression switch
        {
            NameExpression name => Errno.Canonical(name.Name),
            NumberExpression { Value: 0 } => "0",
            AnyExpression => error,
            _ => throw ScriptException.Unsupported(arguments.Line, "an error by its number"),
        };
        return new CallResult(0, Problem: error == expected ? null : $"the error is {error}, expected {expected}");
    }
}
