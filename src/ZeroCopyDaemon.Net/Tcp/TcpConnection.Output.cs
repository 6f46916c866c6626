using System.Buffers.Binary;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Ip;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>How a connection's turn to send ended.</summary>
internal enum OutputResult
{
    /// <summary>Nothing more to send now.</summary>
    Done,

    /// <summary>Its burst is used up and there is more: others first.</summary>
    More,

    RingFull,

    AwaitingNeighbor,
}

/// <summary>What may be sent, and sending it.</summary>
public sealed partial class TcpConnection
{
    /// <summary>What a peer that says nothing takes (RFC 9293 section 3.7.1).</summary>
    private const int DefaultMss = 536, DefaultMss6 = 1220;

    /// <summary>A peer that asks for less would cost more in headers than it is worth (cf. CVE-2019-11479).</summary>
    private const int MinMss = 48;

    /// <summary>An ICMP message that claims less than this for the path is not believed (RFC 1191 section 3 allows 68; Linux's default is 552).</summary>
    private const int MinPathMtu = 552;

    private const int TimestampOptionBytes = 12;

    /// <summary>Bytes per turn, so that connections share the ring.</summary>
    private const int BurstBytes = 128 * 1024;

    private const int MaxChunks = 64;

    private readonly uint _timestampOffset;
    private long _una;
    private long _nxt;
    private long _maxSent;
    private long _sndWnd;
    private long _maxSndWnd;
    private SeqNumber _wl1;
    private SeqNumber _wl2;
    private bool _scaling;
    private int _sndScale;
    private int _peerMss = DefaultMss;
    private int _pathPayload = int.MaxValue;
    private int _mss = DefaultMss;
    private bool _finQueued;
    private bool _retransmitFirst;
    private bool _probeNow;
    private bool _forceNow;
    private long _rttPosition = -1;
    private long _rttStartUs;
    private uint _retransmitTimestamp;
    private long _lastSendUs;
    private long _retransmits;
    private long _segmentsOut;

    /// <summary>IP and TCP without options.</summary>
    private int HeaderBytes => Flow.Remote.IsV4 ? 40 : 60;

    private SendState SendState => new(_una, _maxSent, _mss);

    internal void OpenActively(long nowUs)
    {
        State = TcpState.SynSent;
        _sendSyn = true;
        _layer.MarkReady(this);
    }

    internal static int WriteTimestamp(Span<byte> options, uint value, uint echo)
    {
        options[0] = 1;
        options[1] = 1;
        options[2] = 8;
        options[3] = 10;
        BinaryPrimitives.WriteUInt32BigEndian(options[4..], value);
        BinaryPrimitives.WriteUInt32BigEndian(options[8..], echo);
        return TimestampOptionBytes;
    }

    /// <summary>Sends what may be sent now: SYN, what was lost, what is new, an acknowledgment.</summary>
    internal OutputResult Output(long nowUs)
    {
        if (_sendSyn)
        {
            IpSendResult sent = SendSyn(nowUs);
            if (sent != IpSendResult.Sent)
            {
                return Refused(sent, nowUs);
            }

            _sendSyn = false;
        }

        if (State is TcpState.SynSent or TcpState.Closed)
        {
            return OutputResult.Done;
        }

        if (State != TcpState.SynReceived)
        {
            int burst = BurstBytes;
            while (TrySelect(nowUs, out Selection selection))
            {
                if (burst <= 0)
                {
                    RestoreSelection(selection);
                    return OutputResult.More;
                }

                IpSendResult sent = SendData(ref selection, nowUs);
                if (sent != IpSendResult.Sent)
                {
                    RestoreSelection(selection);
                    return Refused(sent, nowUs);
                }

                burst -= selection.Length + 1;
            }

            ArmPersistIfStuck(nowUs);
        }

        return _ackNow ? Translate(SendAck(nowUs)) : OutputResult.Done;
    }

    /// <summary>A piece of the send queue to put on the wire.</summary>
    private struct Selection
    {
        public long Position;
        public int Length;
        public bool Fin;
        public bool Probe;
        public bool First;
        public bool Forced;
    }

    private static OutputResult Translate(IpSendResult result) => result switch
    {
        IpSendResult.RingFull => OutputResult.RingFull,
        IpSendResult.AwaitingNeighbor => OutputResult.AwaitingNeighbor,
        _ => OutputResult.Done,
    };

