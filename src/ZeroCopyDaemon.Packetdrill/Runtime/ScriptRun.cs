using System.Globalization;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Packetdrill.Environment;
using ZeroCopyDaemon.Packetdrill.Language;
using ZeroCopyDaemon.Packetdrill.Packets;
using ZeroCopyDaemon.Packetdrill.Sockets;

namespace ZeroCopyDaemon.Packetdrill.Runtime;

/// <summary>One run of a script: its stack, its process, and the events one after the other. Ends with a <see cref="ScriptException"/> at the first thing that is not as expected.</summary>
internal sealed partial class ScriptRun(Script script) : ICommandTarget, IDisposable
{
    /// <summary>How far the run looks ahead to say what came instead of an expected packet, and how long it waits for one that may come at any time.</summary>
    private const long PatienceUs = 3_600_000_000;

    private readonly List<string> _notes = [];
    private Machine? _machine;
    private FlowUnderTest? _flow;
    private Blocked? _blocked;
    private long _lastUs;
    private ushort _peerPort = 33_333;

    /// <summary>What runs the script's process.</summary>
    private sealed record Machine(StackHost Host, SocketTable Sockets, SystemCalls Calls);

    /// <summary>A call that has not returned yet.</summary>
    private sealed record Blocked(CallEvent Call, CallAttempt Attempt, long EndUs);

    public Settings Settings { get; } = new();

    public IReadOnlyList<string> Notes => _notes;

    /// <summary>Line of the event that is being run.</summary>
    public int Line { get; private set; }

    public long ElapsedUs => _machine?.Host.ElapsedUs ?? 0;

    private ScriptOptions Options => script.Options;

    private Machine Process => _machine ??= Start();

    private StackHost Host => Process.Host;

    public void Run()
    {
        foreach (ScriptEvent next in script.Events)
        {
            Line = next.Line;
            switch (next)
            {
                case PacketEvent { Inbound: true } packet:
                    BeginAt(next);
                    Send(packet);
                    break;
                case PacketEvent packet:
                    Expect(packet);
                    break;
                case CallEvent call:
                    Finish();
                    BeginAt(next);
                    Make(call);
                    break;
                case CommandEvent command:
                    BeginAt(next);
                    RunCommand(command);
                    break;
                case CodeEvent code:
                    BeginAt(next);
                    CodeRunner.Run(code, CodeSubject());
                    break;
                default:
                    break;
            }
        }

        Finish();
        if (_machine is not null)
        {
            _machine.Host.Pool.CheckInvariants();
            foreach (OutboundPacket unmentioned in _machine.Host.Sent.Where(packet => _flow?.Owns(packet) ?? false))
            {
                _notes.Add($"at {Seconds(unmentioned.TimeUs)}, not mentioned: {unmentioned.Describe(_flow!.RelativeSeq)}");
            }
        }
    }

    public void Dispose()
    {
        _machine?.Sockets.Dispose();
        _machine?.Host.Dispose();
    }

    void ICommandTarget.Apply()
    {
        if (_machine is not null)
        {
            _machine.Host.Stack.TcpOptions = Settings.Tcp;
        }
    }

    IEnumerable<SocketLine> ICommandTarget.Sockets() => Process.Sockets.Lines();

    int ICommandTarget.Drop(string state) => state switch
    {
        "TIME_WAIT" => Host.Stack.EndTimeWait(),
        _ => throw ScriptException.Unsupported(Line, $"tcpdrop of state {state}"),
    };

    private static string Seconds(long microseconds) => (microseconds / 1e6).ToString("0.000###", CultureInfo.InvariantCulture);

    private Machine Start()
    {
        if (Options.IsIpv6 && !StackHost.HasIpv6)
        {
            throw ScriptException.Unsupported(Line, "IPv6");
        }

        var host = new StackHost(Options, Settings.Tcp);
        var sockets = new SocketTable(host, Settings);
        var calls = new SystemCalls(host, sockets, Settings, Options)
        {
            OnSocket = () => _flow = null,
            OnConnect = socket => _flow = new FlowUnderTest(socket.Connection!.Local, socket.Connection.Remote),
        };
        return new Machine(host, sockets, calls);
    }

    // Time.

    private long StartOf(ScriptEvent next) => next.Time.Kind switch
    {
        TimeKind.Absolute => next.Time.StartUs,
        TimeKind.Relative => _lastUs + next.Time.StartUs,
        _ => _lastUs,
    };

    /// <summary>Time passes up to an event's.</summary>
    private void BeginAt(ScriptEvent next)
    {
        long start = StartOf(next);
        if (start < _lastUs && next.Time.Kind == TimeKind.Absolute && next is not CommandEvent)
        {
            throw new ScriptException(next.Line, $"the event's time {Seconds(start)} lies before the last one's, {Seconds(_lastUs)}");
        }

        Advance(start);
        _lastUs = next.Time.Kind == TimeKind.Any ? Math.Max(_lastUs, ElapsedUs) : Math.Max(_lastUs, start);
    }

