using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.UnitTests.IpHost;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>A million mutated frames against a whole stack with a listener, live connections and an application that reads, holds, writes, closes and aborts.</summary>
public sealed class NetStackIpFuzzTests
{
    private const int FramesPerSeed = 250_000;

    [Theory]
    [InlineData(1, false)]
    [InlineData(2, false)]
    [InlineData(9, false)]
    [InlineData(36, false)]
    [InlineData(3, true)]
    [InlineData(12, true)]
    public void A_stack_survives_whatever_comes_in_and_loses_no_page(int seed, bool ipv6)
    {
        using var run = new Run(seed, ipv6);
        for (int i = 0; i < FramesPerSeed; i++)
        {
            run.Step(i);
        }

        run.End();
    }

    private sealed unsafe class Run : IDisposable
    {
        private readonly NativePool _native = new(pages: 512);
        private readonly RecordingDevice _device = new();
        private readonly NetStack _stack;
        private readonly TcpListener _listener;
        private readonly FrameMutator _mutator;
        private readonly Random _random;
        private readonly Queue<int> _held = new();
        private readonly byte* _sendBytes = (byte*)NativeMemory.AllocZeroed(8192);
        private (uint Seq, uint Ack)? _live;
        private long _nowUs = 1_000_000;
        private int _accepted;
        private int _accepted6;

        public Run(int seed, bool ipv6)
        {
            _random = new Random(seed);
            _mutator = new FrameMutator(seed, ipv6);
            _stack = new NetStack(
                new NetStackOptions
                {
                    Address = Local,
                    EthernetAddress = LocalMac,
                    Gateway = Gateway,
                    Address6 = ipv6 ? Ip6.Local : default,
                    Gateway6 = ipv6 ? Ip6.Gateway : default,
                    Secret = (UInt128)(ulong)seed,
                    MaxNeighbors = 64,
                    MaxReassemblies = 16,
                    MaxReassemblyBytes = 40 * 4096,
                    Tcp = new TcpOptions { MaxConnections = 48, MaxTimeWait = 16, ReceiveQuotaBytes = 64 * 4096, MaxOutOfOrderFragments = 32 },
                },
                _native.Pool,
                _device);
            _stack.RootBudget.LimitBytes = 256 * 4096;
            _listener = _stack.Listen(new IpEndpoint(IpAddress.Any, 80), backlog: 8);
        }

        public void Step(int i)
        {
            _nowUs += i % 1000 == 999 ? 31_000_000 : _random.Next(2000);
            TestFrames.Receive(_stack, _native.Pool, _mutator.Next(_live), _nowUs, (RxChecksum)_random.Next(3));
            if (_random.Next(4) == 0 || _stack.NextDeadlineUs <= _nowUs)
            {
                _stack.Poll(_nowUs);
            }

            DrainEvents();
            Observe();
            if (i % 64 == 0)
            {
                _device.HoldCompletions = _random.Next(3) == 0;
                _device.Room = _random.Next(4) == 0 ? 0 : int.MaxValue;
                _device.CompleteAll();
                while (_held.Count > 0 && _random.Next(8) != 0)
                {
                    _native.Pool.Release(_held.Dequeue());
                }
            }

            Assert.True(_stack.ConnectionCount <= 48 && _stack.TimeWaitCount <= 16);
            if (i % 5000 == 0)
            {
                _native.Pool.CheckInvariants();
                AssertAccounted();
            }
        }

        public void End()
        {
            // The run reached what it is meant to test.
            var counters = Counters();
            Assert.True(_accepted > 20, $"{_accepted} accepted");
            foreach (string name in new[] { "tcp.InBytes", "tcp.OutBytes", "tcp.OutRsts", "tcp.TCPOFOQueue", "ip.ReasmOKs", "icmp.OutEchoReps", "arp.OutReplies" })
            {
                Assert.True(counters[name] > 10, name);
            }

            Assert.True(_stack.Options.Address6.IsAny || (_accepted6 > 10 && counters["ip6.ReasmOKs"] > 10 && counters["icmp6.OutEchoReplies"] > 10), $"{_accepted6} accepted over IPv6");

            _device.HoldCompletions = false;
            _device.Room = int.MaxValue;
            _listener.Close(_nowUs);
            foreach (TcpConnection connection in _stack.Connections.ToArray())
            {
                connection.Abort(_nowUs);
            }

            for (int i = 0; i < 400; i++)
            {
                _stack.Poll(_nowUs);
                DrainEvents();
                _nowUs += 1_000_000;
            }

            while (_held.Count > 0)
            {
                _native.Pool.Release(_held.Dequeue());
            }

            _native.Pool.CheckInvariants();
            Assert.Equal(0, _stack.ConnectionCount + _stack.TimeWaitCount);
            Assert.Equal("0 fragments in 0 pages in use", PoolLedger.Describe(_native.Pool).Trim());
            Assert.Equal(0, _stack.RootBudget.ChargedBytes);
            Assert.Equal(512, _native.Pool.FreePages);
        }

