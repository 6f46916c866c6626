using System.Buffers.Binary;
using System.Runtime.InteropServices;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Nic;
using static ZeroCopyDaemon.UnitTests.IpHost;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Stacks with both families, from frames to events.</summary>
public sealed class NetStackIpv6Tests
{
    [Theory]
    [InlineData(Placement.Split, true, true, 1500)]
    [InlineData(Placement.Split, false, false, 1500)]
    [InlineData(Placement.None, true, false, 9000)]
    [InlineData(Placement.Packed, false, true, 1280)]
    [InlineData(Placement.Merge, true, true, 1500)]
    public void Streams_go_both_ways_over_a_wire_that_loses_frames(Placement placement, bool offload, bool timestamps, int mtu)
    {
        const long Bytes = 300_000;
        using var pair = new TcpPair(
            tcp => tcp with { Timestamps = timestamps }, nic => nic with { Placement = placement, RxChecksumOffload = offload, TxChecksumOffload = offload, Mtu = mtu }, ipv6: true);
        (TcpConnection client, TcpConnection server) = pair.Connect();
        Assert.Equal((IpAddress.Parse("fd00::1"), IpAddress.Parse("fd00::2")), (server.Remote.Address, client.Remote.Address));
        Assert.Equal(mtu - 60 - (timestamps ? 12 : 0), client.GetInfo(pair.NowUs).Mss);
        pair.Impair = (number, frame) => number % 50 == 17 ? -1 : number % 40 == 3 ? 3_000 : 0;
        using var left = new TcpTransfer(pair, pair.Left, client, Bytes, seed: 1, peerSeed: 2);
        using var right = new TcpTransfer(pair, pair.Right, server, Bytes, seed: 2, peerSeed: 1);
        Assert.True(pair.RunUntil(() => left.Closed && right.Closed));
        Assert.Equal((Bytes, Bytes), (left.Received, right.Received));
        Assert.True(pair.Lost > 0);
        pair.AssertClean();
    }

    [Fact]
    public void A_listener_for_any_address_takes_both_families_and_one_for_any_IPv4_address_only_that()
    {
        using Bench bench = new();
        bench.Stack.Listen(new IpEndpoint(IpAddress.Any, 80), 4);
        bench.Stack.Listen(new IpEndpoint(IpAddress.FromV4(0), 81), 4);
        bench.Stack.Listen(new IpEndpoint(Ip6.Local, 82), 4);
        Assert.Equal((TcpFlags.Syn | TcpFlags.Ack, 1440), bench.Open6(80, sourcePort: 1));
        Assert.Equal((TcpFlags.Syn | TcpFlags.Ack, 1460), bench.Open4(80, sourcePort: 1));
        Assert.Equal((TcpFlags.Rst | TcpFlags.Ack, 0), bench.Open6(81, sourcePort: 2));
        Assert.Equal((TcpFlags.Syn | TcpFlags.Ack, 1460), bench.Open4(81, sourcePort: 2));
        Assert.Equal((TcpFlags.Syn | TcpFlags.Ack, 1440), bench.Open6(82, sourcePort: 3));
        Assert.Equal((TcpFlags.Rst | TcpFlags.Ack, 0), bench.Open4(82, sourcePort: 3));

        // And for each of our addresses.
        Assert.Equal((TcpFlags.Syn | TcpFlags.Ack, 1440), bench.Open6(80, sourcePort: 4, Ip6.PeerLinkLocal, Ip6.LinkLocal));
        Assert.Equal((TcpFlags.Rst | TcpFlags.Ack, 0), bench.Open6(82, sourcePort: 4, Ip6.PeerLinkLocal, Ip6.LinkLocal));
    }

    [Theory]
    [InlineData(new byte[0], 1220)]
    [InlineData(new byte[] { 2, 4, 4, 0 }, 1024)]
    [InlineData(new byte[] { 2, 4, 0x23, 0 }, 1440)]
    public void Segments_are_as_long_as_the_peer_says_or_as_IPv6_lets_one_assume(byte[] options, int expected)
    {
        using Bench bench = new();
        byte[][] segments = bench.Send(options, 4000);
        Assert.Equal(expected, segments[0].Length - 74);
        Assert.Equal(4000, segments.Sum(segment => segment.Length - 74));
    }