    private void Advance(long untilUs)
    {
        if (_machine is null && untilUs == 0)
        {
            return;
        }

        if (_blocked is { } blocked && blocked.EndUs < untilUs)
        {
            // A call that waits for time alone returns by itself.
            Host.AdvanceTo(Math.Max(blocked.EndUs, ElapsedUs), TryBlocked);
            TryBlocked();
        }

        Host.AdvanceTo(Math.Max(untilUs, ElapsedUs), TryBlocked);
        TryBlocked();
    }

    // Packets.

    private void Send(PacketEvent next)
    {
        FlowUnderTest flow = _flow ??= NewFlow();
        InboundFrame frame = next.Packet switch
        {
            TcpSpec tcp => Build(tcp, flow),
            IcmpSpec icmp => FrameBuilder.Icmp(Options.Remote, flow.Local, flow.Remote, icmp, unchecked(icmp.Seq + flow.LocalOffset)),
            _ => throw ScriptException.Unsupported(next.Line, "packets of that kind"),
        };
        Host.Inject(frame);
        TryBlocked();
    }

    private InboundFrame Build(TcpSpec packet, FlowUnderTest flow)
    {
        flow.OnInbound(packet.Flags, packet.Seq);
        byte[] options = TcpOptionCodec.Encode((packet.Options ?? []).Select(option => Translate(option, flow)));
        if (options.Length > 40)
        {
            throw new ScriptException(Line, $"syntax: {options.Length} bytes of TCP options, and a segment has room for 40");
        }

        uint position = unchecked(packet.Seq + ((packet.Flags & TcpFlags.Syn) != 0 ? 1u : 0u) - flow.RemoteFirst);
        uint ack = packet.Ack is { } given ? unchecked(given + flow.LocalOffset) : 0;
        return FrameBuilder.Tcp(flow.Remote, flow.Local, packet, packet.Seq, ack, options, PayloadPattern.Range(position, packet.Length));
    }

    /// <summary>What the peer says of the stack's numbers, in the stack's numbers.</summary>
    private static TcpOptionSpec Translate(TcpOptionSpec option, FlowUnderTest flow) => option.Kind switch
    {
        TcpOptionNumber.Sack => option with { Values = [.. option.Values.Select(edge => unchecked(edge + flow.LocalOffset))] },
        TcpOptionNumber.Timestamps => option with { Values = [option.Values[0], flow.Echo(option.Values[1])] },
        _ => option,
    };

    /// <summary>The first packet to a socket that isn't connected: its sender is new.</summary>
    private FlowUnderTest NewFlow()
    {
        TestSocket socket = Process.Sockets.Latest ?? throw new ScriptException(Line, "there is no socket that a packet could be for");
        ushort port = socket.Local.Port == 0 ? Options.BindPort : socket.Local.Port;
        return new FlowUnderTest(new(Options.Local, port), new(Options.Remote, _peerPort++));
    }

    private void Expect(PacketEvent next)
    {
        if (next.Packet is not TcpSpec expected)
        {
            throw ScriptException.Unsupported(next.Line, "ICMP messages from the stack");
        }

        long start = StartOf(next);
        long end = start + (next.Time.EndUs - next.Time.StartUs);
        long earliest = next.Time.Kind == TimeKind.Any ? 0 : start - Options.ToleranceUs;
        long latest = next.Time.Kind switch { TimeKind.Any => ElapsedUs + PatienceUs, TimeKind.None => ElapsedUs + Options.ToleranceUs, _ => end + Options.ToleranceUs };
        OutboundPacket? sent = NextSent(latest);
        string when = next.Time.Kind == TimeKind.Any ? "at any time" : next.Time.IsRange ? $"from {Seconds(start)} to {Seconds(end)}" : $"at {Seconds(start)}";
        if (sent is null)
        {
            long waited = ElapsedUs;
            OutboundPacket? later = NextSent(waited + PatienceUs);
            string instead = later is null ? "nothing was sent" : $"nothing was sent until {Seconds(later.TimeUs)}: {later.Describe(Relative(later))}";
            Differ(next, $"expected {when}: {next.Text}; {instead}");
            return;
        }

        FlowUnderTest flow = _flow ?? new FlowUnderTest(sent.Source, sent.Destination);
        string? difference = PacketMatcher.Difference(expected, sent, flow, Options);
        if (difference is null && (sent.TimeUs < earliest || sent.TimeUs > latest))
        {
            difference = $"sent {Seconds(Math.Abs(sent.TimeUs - start))} s too {(sent.TimeUs < earliest ? "early" : "late")}";
        }

        if (difference is not null)
        {
            Differ(next, $"expected {when}: {next.Text}; sent at {Seconds(sent.TimeUs)}: {sent.Describe(flow.RelativeSeq)} ({difference})");
        }

        _lastUs = Math.Max(_lastUs, next.Time.Kind == TimeKind.Any || next.Time.IsRange ? sent.TimeUs : start);
    }

    private Func<uint, uint> Relative(OutboundPacket packet) => _flow is null ? seq => seq : _flow.Owns(packet) ? _flow.RelativeSeq : seq => seq;

