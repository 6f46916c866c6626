using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp.Recovery;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>Received payload and FIN.</summary>
public sealed partial class TcpConnection
{
    private bool _finSeen;
    private SeqNumber _finSeq;
    private long _streamReceived;
    private bool _sack;
    private SackReport _sackReport;

    /// <summary>RFC 9293 section 3.10.7.4, seventh and eighth. In the other states the peer has closed already, and there is nothing more to come.</summary>
    private void OnTextAndFin(in TcpSegment segment, ref int chain, long nowUs)
    {
        if (State is not (TcpState.Established or TcpState.FinWait1 or TcpState.FinWait2))
        {
            return;
        }

        if ((segment.Flags & TcpFlags.Fin) != 0 && !_finSeen)
        {
            // It takes no memory, so that it may stand right at the window's edge.
            SeqNumber fin = segment.Seq + segment.PayloadLength;
            if (fin >= _rcvNxt && fin <= SeqNumber.Max(_rcvAdv, _rcvNxt))
            {
                _finSeen = true;
                _finSeq = fin;
            }
        }

        OnText(segment, ref chain, nowUs);
        if (!IsRemoved && _finSeen && (_rcvNxt == _finSeq || Faults.IsOn(Fault.FinBeforeData)))
        {
            OnFin(nowUs);
        }
    }

    /// <summary>Payload, trimmed to what is new and fits.</summary>
    private void OnText(in TcpSegment segment, ref int chain, long nowUs)
    {
        int length = segment.PayloadLength;
        if (length == 0)
        {
            if ((segment.Flags & TcpFlags.Fin) != 0 && segment.Seq != _rcvNxt)
            {
                Answer(nowUs);
            }

            return;
        }

        SeqNumber seq = segment.Seq;
        int old = _rcvNxt - seq;
        if (old >= length)
        {
            Drops.Count(DropReason.TCP_OLD_DATA);
            ReportDuplicate(segment);
            if (!Faults.IsOn(Fault.OverlapNotTrimmed))
            {
                ReleaseOld(ref chain);
                if (!_finSeen || _finSeq != _rcvNxt)
                {
                    Answer(nowUs);
                }

                return;
            }
        }

        if (_appClosed)
        {
            // Nobody will ever read it, and the peer must know (RFC 9293 section 3.6.1, SHLD-3).
            Drops.Count(DropReason.TCP_ABORT_ON_DATA);
            _layer.Counters.AbortOnData++;
            Reset(nowUs);
            return;
        }

        if (old > 0 && !Faults.IsOn(Fault.OverlapNotTrimmed))
        {
            ReportDuplicate(segment);
            FragmentChain.TrimFront(Pool, ref chain, old);
            seq += old;
            length -= old;
        }

        int room = (_finSeen ? SeqNumber.Min(_finSeq, _rcvAdv) : _rcvAdv) - seq;
        if (room < length)
        {
            if (room <= 0)
            {
                Drops.Count(DropReason.TCP_OVERWINDOW);
                Answer(nowUs);
                return;
            }

            FragmentChain.TrimBack(Pool, ref chain, room);
            length = room;
        }

        bool inOrder = seq <= _rcvNxt || Faults.IsOn(Fault.OutOfOrderDeliveredEarly);
        if (!Admit(chain, inOrder))
        {
            Answer(nowUs);
            return;
        }

        if (inOrder)
        {
            TakeInOrder(ref chain, length, nowUs);
        }
        else
        {
            _layer.Counters.OfoQueue++;
            _receive.AddOutOfOrder(Pool, chain, Id, seq, _streamReceived + (seq - _rcvNxt), Drops, out SackRange duplicate);
            chain = PagePool.NoFragment;
            if (_sack)
            {
                _sackReport.OnOutOfOrder(new SackRange(seq, seq + length));
                CountDuplicate(duplicate);
            }

            // One acknowledgment for each, at once: the sender counts them (RFC 5681 section 4.2).
            Answer(nowUs);
        }
    }

    private void TakeInOrder(ref int chain, int length, long nowUs)
    {
        bool hadGap = _receive.HasOutOfOrder;
        SeqNumber before = _rcvNxt;
        _receive.AppendInOrder(Pool, chain, Id, ref _rcvNxt, ref _streamReceived, Drops, out SackRange duplicate);
        chain = PagePool.NoFragment;
        if (hadGap && _sack)
        {
            _sackReport.Advance(_rcvNxt);
            CountDuplicate(duplicate);
        }

        _layer.Raise(this, TcpEvents.Readable);
        _rcvMss = Math.Max(_rcvMss, Math.Min(length, _layer.Device.Mtu - HeaderBytes));
        _unacknowledged += _rcvNxt - before;
        if (hadGap || _sackReport.HasDuplicate || _quickAcks > 0 || _unacknowledged >= 2 * _rcvMss)
        {
            _quickAcks -= _quickAcks > 0 ? 1 : 0;
            AcknowledgeNow();
        }
        else if (!IsArmed(TcpTimer.DelayedAck))
        {
            Arm(TcpTimer.DelayedAck, nowUs + _layer.Options.DelayedAckUs);
        }
    }