    /// <summary>Something that needs an answer could not be sent. Whatever becomes of it, a timer tries again, and gives up in its time.</summary>
    private OutputResult Refused(IpSendResult result, long nowUs)
    {
        if (!IsRemoved && result != IpSendResult.RingFull && !IsArmed(TcpTimer.Retransmit) && !IsArmed(TcpTimer.Persist))
        {
            Arm(TcpTimer.Retransmit, nowUs + _rtt.RtoUs);
        }

        return Translate(result);
    }

    private SeqNumber SeqOf(long position) => new(_iss.Value + 1 + (uint)position);

    private uint Timestamp(long nowUs) => (uint)(nowUs / 1000) + _timestampOffset;

    /// <summary>The device's MTU has changed.</summary>
    internal void OnMtuChanged() => UpdateMss();

    private void UpdateMss() =>
        _mss = Math.Max(MinMss, Math.Min(Math.Min(_peerMss, _pathPayload), _layer.Device.Mtu - HeaderBytes)) - (_timestamps ? TimestampOptionBytes : 0);

    private bool TrySelect(long nowUs, out Selection selection)
    {
        selection = default;
        long end = _send.End;
        if (_probeNow)
        {
            _probeNow = false;
            selection = new Selection { Position = _una, Length = (int)Math.Min(1, Math.Max(0, end - _una)), Probe = true };
            selection.Fin = selection.Length == 0 && _finQueued && _una == end;
            return selection.Length > 0 || selection.Fin;
        }

        if (_retransmitFirst)
        {
            _retransmitFirst = false;
            long sent = Math.Min(_maxSent, end);
            selection = new Selection { Position = _una, Length = (int)Math.Min(_mss, Math.Max(0, sent - _una)), First = true };
            selection.Fin = _finQueued && _maxSent > end && _una + selection.Length == end;
            if (selection.Length > 0 || selection.Fin)
            {
                return true;
            }
        }

        return TrySelectNext(nowUs, end, out selection);
    }

    /// <summary>The next bytes in order, within both windows, and not silly (RFC 9293 section 3.8.6.2.1, Nagle's algorithm section 3.7.4).</summary>
    private bool TrySelectNext(long nowUs, long end, out Selection selection)
    {
        selection = default;
        long remaining = end - _nxt;
        if (remaining < 0 || (remaining == 0 && !_finQueued))
        {
            return false;
        }

        bool idle = _nxt == _una;
        if (idle && _una == _maxSent && nowUs - _lastSendUs > _rtt.RtoUs)
        {
            _congestion.OnIdle(_mss, _layer.Options.InitialWindowSegments);
        }

        // Limited transmit is for new data (RFC 3042).
        long extra = _nxt >= _maxSent ? _recovery.ExtraBytes(_mss) : 0;
        long window = Math.Min(_congestion.Cwnd + extra, _sndWnd);
        long usable = _una + window - _nxt;
        if (usable <= 0)
        {
            return false;
        }

        IFrameDevice device = _layer.Device;
        int most = device.MaxTsoBytes > _mss ? device.MaxTsoBytes - (device.MaxTsoBytes % _mss) : _mss;
        int length = (int)Math.Min(Math.Min(remaining, usable), most);
        bool all = length == remaining;
        int odd = length % _mss;
        if (odd != 0 && !MayBeSmall(odd, all, idle && length < _mss))
        {
            length -= odd;
            all = false;
            if (length == 0)
            {
                return false;
            }
        }

        if (length == 0 && !all)
        {
            return false;
        }

        selection = new Selection { Position = _nxt, Length = length, Fin = _finQueued && all && usable > length, Forced = _forceNow };
        _forceNow = false;
        return length > 0 || selection.Fin;
    }

    /// <summary>May a segment go that is not full? <paramref name="all"/>: nothing is left behind it. <paramref name="idle"/>: nothing is in flight before it.</summary>
    private bool MayBeSmall(int length, bool all, bool idle)
    {
        if (_forceNow || (all && _finQueued) || (idle && _nxt < _maxSent))
        {
            return true;
        }

        // Nagle's algorithm: nothing small while something is in flight.
        bool nagle = NoDelay || idle;
        return nagle && ((all && !_send.EndsWithMore) || length >= _maxSndWnd / 2);
    }

