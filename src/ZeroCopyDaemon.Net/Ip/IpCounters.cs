using ZeroCopyDaemon.Memory.Counters;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>What the layers below TCP count; names as in Linux's <c>/proc/net/snmp</c>, <c>netstat</c> and <c>stat/arp_cache</c>.</summary>
internal sealed class IpCounters : ICounterSource
{
    /// <summary>Every frame handed up. Each is in the end delivered, held by reassembly, or dropped by reason.</summary>
    public long Frames;

    /// <summary>Frames that reached their protocol: ARP and ICMP messages of use, and TCP segments (with all their fragments).</summary>
    public long FramesDelivered;

    public long IpInReceives;
    public long IpInHdrErrors;
    public long IpInAddrErrors;
    public long IpInUnknownProtos;
    public long IpInTruncatedPkts;
    public long IpInDelivers;
    public long IpOutRequests;
    public long IpOutDiscards;
    public long IpOutNoRoutes;
    public long IpFragOKs;
    public long IpFragCreates;
    public long IcmpInMsgs;
    public long IcmpInErrors;
    public long IcmpInCsumErrors;
    public long IcmpInDestUnreachs;
    public long IcmpInTimeExcds;
    public long IcmpInParmProbs;
    public long IcmpInEchos;
    public long IcmpOutMsgs;
    public long IcmpOutErrors;
    public long IcmpOutRateLimitGlobal;
    public long IcmpOutDestUnreachs;
    public long IcmpOutTimeExcds;
    public long IcmpOutEchoReps;
    public long TcpInErrs;
    public long TcpInCsumErrors;
    public long UdpNoPorts;
    public long ArpInRequests;
    public long ArpInReplies;
    public long ArpOutRequests;
    public long ArpOutReplies;
    public long ArpConflicts;
    public long RxChecksumSoftwareBytes;
    public long TxChecksumSoftwareBytes;

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        visitor.Counter("rx.frames", Frames);
        visitor.Counter("rx.frames_delivered", FramesDelivered);
        visitor.Counter("rx.csum_software_bytes", RxChecksumSoftwareBytes);
        visitor.Counter("tx.csum_software_bytes", TxChecksumSoftwareBytes);
        visitor.Counter("ip.InReceives", IpInReceives);
        visitor.Counter("ip.InHdrErrors", IpInHdrErrors);
        visitor.Counter("ip.InAddrErrors", IpInAddrErrors);
        visitor.Counter("ip.InUnknownProtos", IpInUnknownProtos);
        visitor.Counter("ip.InTruncatedPkts", IpInTruncatedPkts);
        visitor.Counter("ip.InDelivers", IpInDelivers);
        visitor.Counter("ip.OutRequests", IpOutRequests);
        visitor.Counter("ip.OutDiscards", IpOutDiscards);
        visitor.Counter("ip.OutNoRoutes", IpOutNoRoutes);
        visitor.Counter("ip.FragOKs", IpFragOKs);
        visitor.Counter("ip.FragCreates", IpFragCreates);
        visitor.Counter("icmp.InMsgs", IcmpInMsgs);
        visitor.Counter("icmp.InErrors", IcmpInErrors);
        visitor.Counter("icmp.InCsumErrors", IcmpInCsumErrors);
        visitor.Counter("icmp.InDestUnreachs", IcmpInDestUnreachs);
        visitor.Counter("icmp.InTimeExcds", IcmpInTimeExcds);
        visitor.Counter("icmp.InParmProbs", IcmpInParmProbs);
        visitor.Counter("icmp.InEchos", IcmpInEchos);
        visitor.Counter("icmp.OutMsgs", IcmpOutMsgs);
        visitor.Counter("icmp.OutErrors", IcmpOutErrors);
        visitor.Counter("icmp.OutRateLimitGlobal", IcmpOutRateLimitGlobal);
        visitor.Counter("icmp.OutDestUnreachs", IcmpOutDestUnreachs);
        visitor.Counter("icmp.OutTimeExcds", IcmpOutTimeExcds);
        visitor.Counter("icmp.OutEchoReps", IcmpOutEchoReps);
        visitor.Counter("tcp.InErrs", TcpInErrs);
        visitor.Counter("tcp.InCsumErrors", TcpInCsumErrors);
        visitor.Counter("udp.NoPorts", UdpNoPorts);
        visitor.Counter("arp.InRequests", ArpInRequests);
        visitor.Counter("arp.InReplies", ArpInReplies);
        visitor.Counter("arp.OutRequests", ArpOutRequests);
        visitor.Counter("arp.OutReplies", ArpOutReplies);
        visitor.Counter("arp.conflicts", ArpConflicts);
    }
}