    /// <summary>The FIN's turn has come.</summary>
    private void OnFin(long nowUs)
    {
        _rcvNxt += 1;
        PeerClosed = true;

        // What was held aside lies beyond the end of the stream: no gap before it will ever be filled.
        PruneOutOfOrder();
        AcknowledgeNow();
        _layer.Raise(this, TcpEvents.PeerClosed);
        switch (State)
        {
            case TcpState.Established:
                State = TcpState.CloseWait;
                break;
            case TcpState.FinWait1:
                State = TcpState.Closing;
                break;
            case TcpState.FinWait2:
                Answer(nowUs);
                EnterTimeWait(nowUs);
                break;
            default:
                break;
        }
    }

    private void EnterTimeWait(long nowUs)
    {
        var entry = new TimeWaitEntry
        {
            SndNxt = SeqOf(_maxSent),
            RcvNxt = _rcvNxt,
            RecentTimestamp = _recentTimestamp,
            TimestampOffset = _timestampOffset,
            Timestamps = _timestamps,
            LastAckUs = nowUs - OutOfWindowAckIntervalUs,
        };
        _layer.EnterTimeWait(this, entry, nowUs);
        Finish(nowUs);
    }

    /// <summary>
    /// Charges a chain's memory, if it fits in the connection's quota and its budget; what is held out of order makes room for what is in order. False: dropped by reason, before it is acknowledged.
    /// </summary>
    private bool Admit(int chain, bool inOrder)
    {
        int fragments = FragmentChain.Count(Pool, chain);
        long truesize = Pool.ChargeFor(chain, Id);
        if (!inOrder && _receive.OutOfOrderCount + fragments > _layer.Options.MaxOutOfOrderFragments)
        {
            Drops.Count(DropReason.TCP_OFO_QUEUE_PRUNE);
            return false;
        }

        if (!Fits(truesize) && inOrder && _receive.HasOutOfOrder)
        {
            PruneOutOfOrder();
            truesize = Pool.ChargeFor(chain, Id);
        }

        if (!Fits(truesize) && !(inOrder && ChargedBytes == 0 && MayOverdraw(truesize)))
        {
            bool own = ChargedBytes + truesize > ReceiveQuotaBytes;
            Drops.Count(own ? DropReason.SOCKET_RCVBUFF : DropReason.PROTO_MEM);
            _layer.Raise(this, TcpEvents.NoMemory);
            if (!own)
            {
                _layer.AwaitMemory(this);
            }

            return false;
        }

        int payload = 0;
        int charged = 0;
        for (int slot = chain; slot != PagePool.NoFragment; slot = Pool[slot].Next)
        {
            payload += Pool[slot].Length;
            charged += Pool.Charge(slot, Id);
        }

        ChargedBytes += charged;
        _budget.Charge(charged);
        _ratio.Add(payload, charged);
        return true;
    }

    private void PruneOutOfOrder()
    {
        _receive.Prune(Pool, Drops);
        _sackReport.Clear();
    }

    /// <summary>What of the segment came before: the next acknowledgment tells (RFC 2883).</summary>
    private void ReportDuplicate(in TcpSegment segment)
    {
        if (_sack && segment.PayloadLength > 0 && segment.Seq < _rcvNxt)
        {
            CountDuplicate(new SackRange(segment.Seq, SeqNumber.Min(segment.Seq + segment.PayloadLength, _rcvNxt)));
        }
    }

    private void CountDuplicate(SackRange duplicate)
    {
        if (!duplicate.IsEmpty)
        {
            _sackReport.OnDuplicate(duplicate);
            _layer.Counters.DsackOldSent += duplicate.Left < _rcvNxt ? 1 : 0;
            _layer.Counters.DsackOfoSent += duplicate.Left < _rcvNxt ? 0 : 1;
        }
    }

    private bool Fits(long truesize) => ChargedBytes + truesize <= ReceiveQuotaBytes && AvailableMemory() >= truesize;

    private void ReleaseOld(ref int chain)
    {
        if (Faults.IsOn(Fault.FragmentLeaked))
        {
            chain = PagePool.NoFragment;
        }
    }
}