    [Fact]
    public void A_packet_too_big_about_data_in_flight_makes_shorter_segments_and_a_forged_one_does_not()
    {
        using Bench bench = new();
        byte[][] segments = bench.Send([2, 4, 0x23, 0], 3000);
        Assert.Equal([1440, 1440, 120], segments.Select(segment => segment.Length - 74));
        bench.TooBig(segments[0], mtu: 1300, sequenceShift: 100_000);
        bench.Stack.Poll(10);
        Assert.Empty(bench.Device.TakeAll());
        bench.TooBig(segments[0], mtu: 1300, sequenceShift: 0);
        bench.Stack.Poll(20);
        segments = bench.Device.TakeAll();
        Assert.Equal(1240, segments[0].Length - 74);
        Assert.All(segments, segment => Assert.InRange(segment.Length, 75, 14 + 1300));
        Assert.All(segments, segment => Ip6.AssertChecksum(segment));
    }

    [Fact]
    public void A_connection_to_an_IPv6_address_has_an_IPv6_source_and_its_SYN_is_told_of_an_unreachable_port()
    {
        using Bench bench = new();
        TcpConnection connection = bench.Stack.Connect(default, new IpEndpoint(Ip6.Far, 443), 0)!;
        Assert.Equal(Ip6.Local, connection.Local.Address);
        bench.Stack.Poll(0);
        byte[] syn = Assert.Single(bench.Device.TakeAll());
        Ip6.AssertChecksum(syn);
        Assert.Equal(PeerMac, EthernetAddress.Read(syn));
        byte[] error = Ip6.Icmp(Icmpv6Type.DestinationUnreachable, Icmpv6Code.PortUnreachable, 0, syn.AsSpan(14), Ip6.Gateway);
        bench.Receive(Ip6.Frame(IpProtocol.Icmpv6, error, Ip6.Gateway));
        Assert.True(bench.Stack.TryTakeEvent(out _, out TcpEvents events));
        Assert.Equal((TcpEvents.Failed | TcpEvents.Closed, TcpError.ConnectionRefused), (events, connection.Error));

        TcpConnection near = bench.Stack.Connect(default, new IpEndpoint(Ip6.PeerLinkLocal, 443), 0)!;
        Assert.Equal(Ip6.LinkLocal, near.Local.Address);
    }

    [Fact]
    public void Without_IPv6_a_connection_to_an_IPv6_address_fails_and_so_does_one_between_the_families()
    {
        using Bench bench = new(ipv6: false);
        TcpConnection connection = bench.Stack.Connect(default, new IpEndpoint(Ip6.Peer, 443), 0)!;
        bench.Stack.Poll(0);
        Assert.Equal(TcpError.HostUnreachable, connection.Error);
        connection = bench.Stack.Connect(new IpEndpoint(Local, 0), new IpEndpoint(Ip6.Peer, 443), 0)!;
        bench.Stack.Poll(0);
        Assert.Equal(TcpError.HostUnreachable, connection.Error);
        Assert.Equal(IpAddress.Any, bench.Stack.LinkLocalAddress);
    }

    [Fact]
    public void A_neighbour_that_does_not_answer_fails_the_connection_attempt()
    {
        using Bench bench = new();
        TcpConnection connection = bench.Stack.Connect(default, new IpEndpoint(IpAddress.Parse("fd00::77"), 443), 0)!;
        for (long nowUs = 0; nowUs <= 3_000_000; nowUs += 1_000_000)
        {
            bench.Stack.Poll(nowUs);
        }

        Assert.Equal(TcpError.HostUnreachable, connection.Error);
    }

    [Fact]
    public void Each_counter_has_one_name_and_conflicts_are_told_apart_by_family()
    {
        using Bench bench = new();
        var names = new NameList();
        bench.Stack.VisitCounters(names);
        Assert.Equal(names.Names.Distinct(), names.Names);
        Assert.Contains("ip6.InReceives", names.Names);
        Assert.Contains("ndisc.entries", names.Names);
        bench.Receive(Arp(ArpOperation.Request, PeerMac, Local, Peer));
        Assert.Equal((1, 0), (bench.Stack.AddressConflicts.Count, bench.Stack.AddressConflicts6.Count));
        Assert.Equal(Ip6.LinkLocal, bench.Stack.LinkLocalAddress);
        bench.Device.TakeAll();
        bench.Stack.Announce();
        Assert.Equal(3, bench.Device.TakeAll().Length);
    }

