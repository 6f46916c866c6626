using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Packetdrill.Sockets;

/// <summary>Errors of system calls, by their names.</summary>
internal static class Errno
{
    private static readonly HashSet<string> Names = new(StringComparer.Ordinal)
    {
        "EPERM", "ENOENT", "EINTR", "EBADF", "EAGAIN", "EACCES", "EFAULT", "EINVAL", "EMFILE", "EPIPE", "EDOM", "ENOTSOCK", "EDESTADDRREQ", "EMSGSIZE", "EPROTOTYPE", "ENOPROTOOPT", "EPROTONOSUPPORT",
        "EOPNOTSUPP", "EPFNOSUPPORT", "EAFNOSUPPORT", "EADDRINUSE", "EADDRNOTAVAIL", "ENETDOWN", "ENETUNREACH", "ENETRESET", "ECONNABORTED", "ECONNRESET", "ENOBUFS", "EISCONN", "ENOTCONN", "ESHUTDOWN",
        "ETIMEDOUT", "ECONNREFUSED", "EHOSTDOWN", "EHOSTUNREACH", "EALREADY", "EINPROGRESS", "EPROTO", "ENOSYS", "ENOMEM",
    };

    /// <summary>One name for an error with two.</summary>
    public static string Canonical(string name) => name switch
    {
        "EWOULDBLOCK" => "EAGAIN",
        "ENOTSUP" => "EOPNOTSUPP",
        _ => name,
    };

    public static bool IsKnown(string name) => Names.Contains(Canonical(name));

    /// <summary>What a socket says when its connection has failed.</summary>
    public static string Of(TcpError error) => error switch
    {
        TcpError.ConnectionReset => "ECONNRESET",
        TcpError.ConnectionRefused => "ECONNREFUSED",
        TcpError.TimedOut => "ETIMEDOUT",
        TcpError.HostUnreachable => "EHOSTUNREACH",
        _ => "ECONNABORTED",
    };
}