    private void Differ(PacketEvent next, string message)
    {
        if (!Options.NonFatalPackets)
        {
            throw new ScriptException(next.Line, message);
        }

        _notes.Add($"line {next.Line}: {message}");
    }

    /// <summary>The next packet of the flow, if one is sent up to an instant.</summary>
    private OutboundPacket? NextSent(long latestUs)
    {
        while (true)
        {
            while (Host.Sent.TryDequeue(out OutboundPacket? packet))
            {
                if (_flow is null || _flow.Owns(packet))
                {
                    return packet;
                }
            }

            long due = Math.Min(Host.NextDeadlineUs, _blocked is { } blocked && blocked.EndUs > ElapsedUs ? blocked.EndUs : long.MaxValue);
            if (due > latestUs)
            {
                return null;
            }

            Advance(Math.Max(due, ElapsedUs));
        }
    }

    // System calls.

    private void Make(CallEvent call)
    {
        CallAttempt attempt = Process.Calls.Prepare(call);
        long end = call.EndUs is { } given ? given + (_lastUs - call.Time.StartUs) : _lastUs;
        _blocked = new Blocked(call, attempt, end);
        TryBlocked();
        Host.Settle();
        if (call.EndUs is null)
        {
            // It must return at once, or nearly.
            Finish();
        }
    }

    /// <summary>Waits for the call that still blocks, if any.</summary>
    private void Finish()
    {
        while (_blocked is { } blocked)
        {
            long latest = blocked.EndUs + Options.ToleranceUs;
            long due = Math.Min(Host.NextDeadlineUs, ElapsedUs < blocked.EndUs ? blocked.EndUs : latest);
            if (ElapsedUs >= latest || due > latest)
            {
                _blocked = null;
                throw new ScriptException(blocked.Call.Line, $"{blocked.Call.Text}: still blocks at {Seconds(Math.Max(ElapsedUs, latest))}, expected to return at {Seconds(blocked.EndUs)}");
            }

            Host.AdvanceTo(Math.Max(due, ElapsedUs), TryBlocked);
            TryBlocked();
        }
    }

    /// <summary>Tries to complete the call that blocks. True if it has returned by this.</summary>
    private bool TryBlocked()
    {
        if (_blocked is not { } blocked || blocked.Attempt() is not { } result)
        {
            return false;
        }

        _blocked = null;
        Check(blocked, result);
        Host.Settle();
        return true;
    }

    private void Check(Blocked blocked, CallResult result)
    {
        CallEvent call = blocked.Call;
        string? problem = Difference(call, result);
        if (problem is null && ElapsedUs > blocked.EndUs + Options.ToleranceUs)
        {
            problem = $"returned at {Seconds(ElapsedUs)}, expected at {Seconds(blocked.EndUs)}";
        }
        else if (problem is null && call.EndUs is not null && ElapsedUs < blocked.EndUs - Options.ToleranceUs)
        {
            problem = $"returned at {Seconds(ElapsedUs)} already, expected at {Seconds(blocked.EndUs)}";
        }

        if (problem is null)
        {
            return;
        }

        string message = $"at {Seconds(ElapsedUs)}, {call.Text}: {problem}";
        if (!Options.NonFatalCalls)
        {
            throw new ScriptException(call.Line, message);
        }

        _notes.Add($"line {call.Line}: {message}");
    }

    private static string? Difference(CallEvent call, CallResult result)
    {
        if (call.Result is not AnyExpression)
        {
            bool sameValue = call.Result.AsNumber is not { } expected || expected == result.Value || IsSameFlags(call, expected, result.Value);
            bool sameError = call.Errno is null ? result.Errno is null || call.Result.AsNumber == -1 : Errno.Canonical(call.Errno) == result.Errno;
            if (!sameValue || !sameError)
            {
                return $"returned {result}";
            }
        }

        return result.Problem;
    }

    /// <summary>The flags of a file are numbers that differ between systems: O_NONBLOCK is 4 on BSD and 0x800 on Linux.</summary>
    private static bool IsSameFlags(CallEvent call, long expected, long flags) =>
        call.Name == "fcntl" && expected == (flags & ~Constants.ONonBlock) + ((flags & Constants.ONonBlock) != 0 ? 4 : 0);

    // Commands and code.

    private void RunCommand(CommandEvent command)
    {
        if (ShellCommands.Run(command.Command, this) is { } problem)
        {
            throw problem.Unknown ? ScriptException.Unsupported(command.Line, problem.Reason) : new ScriptException(command.Line, $"at {Seconds(ElapsedUs)}, {problem.Reason}");
        }
    }

    private CodeSubject CodeSubject()
    {
        TestSocket? socket = Process.Sockets.Open.FirstOrDefault(s => s.Connection is not null && _flow is not null && s.Connection.Local == _flow.Local && s.Connection.Remote == _flow.Remote) ?? Process.Sockets.Latest;
        return socket is null
            ? throw new ScriptException(Line, "there is no socket that code could look at")
            : new CodeSubject(Process.Sockets.State(socket), socket.Connection is null || socket.IsOver ? null : socket.Connection.GetInfo(Host.NowUs), Settings.IsFreeBsd);
    }
}