    private sealed class NameList : Memory.Counters.ICounterVisitor
    {
        public List<string> Names { get; } = [];

        public void Counter(string name, long value) => Names.Add(name);
    }

    /// <summary>A stack, and a peer that writes frames by hand.</summary>
    private sealed unsafe class Bench : IDisposable
    {
        private readonly NativePool _native = new();
        private readonly byte* _bytes = (byte*)NativeMemory.AllocZeroed(8192);

        public Bench(bool ipv6 = true)
        {
            var options = new NetStackOptions { Address = Local, EthernetAddress = LocalMac, Secret = 7 };
            Stack = new NetStack(ipv6 ? options with { Address6 = Ip6.Local, Gateway6 = Ip6.Gateway } : options, _native.Pool, Device);
            Receive(Arp(ArpOperation.Request, PeerMac, Peer, Local));
            foreach (IpAddress neighbor in new[] { Ip6.Peer, Ip6.PeerLinkLocal, Ip6.Gateway })
            {
                Receive(Ip6.Solicitation(neighbor, Ip6.Local));
                Receive(Ip6.Advertisement(neighbor, NeighborFlags.Solicited | NeighborFlags.Override, PeerMac));
            }

            Device.TakeAll();
        }

        public RecordingDevice Device { get; } = new();

        public NetStack Stack { get; }

        public void Receive(byte[] frame) => TestFrames.Receive(Stack, _native.Pool, frame, 0);

        public (TcpFlags Flags, int Mss) Open6(ushort port, ushort sourcePort, IpAddress? source = null, IpAddress? destination = null) => Open(
            Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp([], sourcePort, port, flags: TcpFlags.Syn, source: source, destination: destination), source, destination));

        public (TcpFlags Flags, int Mss) Open4(ushort port, ushort sourcePort) => Open(Ipv4(IpProtocol.Tcp, TcpBytes([], sourcePort, port, flags: TcpFlags.Syn)));

        /// <summary>Opens a connection with the given SYN options and sends so many bytes; returns the segments.</summary>
        public byte[][] Send(byte[] options, int bytes)
        {
            Stack.Listen(new IpEndpoint(IpAddress.Any, 80), 4);
            Receive(Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp([], seq: 99, flags: TcpFlags.Syn, options: options)));
            Stack.Poll(0);
            uint ours = BinaryPrimitives.ReadUInt32BigEndian(Device.TakeOne().AsSpan(54 + 4)) + 1;
            Receive(Ip6.Frame(IpProtocol.Tcp, Ip6.Tcp([], seq: 100, ack: ours)));
            Assert.True(Stack.TryTakeEvent(out TcpConnection connection, out _));
            Assert.True(connection.TrySend(new SendItem(_bytes, bytes, tag: 0)));
            Stack.Poll(0);
            return Device.TakeAll();
        }

        public void TooBig(byte[] segment, uint mtu, uint sequenceShift)
        {
            byte[] quote = segment[14..];
            BinaryPrimitives.WriteUInt32BigEndian(quote.AsSpan(44), BinaryPrimitives.ReadUInt32BigEndian(quote.AsSpan(44)) + sequenceShift);
            byte[] message = Ip6.Icmp(Icmpv6Type.PacketTooBig, 0, mtu, quote.AsSpan(0, Math.Min(quote.Length, 1232)), Ip6.Gateway);
            Receive(Ip6.Frame(IpProtocol.Icmpv6, message, Ip6.Gateway));
        }

        public void Dispose()
        {
            NativeMemory.Free(_bytes);
            _native.Dispose();
        }

        private (TcpFlags Flags, int Mss) Open(byte[] syn)
        {
            Receive(syn);
            Stack.Poll(0);
            byte[] answer = Device.TakeOne();
            FrameDissection found = HeaderDissector.Dissect(answer);
            Assert.True(TcpView.TryParse(answer.AsSpan(found.L4Offset), out TcpView tcp));
            return (tcp.Flags, TcpOptionReader.Parse(tcp.Options).Mss);
        }
    }
}
