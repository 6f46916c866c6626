using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Sends every fragment back as it came, and ends its direction when the client has ended its own.</summary>
internal sealed class EchoApp : IKernelApp
{
    public long Echoed { get; private set; }

    public int Connections { get; private set; }

    public void OnEvents(GatewayKernel kernel, TcpConnection connection, TcpEvents events, long nowUs)
    {
        if ((events & TcpEvents.Accepted) != 0)
        {
            connection.Owner = new Backlog();
            Connections++;
        }

        var backlog = (Backlog)connection.Owner!;
        while (connection.TryTakeSent(out _))
        {
        }

        if ((events & TcpEvents.Closed) != 0)
        {
            backlog.Fragments.Clear(kernel.Pool);
            return;
        }

        while (true)
        {
            while (backlog.Fragments.Head != PagePool.NoFragment && connection.SendItemsFree > 0)
            {
                int slot = backlog.Fragments.RemoveHead(kernel.Pool);
                Echoed += kernel.Pool[slot].Length;
                if (!connection.TrySend(new SendItem(kernel.Pool, slot, 0)))
                {
                    kernel.Pool.Release(slot);
                }
            }

            if (backlog.Fragments.Head != PagePool.NoFragment || connection.Receive(1 << 20, 32, out int head) == 0)
            {
                break;
            }

            for (int next; head != PagePool.NoFragment; head = next)
            {
                next = kernel.Pool[head].Next;
                backlog.Fragments.Append(kernel.Pool, head);
            }
        }

        if (connection is { PeerClosed: true, ReadableBytes: 0 } && backlog.Fragments.Head == PagePool.NoFragment)
        {
            connection.ShutdownSend();
        }
    }

    private sealed class Backlog
    {
        public FragmentQueue Fragments = FragmentQueue.Empty;
    }
}

/// <summary>Takes a single connection and leaves all else to the test; counts and keeps what it receives while <see cref="Reading"/>.</summary>
internal sealed unsafe class ManualApp : IKernelApp, IDisposable
{
    private readonly byte* _memory = (byte*)NativeMemory.AllocZeroed(Chunk);

    public const int Chunk = 64 << 10;

    public TcpConnection? Connection { get; private set; }

    public List<byte> Received { get; } = [];

    public bool Reading { get; set; } = true;

    public TcpEvents Seen { get; private set; }

    public TcpError Error { get; private set; }

    public long Sent { get; private set; }

    /// <summary>Bytes still to be sent, zeroes all of them.</summary>
    public long ToSend { get; set; }

    public bool ShutdownAfterSend { get; set; }

    public void OnEvents(GatewayKernel kernel, TcpConnection connection, TcpEvents events, long nowUs)
    {
        if ((events & TcpEvents.Accepted) != 0)
        {
            Assert.Null(Connection);
            Connection = connection;
        }

        Seen |= events;
        if ((events & TcpEvents.Failed) != 0)
        {
            Error = connection.Error;
        }

        Work(kernel);
        if ((events & TcpEvents.Closed) != 0)
        {
            Connection = null;
        }
    }

    public void Work(GatewayKernel kernel)
    {
        if (Connection is null)
        {
            return;
        }

        while (Connection.TryTakeSent(out SendItem item))
        {
            Sent += item.Length;
        }

        while (Reading && Connection.Receive(int.MaxValue, 16, out int head) > 0)
        {
            for (int slot = head; slot != PagePool.NoFragment; slot = kernel.Pool[slot].Next)
            {
                Received.AddRange(kernel.Pool.Payload(slot));
            }

            kernel.Pool.ReleaseChain(head);
        }

        while (ToSend > 0 && Connection.SendItemsFree > 0)
        {
            int length = (int)Math.Min(ToSend, Chunk);
            if (!Connection.TrySend(new SendItem(_memory, length, 0)))
            {
                break;
            }

            ToSend -= length;
        }

        if (ToSend == 0 && ShutdownAfterSend)
        {
            Connection.ShutdownSend();
        }
    }

    public void Dispose() => NativeMemory.Free(_memory);
}
