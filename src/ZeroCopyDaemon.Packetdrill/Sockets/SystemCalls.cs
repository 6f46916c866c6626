using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Packetdrill.Environment;
using ZeroCopyDaemon.Packetdrill.Language;
using ZeroCopyDaemon.Packetdrill.Runtime;

namespace ZeroCopyDaemon.Packetdrill.Sockets;

/// <summary>The BSD socket calls over the stack under test: making and ending sockets. Calls that move data, and options, are in the other parts.</summary>
internal sealed partial class SystemCalls(StackHost host, SocketTable sockets, Settings settings, ScriptOptions options)
{
    /// <summary>Called when a socket connects: whose packets come next.</summary>
    public Action<TestSocket>? OnConnect { get; set; }

    /// <summary>Called when a socket was made.</summary>
    public Action? OnSocket { get; set; }

    /// <summary>Makes ready to make a call. Throws <see cref="ScriptException"/> for one that is not known.</summary>
    public CallAttempt Prepare(CallEvent call)
    {
        var arguments = new CallArguments(call);
        if (call.Name == "socket")
        {
            return () => Socket(call, arguments);
        }

        CallMaker? maker = call.Name switch
        {
            "bind" => Bind,
            "listen" => Listen,
            "accept" or "accept4" => (socket, a) => Accept(socket, a, call),
            "connect" => Connect,
            "close" => Close,
            "shutdown" => Shutdown,
            "read" or "recv" or "recvfrom" => Receive,
            "write" or "send" or "sendto" => Send,
            "readv" => (socket, a) => ReceiveBytes(socket, a.VectorBytes(a[1]), 0),
            "writev" => (socket, a) => SendBytes(socket, a.VectorBytes(a[1]), 0),
            "recvmsg" => ReceiveMessage,
            "sendmsg" => SendMessage,
            "fcntl" => FileControl,
            "ioctl" => InputOutputControl,
            "getsockopt" => GetOption,
            "setsockopt" => SetOption,
            _ => null,
        };
        if (maker is null)
        {
            return call.Name switch
            {
                "poll" => Poll(arguments),
                "usleep" or "sleep" => Sleep(call, arguments),
                _ => throw ScriptException.Unsupported(call.Line, $"the system call {call.Name}"),
            };
        }

        int fd = arguments.Fd(0);
        return !sockets.TryGet(fd, out TestSocket socket) ? (() => CallResult.Fail("EBADF")) : maker(socket, arguments);
    }

    private delegate CallAttempt CallMaker(TestSocket socket, CallArguments arguments);

    private static CallAttempt Now(CallResult result) => () => result;

    /// <summary>The script's own number, so that descriptors are what it says.</summary>
    private int ExpectedFd(CallEvent call) => call.Result.AsNumber is >= 0 and { } fd ? (int)fd : sockets.FreeFd();

    private CallResult? Socket(CallEvent call, CallArguments arguments)
    {
        long type = arguments.Number(1);
        long protocol = arguments.IsAny(2) ? 0 : arguments.Number(2);
        if ((type & 0xF) != 1 || protocol is not (0 or 6))
        {
            throw ScriptException.Unsupported(call.Line, "sockets of other protocols: the stack under test is TCP");
        }

        int fd = ExpectedFd(call);
        if (sockets.IsTaken(fd))
        {
            throw new ScriptException(call.Line, $"descriptor {fd} is open already");
        }

        TestSocket socket = sockets.Create(fd);
        socket.Flags |= type & Constants.ONonBlock;
        OnSocket?.Invoke();
        return new CallResult(fd);
    }

    private CallAttempt Bind(TestSocket socket, CallArguments arguments)
    {
        IpEndpoint local = arguments.Address(1) ?? new IpEndpoint(options.Local, options.BindPort);
        if (socket.Local.Port != 0)
        {
            return Now(CallResult.Fail("EINVAL"));
        }

        if (sockets.Open.Any(other => other.Listener is not null && other.Local.Port == local.Port) || (!local.Address.IsAny && local.Address != options.Local))
        {
            return Now(CallResult.Fail(local.Address.IsAny || local.Address == options.Local ? "EADDRINUSE" : "EADDRNOTAVAIL"));
        }

        socket.Local = new IpEndpoint(options.Local, local.Port == 0 ? options.BindPort : local.Port);
        return Now(new CallResult(0));
    }