    private IpSendResult SendData(ref Selection selection, long nowUs)
    {
        Span<TxChunk> chunks = stackalloc TxChunk[Math.Min(MaxChunks, _layer.Device.MaxChunks)];
        int chunkCount = 0;
        bool again = selection.Position < _maxSent;
        if (selection.Length > 0)
        {
            long from = selection.Position;
            if (again && Faults.IsOn(Fault.RetransmitWrongOffset) && from + 1 + selection.Length <= _send.End)
            {
                from++;
            }

            int gathered = _send.Gather(from, selection.Length, chunks, out chunkCount);
            if (gathered < selection.Length)
            {
                // More pieces than the device takes in one frame.
                if (gathered > _mss && gathered % _mss != 0)
                {
                    gathered = _send.Gather(from, gathered - (gathered % _mss), chunks, out chunkCount);
                }

                selection.Length = gathered;
                selection.Fin = false;
            }
        }

        bool last = selection.Position + selection.Length == _send.End;
        TcpFlags flags = TcpFlags.Ack | (last && selection.Length > 0 ? TcpFlags.Psh : TcpFlags.None) | (selection.Fin ? TcpFlags.Fin : TcpFlags.None);
        IpSendResult result = SendSegment(selection.Position, flags, chunks[..chunkCount], selection.Length, nowUs);
        if (result == IpSendResult.Sent)
        {
            OnSent(selection, again, nowUs);
        }

        return result;
    }

    /// <summary>It could not be sent after all: what asked for it asks again.</summary>
    private void RestoreSelection(in Selection selection)
    {
        _probeNow |= selection.Probe;
        _retransmitFirst |= selection.First;
        _forceNow |= selection.Forced;
    }

    private void OnSent(in Selection selection, bool again, long nowUs)
    {
        long end = selection.Position + selection.Length + (selection.Fin ? 1 : 0);
        int segments = selection.Length > _mss ? (selection.Length + _mss - 1) / _mss : 1;
        _segmentsOut += segments;
        _layer.Counters.OutSegs += segments;
        _layer.Counters.OutBytes += selection.Length;
        _lastSendUs = nowUs;
        if (again)
        {
            _retransmits += segments;
            _retransmitTimestamp = Timestamp(nowUs);
            _layer.Counters.RetransSegs += segments;
            _layer.Counters.RetransBytes += selection.Length;
            if (_rttPosition >= selection.Position)
            {
                // Karn's algorithm (RFC 6298 section 3).
                _rttPosition = -1;
            }
        }
        else if (_rttPosition < 0 && !selection.Probe)
        {
            _rttPosition = end - 1;
            _rttStartUs = nowUs;
        }

        _maxSent = Math.Max(_maxSent, end);
        if (selection.Fin)
        {
            State = State switch
            {
                TcpState.Established => TcpState.FinWait1,
                TcpState.CloseWait => TcpState.LastAck,
                TcpState other => other,
            };
        }

        if (selection.Probe)
        {
            ArmPersist(nowUs);
            return;
        }

        _nxt = selection.First ? Math.Max(_nxt, end) : end;
        Disarm(TcpTimer.Persist);
        if (!IsArmed(TcpTimer.Retransmit))
        {
            Arm(TcpTimer.Retransmit, nowUs + _rtt.RtoUs);
        }
    }

    private IpSendResult SendAck(long nowUs)
    {
        IpSendResult result = SendSegment(AcceptablePosition(), TcpFlags.Ack, default, 0, nowUs);
        if (result == IpSendResult.Sent)
        {
            _segmentsOut++;
            _layer.Counters.OutSegs++;
            _layer.Counters.PureAcks++;
        }
        else
        {
            // Without a route it is lost, as on any wire.
            _ackNow = result != IpSendResult.Unreachable;
        }

        return result;
    }

    /// <summary>Where a segment without text stands: SND.NXT, but within the peer's window, so that it is acceptable there although a probe may have gone beyond.</summary>
    private long AcceptablePosition() => Math.Min(Math.Max(_nxt, _maxSent), _una + Math.Max(_sndWnd, _nxt - _una));

