using System.Buffers.Binary;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Ip;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>An IP layer with real pages, a recording device below and a recording TCP above, and one peer's way to write frames.</summary>
internal sealed class IpHost : IDisposable
{
    public static readonly IpAddress Local = IpAddress.Parse("10.0.0.1"), Peer = IpAddress.Parse("10.0.0.2"), Gateway = IpAddress.Parse("10.0.0.254");
    public static readonly EthernetAddress LocalMac = new(0x0200_0000_0001), PeerMac = new(0x0200_0000_0002);
    private readonly NativePool _native;

    public IpHost(Func<NetStackOptions, NetStackOptions>? configure = null, int pages = 512, int pageSize = 4096)
    {
        _native = new NativePool(pages, pageSize);
        var options = new NetStackOptions { Address = Local, EthernetAddress = LocalMac, Gateway = Gateway, Secret = 1 };
        options = configure?.Invoke(options) ?? options;
        Ip = new IpLayer(options, _native.Pool, Device, Drops);
        Tcp = new RecordingTcp(_native.Pool);
        Ip.Tcp = Tcp;
    }

    public PagePool Pool => _native.Pool;

    public RecordingDevice Device { get; } = new();

    public DropCounters Drops { get; } = new();

    public IpLayer Ip { get; }

    public RecordingTcp Tcp { get; }

    public long NowUs { get; set; }

    public void Receive(byte[] frame, RxChecksum checksum = RxChecksum.None) => TestFrames.Receive(Ip, Pool, frame, NowUs, checksum);

    /// <summary>Makes the peer known without a trace on the device.</summary>
    public IpHost KnowPeer()
    {
        Receive(Arp(ArpOperation.Request, PeerMac, Peer, Local));
        Device.TakeAll();
        return this;
    }

    /// <summary>The reason of the one drop since <paramref name="action"/> began.</summary>
    public DropReason DropOf(Action action)
    {
        long[] before = Enum.GetValues<DropReason>().Select(reason => Drops[reason]).ToArray();
        action();
        return Assert.Single(Enum.GetValues<DropReason>(), reason => Drops[reason] == before[(int)reason] + 1);
    }

    public long Counter(string name)
    {
        var visitor = new CounterTable();
        Ip.VisitCounters(visitor);
        return visitor.Values[name];
    }

    /// <summary>Nothing is left behind: every page is free and every frame accounted for.</summary>
    public void AssertClean()
    {
        Pool.CheckInvariants();
        Assert.Equal(0, Pool.FragmentsInUse);
        Assert.Equal(Pool.Geometry.PageCount, Pool.FreePages);
        AssertAccounted();
    }

    public void AssertAccounted() =>
        Assert.Equal(Ip.Counters.Frames, Drops.Total + Ip.Counters.FramesDelivered + Ip.Reassembly.HeldFrames + (Ip.Ipv6?.Reassembly.HeldFrames ?? 0));

    public static byte[] Arp(ArpOperation operation, EthernetAddress senderMac, IpAddress sender, IpAddress target, EthernetAddress? destination = null)
    {
        byte[] frame = new byte[60];
        EthernetHeader.Write(frame, destination ?? EthernetAddress.Broadcast, senderMac, EtherType.Arp);
        ArpPacket.Write(frame.AsSpan(14), operation, senderMac, sender, operation == ArpOperation.Reply ? LocalMac : default, target);
        return frame;
    }

    /// <summary>A frame from the peer with an IPv4 datagram (or a fragment of one).</summary>
    public static byte[] Ipv4(
        IpProtocol protocol, ReadOnlySpan<byte> payload, IpAddress? source = null, IpAddress? destination = null, ushort id = 7, int offset = 0, bool more = false,
        byte[]? options = null, EthernetAddress? destinationMac = null)
    {
        options ??= [];
        int headerLength = 20 + options.Length;
        byte[] frame = new byte[Math.Max(60, 14 + headerLength + payload.Length)];
        EthernetHeader.Write(frame, destinationMac ?? LocalMac, PeerMac, EtherType.Ipv4);
        ushort flags = (ushort)((offset / 8) | (more ? Ipv4Header.MoreFragments : 0));
        Ipv4Header.Write(frame.AsSpan(14), source ?? Peer, destination ?? Local, protocol, headerLength + payload.Length, id, flags);
        if (options.Length > 0)
        {
            frame[14] = (byte)(0x40 | (headerLength / 4));
            options.CopyTo(frame, 34);
        }

        payload.CopyTo(frame.AsSpan(14 + headerLength));
        FixIpChecksum(frame);
        return frame;
    }