    private CallAttempt Listen(TestSocket socket, CallArguments arguments)
    {
        int backlog = (int)arguments.NumberOr(1, 1);
        if (socket.Listener is not null)
        {
            return Now(new CallResult(0));
        }

        if (socket.Connection is not null)
        {
            return Now(CallResult.Fail("EINVAL"));
        }

        if (socket.Local.Port == 0)
        {
            socket.Local = new IpEndpoint(options.Local, options.BindPort);
        }

        // A backlog of one lets two wait, as everywhere.
        return () =>
        {
            socket.Listener = host.Stack.Listen(new IpEndpoint(IpAddress.Any, socket.Local.Port), Math.Clamp(backlog, 0, 4096) + 1);
            socket.Listener.Owner = socket;
            sockets.ApplyReceiveBuffer(socket);
            return new CallResult(0);
        };
    }

    private CallAttempt Accept(TestSocket socket, CallArguments arguments, CallEvent call)
    {
        if (socket.Listener is null)
        {
            return Now(CallResult.Fail("EINVAL"));
        }

        long flags = arguments.NumberOr(3, 0);
        return () =>
        {
            if (!socket.AcceptQueue.TryDequeue(out TestSocket? waiting))
            {
                return socket.NonBlocking ? CallResult.Fail("EAGAIN") : null;
            }

            int fd = ExpectedFd(call);
            if (sockets.IsTaken(fd))
            {
                throw new ScriptException(call.Line, $"descriptor {fd} is open already");
            }

            if (!waiting.IsOver)
            {
                socket.Listener.MarkAccepted(waiting.Connection!);
            }

            sockets.Adopt(waiting, fd);
            if (sockets.TryGet(fd, out TestSocket adopted))
            {
                adopted.Flags |= flags & Constants.ONonBlock;
            }

            return new CallResult(fd);
        };
    }

    private CallAttempt Connect(TestSocket socket, CallArguments arguments)
    {
        if (socket.Connection is not null)
        {
            return ConnectAgain(socket);
        }

        if (socket.Listener is not null)
        {
            return Now(CallResult.Fail("EOPNOTSUPP"));
        }

        IpEndpoint remote = arguments.Address(1) is { Port: not 0 } given ? given with { Address = given.Address.IsAny ? options.Remote : given.Address } : new IpEndpoint(options.Remote, options.ConnectPort);
        bool begun = false;
        return () =>
        {
            if (!begun)
            {
                begun = true;
                socket.Connection = host.Stack.Connect(new IpEndpoint(IpAddress.Any, socket.Local.Port), remote, host.NowUs);
                if (socket.Connection is null)
                {
                    return CallResult.Fail("EADDRNOTAVAIL");
                }

                socket.Connection.Owner = socket;
                socket.Local = socket.Connection.Local;
                sockets.ApplyReceiveBuffer(socket);
                ApplyOptions(socket);
                OnConnect?.Invoke(socket);
                if (socket.NonBlocking)
                {
                    return CallResult.Fail("EINPROGRESS");
                }
            }

            return socket.IsConnected ? new CallResult(0) : socket.TakeError() is { } error ? CallResult.Fail(error) : null;
        };
    }

    private static CallAttempt ConnectAgain(TestSocket socket)
    {
        if (socket.TakeError() is { } error)
        {
            return Now(CallResult.Fail(error));
        }

        // The first call after a connection was made in the background reports success, on Linux.
        return socket.IsConnected ? Now(CallResult.Fail("EISCONN")) : Now(CallResult.Fail(socket.IsOver ? "ECONNABORTED" : "EALREADY"));
    }

    private CallAttempt Close(TestSocket socket, CallArguments arguments)
    {
        _ = arguments;
        return () =>
        {
            sockets.Close(socket);
            return new CallResult(0);
        };
    }

    private CallAttempt Shutdown(TestSocket socket, CallArguments arguments)
    {
        long how = arguments.Number(1);
        return () =>
        {
            if (socket.Connection is null || (!socket.IsConnected && !socket.IsOver))
            {
                return CallResult.Fail("ENOTCONN");
            }

            socket.ReadShut |= how is 0 or 2;
            if (how is 1 or 2)
            {
                socket.WriteShut = true;
                if (socket.IsOver)
                {
                    return CallResult.Fail("ENOTCONN");
                }

                socket.Connection.ShutdownSend();
            }

            return new CallResult(0);
        };
    }

    private CallAttempt Sleep(CallEvent call, CallArguments arguments)
    {
        long until = host.NowUs + (arguments.Number(0) * (call.Name == "sleep" ? 1_000_000 : 1));
        return () => host.NowUs >= until ? new CallResult(0) : null;
    }
}
