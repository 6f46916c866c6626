using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.UnitTests.IpHost;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>The stack as a whole, from frames to events.</summary>
public sealed class NetStackIpTests
{
    [Fact]
    public unsafe void Two_stacks_find_each_other_and_a_stream_goes_through_even_in_IP_fragments()
    {
        const int Bytes = 100_000;
        using var serverPool = new NativePool();
        using var clientPool = new NativePool();
        var serverDevice = new RecordingDevice();
        var clientDevice = new RecordingDevice();
        var server = new NetStack(Options(Local, LocalMac), serverPool.Pool, serverDevice);
        var client = new NetStack(Options(Peer, PeerMac), clientPool.Pool, clientDevice);
        server.Listen(new IpEndpoint(Local, 80), 4);
        byte* sent = (byte*)NativeMemory.Alloc(Bytes);
        Pattern(Bytes).CopyTo(new Span<byte>(sent, Bytes));
        TcpConnection? connection = client.Connect(default, new IpEndpoint(Local, 80), 0);
        Assert.NotNull(connection);
        Assert.True(connection.TrySend(new SendItem(sent, Bytes, tag: 5)));
        connection.ShutdownSend();

        var received = new List<byte>();
        bool clientClosed = false, serverClosed = false;
        for (long nowUs = 0; nowUs < 20_000_000 && !(clientClosed && serverClosed); nowUs += 1000)
        {
            server.Poll(nowUs);
            client.Poll(nowUs);
            foreach (byte[] frame in clientDevice.TakeAll())
            {
                foreach (byte[] piece in Fragment(frame))
                {
                    TestFrames.Receive(server, serverPool.Pool, piece, nowUs);
                }
            }

            foreach (byte[] frame in serverDevice.TakeAll())
            {
                TestFrames.Receive(client, clientPool.Pool, frame, nowUs);
            }

            while (server.TryTakeEvent(out TcpConnection peer, out TcpEvents events))
            {
                serverClosed |= (events & TcpEvents.Closed) != 0;
                while ((events & TcpEvents.Failed) == 0 && peer.Receive(10_000, 16, out int head) > 0)
                {
                    received.AddRange(TestFrames.Bytes(serverPool.Pool, head));
                    serverPool.Pool.ReleaseChain(head);
                }

                if ((events & TcpEvents.PeerClosed) != 0)
                {
                    peer.Close(nowUs);
                }
            }

            while (client.TryTakeEvent(out TcpConnection own, out TcpEvents events))
            {
                Assert.Equal(TcpEvents.None, events & TcpEvents.Failed);
                clientClosed |= (events & TcpEvents.Closed) != 0;
                if ((events & TcpEvents.PeerClosed) != 0)
                {
                    own.Close(nowUs);
                }
            }
        }

        Assert.Equal(Pattern(Bytes), received);
        Assert.True(clientClosed && serverClosed);
        Assert.True(connection.TryTakeSent(out SendItem item));
        Assert.Equal(5u, item.Tag);
        Assert.Equal(1, client.TimeWaitCount);
        Assert.Equal(0, client.ConnectionCount + server.ConnectionCount);
        foreach (NativePool native in new[] { serverPool, clientPool })
        {
            native.Pool.CheckInvariants();
            Assert.Equal(native.Pool.Geometry.PageCount, native.Pool.FreePages);
        }

        var counters = new CounterTable();
        server.VisitCounters(counters);
        Assert.True(counters.Values["ip.ReasmOKs"] > 50);
        Assert.Equal(1, counters.Values["arp.OutReplies"]);
        Assert.Equal(0, server.Drops.Total);
        NativeMemory.Free(sent);
    }

    [Fact]
    public void An_echo_is_answered_out_of_the_page_it_came_in()
    {
        using var native = new NativePool();
        var device = new RecordingDevice { HoldCompletions = true };
        var stack = new NetStack(Options(Local, LocalMac), native.Pool, device);
        TestFrames.Receive(stack, native.Pool, Arp(ArpOperation.Request, PeerMac, Peer, Local), 0);
        device.TakeAll();
        TestFrames.Receive(stack, native.Pool, Ipv4(IpProtocol.Icmp, IcmpBytes(IcmpType.Echo, 0, 1, Pattern(1000))), 0);
        Assert.Equal(Pattern(1000), device.TakeOne().AsSpan(42));
        Assert.Equal(1000, stack.NextDeadlineUs);
        Assert.False(stack.HasPendingOutput);
        device.CompleteAll();
        stack.Poll(1000);
        Assert.Equal(native.Pool.Geometry.PageCount, native.Pool.FreePages);
        Assert.Equal(long.MaxValue, stack.NextDeadlineUs);
    }

