using System.Diagnostics.CodeAnalysis;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Ip;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>Segments that belong to no connection: for a listener, for TIME-WAIT, for nobody; and the choice of sequence numbers and ports.</summary>
internal sealed partial class TcpLayer
{
    /// <summary>The listener of an endpoint: its own, or one for every address of the family, or for every address.</summary>
    private bool TryFindListener(IpEndpoint local, [NotNullWhen(true)] out TcpListener? listener) =>
        _listeners.TryGetValue(local, out listener)
        || (local.Address.IsV4 && _listeners.TryGetValue(new IpEndpoint(IpAddress.FromV4(0), local.Port), out listener))
        || _listeners.TryGetValue(new IpEndpoint(IpAddress.Any, local.Port), out listener);

    /// <summary>RFC 9293 section 3.10.7.2.</summary>
    private void OnListenSegment(TcpListener listener, in FlowKey flow, in TcpSegment segment, long nowUs)
    {
        if ((segment.Flags & TcpFlags.Rst) != 0)
        {
            Pool.ReleaseChain(segment.Payload);
            Drops.Count(DropReason.TCP_RESET);
            return;
        }

        if ((segment.Flags & TcpFlags.Ack) != 0)
        {
            Pool.ReleaseChain(segment.Payload);
            Drops.Count(DropReason.NO_SOCKET);
            ResetUnknown(segment, nowUs);
            return;
        }

        if ((segment.Flags & TcpFlags.Syn) == 0 || IsSynFinToDrop(segment))
        {
            // Neither SYN nor ACK: no connection can have sent it, and nobody waits for an answer.
            Pool.ReleaseChain(segment.Payload);
            Drops.Count(DropReason.TCP_FLAGS);
            return;
        }

        if (listener.HalfOpen >= listener.Backlog || listener.AcceptQueueLength >= listener.Backlog)
        {
            Pool.ReleaseChain(segment.Payload);
            Counters.ListenOverflows++;
            Drops.Count(DropReason.LISTENOVERFLOWS);
            return;
        }

        if (!HasRoom)
        {
            Pool.ReleaseChain(segment.Payload);
            Drops.Count(DropReason.CONNECTION_LIMIT);
            return;
        }

        SeqNumber initial = InitialSequenceAfterTimeWait(flow, nowUs);
        TcpConnection connection = Add(flow, listener, listener.Budget, initial);
        listener.HalfOpen++;
        connection.OpenPassively(segment, nowUs);

        // Data with a SYN may be queued until ESTABLISHED (RFC 9293 section 3.10.7.2); we let the peer send it again.
        Pool.ReleaseChain(segment.Payload);
        UpdateTimers(connection);
    }

    /// <summary>SYN and FIN at once, where the options say that this begins no connection.</summary>
    public bool IsSynFinToDrop(in TcpSegment segment) => Options.DropSynFin && (segment.Flags & (TcpFlags.Syn | TcpFlags.Fin)) == (TcpFlags.Syn | TcpFlags.Fin);

    /// <summary>True if the segment is a SYN that may open the connection anew: the caller goes on to the listener.</summary>
    private bool OnTimeWaitSegment(int slot, in TcpSegment segment, long nowUs)
    {
        ref TimeWaitEntry entry = ref _timeWait[slot];
        bool rst = (segment.Flags & TcpFlags.Rst) != 0;
        bool old = entry.Timestamps && segment.Options.HasTimestamp && (int)(segment.Options.TimestampValue - entry.RecentTimestamp) < 0;
        if (Options.TimeWaitReuse && !rst && (segment.Flags & (TcpFlags.Syn | TcpFlags.Ack)) == TcpFlags.Syn)
        {
            // RFC 6191 with timestamps, RFC 9293 section 3.10.7.4 without: newer than anything of the old connection.
            bool newer = entry.Timestamps && segment.Options.HasTimestamp && segment.Options.TimestampValue != entry.RecentTimestamp
                ? !old
                : segment.Seq > entry.RcvNxt;
            if (newer)
            {
                return true;
            }
        }

        Pool.ReleaseChain(segment.Payload);
        if (rst)
        {
            // A RST must not shorten TIME-WAIT (RFC 1337).
            Drops.Count(DropReason.TCP_RESET);
            return false;
        }

        if ((segment.Flags & (TcpFlags.Syn | TcpFlags.Ack)) == 0)
        {
            Drops.Count(DropReason.TCP_FLAGS);
            return false;
        }

        if (!Options.SynProtection && (segment.Flags & TcpFlags.Syn) != 0 && segment.Seq >= entry.RcvNxt && segment.Seq < entry.RcvNxt + entry.Window)
        {
            Drops.Count(DropReason.TCP_INVALID_SYN);
            SendReset(segment.Destination, segment.Source, entry.SndNxt, entry.RcvNxt, withAck: true, nowUs);
            _timeWait.Remove(new FlowKey(segment.Destination, segment.Source));
            return false;
        }

        if (segment.SegmentLength == 0)
        {
            if (segment.Seq == entry.RcvNxt || nowUs - entry.LastAckUs < TcpConnection.OutOfWindowAckIntervalUs)
            {
                return false;
            }

            entry.LastAckUs = nowUs;
        }

        Drops.Count(DropReason.TCP_OLD_DATA);
        AcknowledgeTimeWait(segment, entry, nowUs);
        if (!old && (segment.Flags & TcpFlags.Fin) != 0 && segment.Seq + segment.SegmentLength == entry.RcvNxt)
        {
            _timeWait.Restart(slot, nowUs);
        }

        return false;
    }

