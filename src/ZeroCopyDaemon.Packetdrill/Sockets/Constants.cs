namespace ZeroCopyDaemon.Packetdrill.Sockets;

/// <summary>Constants of the socket interface by their names. The numbers are this interpreter's own (Linux's where it matters to nobody): scripts use the names.</summary>
internal static class Constants
{
    public const long MsgPeek = 2, MsgDontWait = 0x40, MsgWaitAll = 0x100, MsgMore = 0x8000, MsgOob = 1;
    public const long OReadWrite = 2, ONonBlock = 0x800;
    public const long PollIn = 1, PollOut = 4, PollErr = 8, PollHup = 16, PollReadHup = 0x2000;

    private static readonly Dictionary<string, long> Values = new(StringComparer.Ordinal)
    {
        ["AF_INET"] = 2, ["AF_INET6"] = 10, ["PF_INET"] = 2, ["PF_INET6"] = 10, ["SOCK_STREAM"] = 1, ["SOCK_DGRAM"] = 2, ["SOCK_RAW"] = 3, ["SOCK_SEQPACKET"] = 5, ["SOCK_NONBLOCK"] = ONonBlock, ["SOCK_CLOEXEC"] = 0x80000,
        ["IPPROTO_IP"] = 0, ["IPPROTO_ICMP"] = 1, ["IPPROTO_TCP"] = 6, ["IPPROTO_UDP"] = 17, ["IPPROTO_IPV6"] = 41, ["IPPROTO_SCTP"] = 132, ["IPPROTO_UDPLITE"] = 136,
        ["O_RDONLY"] = 0, ["O_WRONLY"] = 1, ["O_RDWR"] = OReadWrite, ["O_NONBLOCK"] = ONonBlock, ["O_NDELAY"] = ONonBlock,
        ["F_GETFD"] = 1, ["F_SETFD"] = 2, ["F_GETFL"] = 3, ["F_SETFL"] = 4, ["FD_CLOEXEC"] = 1,
        ["SHUT_RD"] = 0, ["SHUT_WR"] = 1, ["SHUT_RDWR"] = 2,
        ["MSG_OOB"] = MsgOob, ["MSG_PEEK"] = MsgPeek, ["MSG_DONTROUTE"] = 4, ["MSG_CTRUNC"] = 8, ["MSG_TRUNC"] = 0x20, ["MSG_DONTWAIT"] = MsgDontWait, ["MSG_EOR"] = 0x80, ["MSG_WAITALL"] = MsgWaitAll,
        ["MSG_NOSIGNAL"] = 0x4000, ["MSG_MORE"] = MsgMore, ["MSG_ERRQUEUE"] = 0x2000, ["MSG_FASTOPEN"] = 0x20000000, ["MSG_ZEROCOPY"] = 0x4000000,
        ["POLLIN"] = PollIn, ["POLLPRI"] = 2, ["POLLOUT"] = PollOut, ["POLLERR"] = PollErr, ["POLLHUP"] = PollHup, ["POLLNVAL"] = 32, ["POLLRDNORM"] = 64, ["POLLWRNORM"] = 256, ["POLLRDHUP"] = PollReadHup,
        ["FIONREAD"] = 0x541B, ["SIOCINQ"] = 0x541B, ["SIOCOUTQ"] = 0x5411, ["FIONWRITE"] = 0x5411, ["FIONBIO"] = 0x5421, ["NULL"] = 0,
    };

    public static bool TryGet(string name, out long value) => Values.TryGetValue(name, out value);
}