    [Fact]
    public void What_a_peer_sent_beyond_its_own_end_is_released_when_the_end_comes_and_closing_stays_orderly()
    {
        using var native = new NativePool();
        var device = new RecordingDevice();
        var stack = new NetStack(Options(Local, LocalMac), native.Pool, device);
        stack.Listen(new IpEndpoint(Local, 80), 1);
        void Segment(uint seq, uint ack, TcpFlags flags, int length) =>
            TestFrames.Receive(stack, native.Pool, Ipv4(IpProtocol.Tcp, TcpBytes(Pattern(length), seq: seq, ack: ack, flags: flags)), 0);
        TestFrames.Receive(stack, native.Pool, Arp(ArpOperation.Request, PeerMac, Peer, Local), 0);
        Segment(99, 0, TcpFlags.Syn, 0);
        stack.Poll(0);
        Assert.True(TcpView.TryParse(device.TakeAll()[^1].AsSpan(34), out TcpView answer));
        Assert.Equal(TcpFlags.Syn | TcpFlags.Ack, answer.Flags);
        uint ours = answer.Seq.Value + 1;
        Segment(100, ours, TcpFlags.Ack, 0);
        Segment(200, ours, TcpFlags.Ack, 50);
        Assert.Equal(1, native.Pool.FragmentsInUse);
        Segment(100, ours, TcpFlags.Ack | TcpFlags.Fin, 0);
        Assert.Equal(0, native.Pool.FragmentsInUse);
        Assert.True(stack.TryTakeEvent(out TcpConnection connection, out TcpEvents events));
        Assert.Equal(TcpEvents.Accepted | TcpEvents.PeerClosed, events);
        device.TakeAll();
        connection.Close(0);
        stack.Poll(0);
        Assert.True(TcpView.TryParse(device.TakeOne().AsSpan(34), out answer));
        Assert.Equal(TcpFlags.Fin | TcpFlags.Ack, answer.Flags);
    }

    [Fact]
    public void The_stack_takes_its_pools_charges_and_names_each_counter_once()
    {
        using var native = new NativePool();
        var stack = new NetStack(Options(Local, LocalMac), native.Pool, new RecordingDevice());
        Assert.Same(stack, native.Pool.ChargeSink);
        var names = new NameList();
        stack.VisitCounters(names);
        Assert.Equal(names.Names.Distinct(), names.Names);
        Assert.Contains("drop.NO_SOCKET", names.Names);
        Assert.Contains("rx.csum_software_bytes", names.Names);
    }

    [Fact]
    public void Addresses_that_cannot_be_used_are_refused_with_a_word()
    {
        using var native = new NativePool();
        NetStackOptions good = Options(Local, LocalMac);
        foreach (NetStackOptions bad in new[]
        {
            good with { Address = IpAddress.Parse("::1") }, good with { Address = default }, good with { PrefixLength = 33 }, good with { PrefixLength = -1 },
            good with { EthernetAddress = EthernetAddress.Broadcast }, good with { OwnsWholePrefix = true }, good with { Gateway = IpAddress.Parse("fe80::1") },
        })
        {
            ArgumentException error = Assert.Throws<ArgumentException>(() => new NetStack(bad, native.Pool, new RecordingDevice()));
            Assert.NotEmpty(error.Message);
        }
    }

    private static NetStackOptions Options(IpAddress address, EthernetAddress mac) => new() { Address = address, EthernetAddress = mac, Gateway = Gateway, Secret = 42 };

    /// <summary>Cuts an IP datagram into fragments of 504 bytes, as a router on the way might without the DF bit.</summary>
    private static IEnumerable<byte[]> Fragment(byte[] frame)
    {
        const int Piece = 504;
        if (!HeaderDissector.Dissect(frame).IsIpv4 || frame.Length <= 34 + Piece)
        {
            yield return frame;
            yield break;
        }

        ushort id = (ushort)((frame[40] << 8) | frame[41]);
        for (int offset = 0; offset < frame.Length - 34; offset += Piece)
        {
            int length = Math.Min(Piece, frame.Length - 34 - offset);
            yield return Ipv4(IpProtocol.Tcp, frame.AsSpan(34 + offset, length), Peer, Local, id, offset, offset + length < frame.Length - 34);
        }
    }

    private sealed class NameList : ICounterVisitor
    {
        public List<string> Names { get; } = [];

        public void Counter(string name, long value) => Names.Add(name);
    }
}
