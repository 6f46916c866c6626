using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Packetdrill.Language;
using ZeroCopyDaemon.Packetdrill.Packets;

namespace ZeroCopyDaemon.Packetdrill.Sockets;

/// <summary>Reading, writing and waiting.</summary>
internal sealed partial class SystemCalls
{
    /// <summary><c>read(fd, ..., n)</c>, <c>recv(fd, ..., n, flags)</c>.</summary>
    private CallAttempt Receive(TestSocket socket, CallArguments arguments) => ReceiveBytes(socket, arguments.Number(2), arguments.NumberOr(3, 0));

    private CallAttempt ReceiveMessage(TestSocket socket, CallArguments arguments) =>
        arguments[1] is StructExpression message && message["msg_iov"] is { } vector
            ? ReceiveBytes(socket, arguments.VectorBytes(vector), arguments.NumberOr(2, 0))
            : throw ScriptException.Unsupported(arguments.Line, "recvmsg without msg_iov");

    private CallAttempt ReceiveBytes(TestSocket socket, long most, long flags)
    {
        bool peek = (flags & Constants.MsgPeek) != 0;
        long wanted = (flags & Constants.MsgWaitAll) != 0 && !peek ? most : Math.Min(most, 1);
        return () =>
        {
            if (socket.ReadableBytes >= Math.Max(1, wanted) || (socket.ReadableBytes > 0 && socket.PeerClosed))
            {
                return peek ? new CallResult(Math.Min(most, socket.ReadableBytes)) : Take(socket, most);
            }

            if (socket.TakeError() is { } error)
            {
                return CallResult.Fail(error);
            }

            if (socket.Connection is null || (!socket.IsConnected && !socket.IsOver && !socket.NonBlocking && (flags & Constants.MsgDontWait) == 0 && socket.Connection.State == Net.Tcp.TcpState.SynSent))
            {
                return CallResult.Fail("ENOTCONN");
            }

            if (socket.PeerClosed || socket.ReadShut || socket.IsOver)
            {
                return new CallResult(0);
            }

            return socket.NonBlocking || (flags & Constants.MsgDontWait) != 0 ? CallResult.Fail("EAGAIN") : null;
        };
    }

    private CallResult Take(TestSocket socket, long most)
    {
        long taken = 0;
        string? problem = null;
        while (taken < most && socket.ReadableBytes > 0 && socket.Connection!.Receive((int)(most - taken), int.MaxValue, out int slot) > 0)
        {
            while (slot != PagePool.NoFragment)
            {
                int next = host.Pool[slot].Next;
                foreach (byte value in host.Pool.Payload(slot))
                {
                    if (value != PayloadPattern.At((uint)socket.Read))
                    {
                        problem ??= $"byte {socket.Read} of the stream is not what the peer sent there";
                    }

                    socket.Read++;
                    taken++;
                }

                host.Pool.Release(slot);
                slot = next;
            }
        }

        return new CallResult(taken, Problem: problem);
    }

    /// <summary><c>write(fd, ..., n)</c>, <c>send(fd, ..., n, flags)</c>.</summary>
    private CallAttempt Send(TestSocket socket, CallArguments arguments) => SendBytes(socket, arguments.Number(2), arguments.NumberOr(3, 0));

    private CallAttempt SendMessage(TestSocket socket, CallArguments arguments) =>
        arguments[1] is StructExpression message && message["msg_iov"] is { } vector
            ? SendBytes(socket, arguments.VectorBytes(vector), arguments.NumberOr(2, 0))
            : throw ScriptException.Unsupported(arguments.Line, "sendmsg without msg_iov");

    private CallAttempt SendBytes(TestSocket socket, long length, long flags)
    {
        long sent = 0;
        bool waits = !socket.NonBlocking && (flags & Constants.MsgDontWait) == 0;
        return () =>
        {
            if (socket.TakeError() is { } error)
            {
                return sent > 0 ? new CallResult(sent) : CallResult.Fail(error);
            }

            if (socket.Connection is null)
            {
                return CallResult.Fail("ENOTCONN");
            }

            if (socket.WriteShut || socket.IsOver)
            {
                return sent > 0 ? new CallResult(sent) : CallResult.Fail("EPIPE");
            }

            if (!socket.IsConnected)
            {
                return waits ? null : CallResult.Fail("EAGAIN");
            }

            while (sent < length)
            {
                long room = Math.Min(length - sent, socket.SendBuffer - socket.Unsent);
                if (room <= 0 || !sockets.Send(socket, (int)room, (flags & Constants.MsgMore) != 0 || socket.Options.GetValueOrDefault("TCP_CORK") != 0))
                {
                    break;
                }

                sent += room;
            }

            return sent == length || (!waits && sent > 0) ? new CallResult(sent) : waits ? null : CallResult.Fail("EAGAIN");
        };
    }

    /// <summary><c>poll([{fd=3, events=POLLIN, revents=POLLIN}], 1, timeout)</c>.</summary>
    private CallAttempt Poll(CallArguments arguments)
    {
        if (arguments[0] is not ListExpression list)
        {
            throw new ScriptException(arguments.Line, "syntax: poll takes a list of {fd, events, revents}");
        }

        long timeoutMs = arguments.Number(2);
        long deadline = timeoutMs < 0 ? long.MaxValue : host.NowUs + (timeoutMs * 1000);
        return () =>
        {
            int ready = 0;
            string? problem = null;
            foreach (Expression item in list.Items)
            {
                if (item is not StructExpression entry)
                {
                    throw new ScriptException(arguments.Line, "syntax: poll takes a list of {fd, events, revents}");
                }

                long events = arguments.Evaluate(entry["events"] ?? new NumberExpression(0));
                long found = sockets.TryGet((int)arguments.Evaluate(entry["fd"] ?? new NumberExpression(-1)), out TestSocket socket)
                    ? Ready(socket) & (events | Constants.PollErr | Constants.PollHup)
                    : 32;
                ready += found != 0 ? 1 : 0;
                long expected = entry["revents"] is null or AnyExpression ? found : arguments.Evaluate(entry["revents"]!);
                problem ??= expected == found ? null : $"revents of descriptor {socket?.Fd} are 0x{found:x}, expected 0x{expected:x}";
            }

            return ready > 0 || host.NowUs >= deadline ? new CallResult(ready, Problem: problem) : null;
        };
    }

    private static long Ready(TestSocket socket)
    {
        if (socket.Listener is not null)
        {
            return socket.AcceptQueue.Count > 0 ? Constants.PollIn : 0;
        }

        long ready = 0;
        bool over = socket.IsOver || socket.Connection is null;
        if (socket.ReadableBytes > 0 || socket.PeerClosed || over || socket.ReadShut)
        {
            ready |= Constants.PollIn;
        }

        if (over || (socket.IsConnected && socket.SendBuffer > socket.Unsent))
        {
            ready |= Constants.PollOut;
        }

        ready |= socket.PendingError is not null ? Constants.PollErr : 0;
        ready |= socket.PeerClosed || over ? Constants.PollReadHup : 0;
        return ready | (over || (socket.PeerClosed && socket.WriteShut) ? Constants.PollHup : 0);
    }
}