    private void AcknowledgeTimeWait(in TcpSegment segment, in TimeWaitEntry entry, long nowUs)
    {
        Span<byte> options = stackalloc byte[12];
        int length = 0;
        if (entry.Timestamps)
        {
            length = TcpConnection.WriteTimestamp(options, (uint)(nowUs / 1000) + entry.TimestampOffset, entry.RecentTimestamp);
        }

        var header = new TcpHeaderToSend
        {
            Source = segment.Destination,
            Destination = segment.Source,
            Seq = entry.SndNxt,
            Ack = entry.RcvNxt,
            Flags = TcpFlags.Ack,
            Window = entry.Window,
            Options = options[..length],
        };
        if (Ip.SendTcp(header, default, 0, 0, nowUs) == IpSendResult.Sent)
        {
            Counters.OutSegs++;
        }
    }

    /// <summary>RST for a segment that nobody awaits (RFC 9293 section 3.5.2, group 1).</summary>
    private void ResetUnknown(in TcpSegment segment, long nowUs)
    {
        if ((segment.Flags & TcpFlags.Rst) != 0)
        {
            return;
        }

        if ((segment.Flags & TcpFlags.Ack) != 0)
        {
            SendReset(segment.Destination, segment.Source, segment.Ack, default, withAck: false, nowUs);
        }
        else
        {
            SendReset(segment.Destination, segment.Source, default, segment.Seq + segment.SegmentLength, withAck: true, nowUs);
        }
    }

    /// <summary>RFC 6528: a 4-microsecond clock plus a keyed hash of the four-tuple.</summary>
    private SeqNumber InitialSequence(in FlowKey flow, long nowUs) => new((uint)(nowUs / 4) + (uint)_hash.Hash(flow, purpose: 3));

    /// <summary>The next incarnation of a connection in TIME-WAIT starts above the last one's numbers (RFC 9293 section 3.10.7.4), whatever the clock says. The entry goes.</summary>
    private SeqNumber InitialSequenceAfterTimeWait(in FlowKey flow, long nowUs)
    {
        SeqNumber initial = InitialSequence(flow, nowUs);
        if (!_timeWait.TryFind(flow, out int slot))
        {
            return initial;
        }

        Counters.TimeWaitReused++;
        SeqNumber above = _timeWait[slot].SndNxt + 65536 + 2;
        _timeWait.Remove(flow);
        return SeqNumber.Max(initial, above);
    }

    /// <summary>RFC 6056 algorithm 3: a hash of the destination decides where the search begins, so that ports towards one peer tell nothing of others.</summary>
    private bool TryPickPort(IpAddress source, IpEndpoint remote, out ushort port)
    {
        const int First = 32768, Count = 28232;
        uint offset = (uint)_hash.Hash(new FlowKey(new IpEndpoint(source, 0), remote), purpose: 5);
        for (int attempt = 0; attempt < Count; attempt++)
        {
            port = (ushort)(First + ((offset + _nextPort++) % Count));
            var local = new IpEndpoint(source, port);
            var flow = new FlowKey(local, remote);
            if (!_flows.ContainsKey(flow) && !_timeWait.Contains(flow) && !_listeners.ContainsKey(local))
            {
                return true;
            }
        }

        port = 0;
        return false;
    }
}
