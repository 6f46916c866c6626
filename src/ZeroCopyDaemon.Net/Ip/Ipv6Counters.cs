using ZeroCopyDaemon.Memory.Counters;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>What IPv6, ICMPv6 and neighbour discovery count; names as in Linux's <c>/proc/net/snmp6</c> and <c>stat/ndisc_cache</c>. What they share with IPv4 is in <see cref="IpCounters"/>.</summary>
internal sealed class Ipv6Counters : ICounterSource
{
    public long InReceives;
    public long InHdrErrors;
    public long InAddrErrors;
    public long InUnknownProtos;
    public long InTruncatedPkts;
    public long InDelivers;
    public long OutRequests;
    public long OutDiscards;
    public long OutNoRoutes;
    public long FragOKs;
    public long FragCreates;
    public long IcmpInMsgs;
    public long IcmpInErrors;
    public long IcmpInCsumErrors;
    public long IcmpInDestUnreachs;
    public long IcmpInPktTooBigs;
    public long IcmpInTimeExcds;
    public long IcmpInParmProblems;
    public long IcmpInEchos;
    public long IcmpOutMsgs;
    public long IcmpOutErrors;
    public long IcmpOutRateLimitHost;
    public long IcmpOutDestUnreachs;
    public long IcmpOutTimeExcds;
    public long IcmpOutParmProblems;
    public long IcmpOutEchoReplies;
    public long InNeighborSolicits;
    public long InNeighborAdvertisements;
    public long OutNeighborSolicits;
    public long OutNeighborAdvertisements;

    /// <summary>Others claimed an address of ours.</summary>
    public long Conflicts;

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        visitor.Counter("ip6.InReceives", InReceives);
        visitor.Counter("ip6.InHdrErrors", InHdrErrors);
        visitor.Counter("ip6.InAddrErrors", InAddrErrors);
        visitor.Counter("ip6.InUnknownProtos", InUnknownProtos);
        visitor.Counter("ip6.InTruncatedPkts", InTruncatedPkts);
        visitor.Counter("ip6.InDelivers", InDelivers);
        visitor.Counter("ip6.OutRequests", OutRequests);
        visitor.Counter("ip6.OutDiscards", OutDiscards);
        visitor.Counter("ip6.OutNoRoutes", OutNoRoutes);
        visitor.Counter("ip6.FragOKs", FragOKs);
        visitor.Counter("ip6.FragCreates", FragCreates);
        visitor.Counter("icmp6.InMsgs", IcmpInMsgs);
        visitor.Counter("icmp6.InErrors", IcmpInErrors);
        visitor.Counter("icmp6.InCsumErrors", IcmpInCsumErrors);
        visitor.Counter("icmp6.InDestUnreachs", IcmpInDestUnreachs);
        visitor.Counter("icmp6.InPktTooBigs", IcmpInPktTooBigs);
        visitor.Counter("icmp6.InTimeExcds", IcmpInTimeExcds);
        visitor.Counter("icmp6.InParmProblems", IcmpInParmProblems);
        visitor.Counter("icmp6.InEchos", IcmpInEchos);
        visitor.Counter("icmp6.InNeighborSolicits", InNeighborSolicits);
        visitor.Counter("icmp6.InNeighborAdvertisements", InNeighborAdvertisements);
        visitor.Counter("icmp6.OutMsgs", IcmpOutMsgs);
        visitor.Counter("icmp6.OutErrors", IcmpOutErrors);
        visitor.Counter("icmp6.OutRateLimitHost", IcmpOutRateLimitHost);
        visitor.Counter("icmp6.OutDestUnreachs", IcmpOutDestUnreachs);
        visitor.Counter("icmp6.OutTimeExcds", IcmpOutTimeExcds);
        visitor.Counter("icmp6.OutParmProblems", IcmpOutParmProblems);
        visitor.Counter("icmp6.OutEchoReplies", IcmpOutEchoReplies);
        visitor.Counter("icmp6.OutNeighborSolicits", OutNeighborSolicits);
        visitor.Counter("icmp6.OutNeighborAdvertisements", OutNeighborAdvertisements);
        visitor.Counter("ndisc.conflicts", Conflicts);
    }
}
