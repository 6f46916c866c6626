using ZeroCopyDaemon.Memory.Counters;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>TCP's counters, named as in Linux's /proc/net/snmp and /proc/net/netstat.</summary>
internal sealed class TcpCounters : ICounterSource
{
    private static readonly string[] VisitNames = Array.ConvertAll(Enum.GetNames<TcpState>(), state => "tcp.visits_" + state);
    private readonly long[] _visits = new long[VisitNames.Length];

    public long InSegs, OutSegs, RetransSegs, ActiveOpens, PassiveOpens, AttemptFails, EstabResets, CurrEstab, OutRsts;
    public long Timeouts, FastRetrans, OfoQueue, DelayedAcks, ChallengeAck, PawsEstab, TimeWaits, TimeWaitReused, ListenOverflows, WindowProbes, AbortOnTimeout, AbortOnData, PureAcks;
    public long DsackOldSent, DsackOfoSent;
    public long InBytes, OutBytes, RetransBytes;

    /// <summary>How often a connection entered a state.</summary>
    public long Visits(TcpState state) => _visits[(int)state];

    public void Visit(TcpState state) => _visits[(int)state]++;

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        visitor.Counter("tcp.InSegs", InSegs);
        visitor.Counter("tcp.OutSegs", OutSegs);
        visitor.Counter("tcp.RetransSegs", RetransSegs);
        visitor.Counter("tcp.ActiveOpens", ActiveOpens);
        visitor.Counter("tcp.PassiveOpens", PassiveOpens);
        visitor.Counter("tcp.AttemptFails", AttemptFails);
        visitor.Counter("tcp.EstabResets", EstabResets);
        visitor.Counter("tcp.CurrEstab", CurrEstab);
        visitor.Counter("tcp.OutRsts", OutRsts);
        visitor.Counter("tcp.TCPTimeouts", Timeouts);
        visitor.Counter("tcp.TCPFastRetrans", FastRetrans);
        visitor.Counter("tcp.TCPOFOQueue", OfoQueue);
        visitor.Counter("tcp.DelayedACKs", DelayedAcks);
        visitor.Counter("tcp.TCPPureAcks", PureAcks);
        visitor.Counter("tcp.TCPChallengeACK", ChallengeAck);
        visitor.Counter("tcp.PAWSEstab", PawsEstab);
        visitor.Counter("tcp.TW", TimeWaits);
        visitor.Counter("tcp.TWRecycled", TimeWaitReused);
        visitor.Counter("tcp.ListenOverflows", ListenOverflows);
        visitor.Counter("tcp.TCPWinProbe", WindowProbes);
        visitor.Counter("tcp.TCPAbortOnTimeout", AbortOnTimeout);
        visitor.Counter("tcp.TCPAbortOnData", AbortOnData);
        visitor.Counter("tcp.TCPDSACKOldSent", DsackOldSent);
        visitor.Counter("tcp.TCPDSACKOfoSent", DsackOfoSent);
        visitor.Counter("tcp.InBytes", InBytes);
        visitor.Counter("tcp.OutBytes", OutBytes);
        visitor.Counter("tcp.RetransBytes", RetransBytes);
        for (int state = 0; state < _visits.Length; state++)
        {
            visitor.Counter(VisitNames[state], _visits[state]);
        }
    }
}