    public static void FixIpChecksum(byte[] frame)
    {
        int headerLength = (frame[14] & 15) * 4;
        frame[24] = frame[25] = 0;
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(24), InternetChecksum.Compute(frame.AsSpan(14, headerLength)));
    }

    /// <summary>A whole TCP segment, checksum included.</summary>
    public static byte[] TcpBytes(
        ReadOnlySpan<byte> payload, ushort sourcePort = 1000, ushort destinationPort = 80, uint seq = 1, uint ack = 2, TcpFlags flags = TcpFlags.Ack, byte[]? options = null,
        IpAddress? source = null, IpAddress? destination = null)
    {
        options ??= [];
        byte[] bytes = new byte[20 + options.Length + payload.Length];
        TcpHeader.Write(bytes, sourcePort, destinationPort, new SeqNumber(seq), new SeqNumber(ack), flags, 4096, options);
        payload.CopyTo(bytes.AsSpan(20 + options.Length));
        ulong sum = InternetChecksum.PseudoHeader(source ?? Peer, destination ?? Local, IpProtocol.Tcp, bytes.Length);
        BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(16), InternetChecksum.Finish(InternetChecksum.Add(sum, bytes)));
        return bytes;
    }

    /// <summary>An ICMP message, checksum included.</summary>
    public static byte[] IcmpBytes(IcmpType type, byte code, uint rest, ReadOnlySpan<byte> body)
    {
        byte[] bytes = new byte[8 + body.Length];
        body.CopyTo(bytes.AsSpan(8));
        IcmpHeader.Write(bytes, type, code, rest, 0);
        BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(2), InternetChecksum.Compute(bytes));
        return bytes;
    }

    /// <summary>Bytes that tell their own place.</summary>
    public static byte[] Pattern(int length)
    {
        byte[] bytes = new byte[length];
        for (int i = 0; i < length; i++)
        {
            bytes[i] = (byte)((i * 31) ^ (i >> 8));
        }

        return bytes;
    }

    public void Dispose() => _native.Dispose();
}

/// <summary>Counters by name.</summary>
internal sealed class CounterTable : ICounterVisitor
{
    public Dictionary<string, long> Values { get; } = [];

    public void Counter(string name, long value) => Values[name] = Values.GetValueOrDefault(name) + value;
}

/// <summary>A received segment with its payload copied out.</summary>
internal sealed record RecordedSegment(IpEndpoint Source, IpEndpoint Destination, uint Seq, uint Ack, TcpFlags Flags, TcpSegmentOptions Options, byte[] Payload);

/// <summary>Stands for TCP: keeps what it is told, and releases payload.</summary>
internal sealed class RecordingTcp(PagePool pool) : ITcpInput
{
    public List<RecordedSegment> Segments { get; } = [];

    public List<IpAddress> Resolved { get; } = [];

    public List<IpAddress> Failed { get; } = [];

    public List<(IpEndpoint Local, IpEndpoint Remote, uint Seq, byte Type, byte Code, int Mtu)> Errors { get; } = [];

    public bool Keep { get; set; } = true;

    public void OnSegment(in TcpSegment segment, long nowUs)
    {
        Assert.Equal(segment.PayloadLength, FragmentChain.Length(pool, segment.Payload));
        for (int slot = segment.Payload; slot != PagePool.NoFragment; slot = pool[slot].Next)
        {
            Assert.Equal(FragmentState.Received, pool[slot].State);
            Assert.True(pool[slot].Length > 0);
        }

        if (Keep)
        {
            Segments.Add(new RecordedSegment(
                segment.Source, segment.Destination, segment.Seq.Value, segment.Ack.Value, segment.Flags, segment.Options, TestFrames.Bytes(pool, segment.Payload)));
        }

        pool.ReleaseChain(segment.Payload);
    }

    public void OnNeighborResolved(IpAddress nextHop, long nowUs) => Resolved.Add(nextHop);

    public void OnNeighborFailed(IpAddress nextHop, long nowUs) => Failed.Add(nextHop);

    public void OnIcmpError(IpEndpoint local, IpEndpoint remote, SeqNumber quotedSeq, byte type, byte code, int nextHopMtu, long nowUs) =>
        Errors.Add((local, remote, quotedSeq.Value, type, code, nextHopMtu));
}