    /// <summary>Acknowledges at once, while a segment is being looked at.</summary>
    private void Answer(long nowUs)
    {
        if (SendAck(nowUs) != IpSendResult.Sent && _ackNow)
        {
            _layer.MarkReady(this);
        }
    }

    private IpSendResult SendSegment(long position, TcpFlags flags, ReadOnlySpan<TxChunk> chunks, int length, long nowUs)
    {
        Span<byte> options = stackalloc byte[TcpHeader.MaxOptionsLength];
        int optionBytes = _timestamps ? WriteTimestamp(options, Timestamp(nowUs), _recentTimestamp) : 0;
        bool reports = _sack && !_sackReport.IsEmpty;
        if (reports)
        {
            // Beside text only as far as there is room: what a segment may carry is reckoned without.
            int room = Math.Min(TcpHeader.MaxOptionsLength - optionBytes, length == 0 ? TcpHeader.MaxOptionsLength : Math.Max(0, _mss - length));
            int written = _sackReport.Write(options.Slice(optionBytes, room));
            optionBytes += written;
            reports = written > 0;
        }

        int window = SelectWindow();
        var header = new TcpHeaderToSend
        {
            Source = Local,
            Destination = Remote,
            Seq = SeqOf(position),
            Ack = _rcvNxt,
            Flags = flags,
            Window = (ushort)Math.Min(65535, window >> _rcvScale),
            Options = options[..optionBytes],
        };
        IpSendResult result = _layer.Ip.SendTcp(header, chunks, length, length > _mss ? _mss : 0, nowUs);
        if (result == IpSendResult.Sent)
        {
            if (reports)
            {
                _sackReport.OnSent();
            }

            OnAckSent(window);
        }

        return result;
    }

    private IpSendResult SendSyn(long nowUs)
    {
        Span<byte> options = stackalloc byte[4 + 4 + 4 + TimestampOptionBytes];
        int mss = _layer.Device.Mtu - HeaderBytes;
        options[0] = 2;
        options[1] = 4;
        BinaryPrimitives.WriteUInt16BigEndian(options[2..], (ushort)mss);
        int length = 4;
        bool answer = State == TcpState.SynReceived;
        if (answer ? _scaling : _layer.Options.WindowScaling)
        {
            options[length] = 1;
            options[length + 1] = 3;
            options[length + 2] = 3;
            options[length + 3] = (byte)_rcvScale;
            length += 4;
        }

        if (answer ? _sack : _layer.Options.Sack)
        {
            options[length] = (byte)TcpOptionKind.NoOperation;
            options[length + 1] = (byte)TcpOptionKind.NoOperation;
            options[length + 2] = (byte)TcpOptionKind.SackPermitted;
            options[length + 3] = 2;
            length += 4;
        }

        if (answer ? _timestamps : _layer.Options.Timestamps)
        {
            length += WriteTimestamp(options[length..], Timestamp(nowUs), answer ? _recentTimestamp : 0);
        }

        // What was offered once stays offered, for the first SYN may have arrived.
        _synWindow = Math.Max(_synWindow, (int)Math.Min(WindowLimit(0), AvailableWindow()));
        var header = new TcpHeaderToSend
        {
            Source = Local,
            Destination = Remote,
            Seq = _iss,
            Ack = answer ? _rcvNxt : default,
            Flags = answer ? TcpFlags.Syn | TcpFlags.Ack : TcpFlags.Syn,
            Window = (ushort)Math.Min(65535, _synWindow),
            Options = options[..length],
        };
        IpSendResult result = _layer.Ip.SendTcp(header, default, 0, 0, nowUs);
        if (result == IpSendResult.Unreachable && !answer)
        {
            Fail(TcpError.HostUnreachable, nowUs);
        }

        if (result != IpSendResult.Sent)
        {
            return result;
        }

        OnAckSent(_synWindow);
        _segmentsOut++;
        _layer.Counters.OutSegs++;
        _layer.Counters.RetransSegs += _synTransmissions > 0 ? 1 : 0;
        _synTransmissions++;
        _synSentUs = nowUs;
        _retransmitTimestamp = Timestamp(nowUs);
        Arm(TcpTimer.Retransmit, nowUs + _rtt.RtoUs);
        return result;
    }
}