        /// <summary>Every frame was delivered to its protocol, is held by reassembly, or is counted by reason; TCP counts reasons of its own on top.</summary>
        private void AssertAccounted()
        {
            var counters = Counters();
            long left = counters["rx.frames"] - counters["rx.frames_delivered"] - counters["ip.reasm_held_frames"] - counters.GetValueOrDefault("ip6.reasm_held_frames");
            Assert.True(left >= 0 && left <= _stack.Drops.Total);
        }

        private Dictionary<string, long> Counters()
        {
            var table = new CounterTable();
            _stack.VisitCounters(table);
            return table.Values;
        }

        private void DrainEvents()
        {
            while (_stack.TryTakeEvent(out TcpConnection connection, out TcpEvents events))
            {
                if ((events & TcpEvents.Accepted) != 0)
                {
                    _accepted++;
                    _accepted6 += connection.Local.Address.IsV4 ? 0 : 1;
                    connection.Listener!.MarkAccepted(connection);
                }

                if ((events & (TcpEvents.Failed | TcpEvents.Closed)) == 0)
                {
                    Use(connection, events);
                }

                while (connection.TryTakeSent(out _))
                {
                }
            }
        }

        private void Use(TcpConnection connection, TcpEvents events)
        {
            if ((events & TcpEvents.Readable) != 0 && connection.Receive(_random.Next(1, 4000), 4, out int head) > 0)
            {
                for (int slot = head; slot != PagePool.NoFragment;)
                {
                    int next = _native.Pool[slot].Next;
                    if (_held.Count < 60 && _random.Next(2) == 0)
                    {
                        _held.Enqueue(slot);
                    }
                    else
                    {
                        _native.Pool.Release(slot);
                    }

                    slot = next;
                }
            }

            switch (_random.Next(12))
            {
                case 0:
                    connection.Close(_nowUs);
                    break;
                case 1:
                    connection.Abort(_nowUs);
                    break;
                case 2:
                    connection.ShutdownSend();
                    break;
                case < 8:
                    connection.TrySend(new SendItem(_sendBytes, _random.Next(1, 8192), tag: 1), more: _random.Next(4) == 0);
                    break;
            }
        }

        /// <summary>Looks at what the stack sent on the connection that the mutated segments belong to.</summary>
        private void Observe()
        {
            foreach (byte[] frame in _device.Frames)
            {
                FrameDissection dissection = HeaderDissector.Dissect(frame);
                if (dissection is { HasPorts: true, Protocol: IpProtocol.Tcp, SourcePort: 80, DestinationPort: 1000 })
                {
                    Assert.True(TcpView.TryParse(frame.AsSpan(dissection.L4Offset), out TcpView tcp));
                    Assert.True(InternetChecksum.IsValid(
                        frame.AsSpan(dissection.L4Offset),
                        InternetChecksum.PseudoHeader(dissection.Source, dissection.Destination, IpProtocol.Tcp, frame.Length - dissection.L4Offset)));
                    int length = frame.Length - dissection.HeaderLength + ((tcp.Flags & (TcpFlags.Syn | TcpFlags.Fin)) != 0 ? 1 : 0);
                    _live = (tcp.Flags & TcpFlags.Rst) != 0 ? null : (tcp.Ack.Value, tcp.Seq.Value + (uint)length);
                }
            }

            _device.TakeAll();
        }

        public void Dispose()
        {
            NativeMemory.Free(_sendBytes);
            _native.Dispose();
        }
    }
}
