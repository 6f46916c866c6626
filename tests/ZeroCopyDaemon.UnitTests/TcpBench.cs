using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Ip;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.Net.Tcp.TcpFlags;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>
/// TCP with real pages on a virtual clock, an IP layer and device below that record, and one peer that is played by the test: <see cref="Given"/> a segment, <see cref="Expect"/> these segments.
/// Sequence numbers are relative: 0 is the SYN, 1 the first byte, of either side. Payload of either side is a pattern by position, which is checked wherever it comes out.
/// </summary>
internal sealed unsafe class TcpBench : IIpOutput, IFrameDevice, IPageChargeSink, IDisposable
{
    public static readonly IpEndpoint Local = new(IpAddress.Parse("10.0.0.1"), 80), Peer = new(IpAddress.Parse("10.0.0.2"), 4000);
    private const int SendBytes = 1 << 21;
    private readonly NativePool _native;
    private readonly byte* _memory;
    private readonly Queue<SentSegment> _sent = new();
    private readonly Dictionary<TcpConnection, TcpEvents> _events = [];
    private readonly Dictionary<IpEndpoint, uint> _isses = [];
    private long _queued;
    private long _received;
    private long _completed;

    public TcpBench(Func<TcpOptions, TcpOptions>? configure = null, int pages = 1024, int pageSize = 4096, uint irs = 70_000, long budgetBytes = long.MaxValue, UInt128 secret = default)
    {
        _native = new NativePool(pages, pageSize);
        Irs = irs;
        var tcp = new TcpOptions { Timestamps = false, WindowScaling = false, Sack = false };
        Options = configure?.Invoke(tcp) ?? tcp;
        Root = new ReceiveBudget("pool", Math.Min(budgetBytes, _native.Pool.Geometry.TotalBytes));
        var options = new NetStackOptions { Address = Local.Address, Secret = secret == default ? 0x1234 : secret, Tcp = Options };
        Tcp = new TcpLayer(options, _native.Pool, this, this, Root, Drops);
        _native.Pool.ChargeSink = this;
        _memory = (byte*)NativeMemory.Alloc(SendBytes);
        for (int i = 0; i < SendBytes; i++)
        {
            _memory[i] = OurByte(i);
        }
    }

    public TcpOptions Options { get; }

    public TcpLayer Tcp { get; }

    public PagePool Pool => _native.Pool;

    public DropCounters Drops { get; } = new();

    public ReceiveBudget Root { get; }

    public long NowUs { get; set; } = 1_000_000;

    /// <summary>The peer's first sequence number.</summary>
    public uint Irs { get; set; }

    /// <summary>Our first sequence number: learned from our last segment with SYN to it.</summary>
    public uint Iss => _isses.GetValueOrDefault(Peer);

    public uint IssTowards(IpEndpoint remote) => _isses[remote];

    public TcpListener? Listener { get; private set; }

    /// <summary>The connection that was opened last.</summary>
    public TcpConnection Connection { get; private set; } = null!;

    /// <summary>True: segments given carry timestamps, from the peer's clock of 1 kHz, echoing our last one.</summary>
    public bool PeerTimestamps { get; set; }

    /// <summary>Added to the peer's timestamp clock.</summary>
    public uint PeerTimestampOffset { get; set; } = 5_000;

    public uint PeerTimestamp => (uint)(NowUs / 1000) + PeerTimestampOffset;

    /// <summary>The last timestamp that we sent.</summary>
    public uint OurTimestamp { get; private set; }

    /// <summary>What a segment given says of the peer's window, unscaled, unless told otherwise.</summary>
    public ushort PeerWindow { get; set; } = 65535;

    /// <summary>What IP answers: <see cref="IpSendResult.Sent"/> or a refusal.</summary>
    public IpSendResult Answer { get; set; } = IpSendResult.Sent;

    /// <summary>Frames that still fit on the ring.</summary>
    public int Room { get; set; } = int.MaxValue;

    /// <summary>False: frames stay on the ring until <see cref="Complete"/>.</summary>
    public bool CompletesAtOnce { get; set; } = true;

    /// <summary>False if the test sends other bytes than the pattern.</summary>
    public bool ChecksPayload { get; set; } = true;

    /// <summary>Puts a given segment's payload into pages; unless set, into pages of its own.</summary>
    public Func<byte[], int>? Lay { get; set; }

    /// <summary>False: counts only, for long runs.</summary>
    public bool Records { get; set; } = true;

    public int Mtu { get; set; } = 1500;

    public bool TxChecksumOffload => true;

    public int MaxTsoBytes { get; set; }

    public int MaxChunks { get; set; } = 18;

    public long TxPosted { get; private set; }

    public long TxCompleted => CompletesAtOnce ? TxPosted : _completed;

    public static byte PeerByte(long position) => (byte)((position * 31) ^ (position >> 8) ^ (position >> 16));

    public static byte OurByte(long position) => (byte)((position * 17) ^ (position >> 7) ^ 0x5A);

    public void Complete(long frames = long.MaxValue) => _completed = Math.Min(TxPosted, frames == long.MaxValue ? TxPosted : _completed + frames);

    /// <summary>A connection whose quota is one page: its window is 1000 bytes, and closed while it holds anything.</summary>
    public static TcpBench WithWindowOf1000() =>
        new TcpBench(tcp => tcp with { MaxReceiveWindow = 1000, ReceiveQuotaBytes = 2048 }, pageSize: 2048).Accept();

    // Opening.

    public TcpListener Listen(int backlog = 16, ReceiveBudget? budget = null) => Listener = Tcp.Listen(Local, backlog, budget);

    /// <summary>A passive open up to ESTABLISHED, accepted, nothing left to expect.</summary>
    public TcpBench Accept(int mss = 1000, sbyte scale = -1, ushort? window = null)
    {
        Listener ??= Listen();
        Given(Syn, 0, options: SynOptions(mss, scale, Options.Sack), window: window);
        Expect(Syn | Ack, 0, 1);
        Given(Ack, 1, 1, window: window);
        ExpectNothing();
        Assert.Equal(TcpEvents.Accepted, TakeEvents());
        Listener.MarkAccepted(Connection);
        return this;
    }

    /// <summary>An active open up to ESTABLISHED, nothing left to expect.</summary>
    public TcpBench Connect(int mss = 1000, sbyte scale = -1, ushort? window = null)
    {
        Open();
        Expect(Syn, 0);
        Given(Syn | Ack, 0, 1, options: SynOptions(mss, scale, Options.Sack), window: window);
        Expect(Ack, 1, 1);
        Assert.Equal(TcpEvents.Connected, TakeEvents());
        return this;
    }

    /// <summary>Begins an active open: SYN is sent.</summary>
    public TcpConnection Open()
    {
        Connection = Tcp.Connect(Local, Peer, NowUs, null)!;
        Poll();
        return Connection;
    }

    public static TcpSegmentOptions SynOptions(int mss = 1000, sbyte scale = -1, bool sack = false) => new() { Mss = (ushort)mss, WindowScale = scale, SackPermitted = sack };

    /// <summary>An acknowledgment from the peer with SACK blocks, in relative sequence numbers of ours; then our turn to send.</summary>
    public void GivenSack(long ack, params (long Left, long Right)[] blocks) => GivenSackOf(1, ack, 0, blocks);

    /// <summary>As <see cref="GivenSack"/>, with payload.</summary>
    public void GivenSackOf(long seq, long ack, int length, params (long Left, long Right)[] blocks) => Given(Ack, seq, ack, length, options: new TcpSegmentOptions { WindowScale = -1, Sack = Blocks(blocks) });

    private SackBlocks Blocks((long Left, long Right)[] blocks)
    {
        SackBlocks sack = default;
        foreach ((long left, long right) in blocks)
        {
            sack.Add(new SeqNumber(Iss + (uint)left), new SeqNumber(Iss + (uint)right));
        }

        return sack;
    }

    /// <summary>The SACK blocks of a segment that we sent, in relative sequence numbers of the peer.</summary>
    public (long Left, long Right)[] SackOf(SentSegment sent)
    {
        SackBlocks sack = sent.Options.Sack;
        return [.. Enumerable.Range(0, sack.Count).Select(i => ((long)(sack.Left(i).Value - Irs), (long)(sack.Right(i).Value - Irs)))];
    }

    // The peer's part.

    /// <summary>A segment from the peer, then our turn to send.</summary>
    public void Given(
        TcpFlags flags, long seq, long ack = 0, int length = 0, ushort? window = null, TcpSegmentOptions? options = null, byte? fill = null, uint? timestamp = null, IpEndpoint? from = null)
    {
        GivenOnly(flags, seq, ack, length, window, options, fill, timestamp, from);
        Poll();
    }

    /// <summary>A segment from the peer, without our turn to send: more come at once.</summary>
    public void GivenOnly(
        TcpFlags flags, long seq, long ack = 0, int length = 0, ushort? window = null, TcpSegmentOptions? options = null, byte? fill = null, uint? timestamp = null, IpEndpoint? from = null)
    {
        TcpSegmentOptions given = options ?? new TcpSegmentOptions { WindowScale = -1 };
        if (PeerTimestamps || timestamp is not null)
        {
            given = new TcpSegmentOptions
            {
                Mss = given.Mss, WindowScale = given.WindowScale, SackPermitted = given.SackPermitted, Sack = given.Sack, HasTimestamp = true, TimestampValue = timestamp ?? PeerTimestamp, TimestampEcho = (flags & Ack) != 0 ? OurTimestamp : 0,
            };
        }

        Tcp.OnSegment(
            new TcpSegment
            {
                Source = from ?? Peer,
                Destination = Local,
                Seq = new SeqNumber(Irs + (uint)seq),
                Ack = (flags & Ack) != 0 ? new SeqNumber(_isses.GetValueOrDefault(from ?? Peer) + (uint)ack) : default,
                Flags = flags,
                Window = window ?? PeerWindow,
                Options = given,
                Payload = Payload(seq, length, fill),
                PayloadLength = length,
            },
            NowUs);
    }

    /// <summary>So many full segments in order, each with its turn; whatever we answer is not looked at.</summary>
    public long GivenStream(long seq, int segments, int length = 1000, long ack = 1)
    {
        for (int i = 0; i < segments; i++, seq += length)
        {
            Given(Ack, seq, ack, length);
        }

        TakeSent();
        return seq;
    }

    // Our part.

    public void Poll()
    {
        Tcp.Poll(NowUs);
        Pool.CheckInvariants();
    }

    /// <summary>Time passes; every deadline on the way is kept.</summary>
    public void Advance(long microseconds)
    {
        long end = NowUs + microseconds;
        while (Tcp.NextDeadlineUs <= end)
        {
            NowUs = Math.Max(NowUs, Tcp.NextDeadlineUs);
            Poll();
        }

        NowUs = end;
        Poll();
    }

    public void AdvanceMs(long milliseconds) => Advance(milliseconds * 1000);

    /// <summary>Time passes up to the next segment that we send; returns how long that took.</summary>
    public long AdvanceToNextSegment(long atMostUs = 1000_000_000)
    {
        ExpectNothing();
        long start = NowUs;
        while (_sent.Count == 0)
        {
            Assert.True(Tcp.NextDeadlineUs - start <= atMostUs, "nothing was sent");
            NowUs = Math.Max(NowUs, Tcp.NextDeadlineUs);
            Poll();
        }

        return NowUs - start;
    }

    /// <summary>The application sends the next bytes of the pattern, in one item.</summary>
    public void Send(int length, bool more = false, bool poll = true)
    {
        Assert.True(Queue(length, more));
        if (poll)
        {
            Poll();
        }
    }

    public bool Queue(int length, bool more = false)
    {
        if (!Connection.TrySend(new SendItem(_memory + (_queued % SendBytes), length, tag: (uint)_queued, context: 7), more))
        {
            return false;
        }

        _queued += length;
        return true;
    }

    /// <summary>Takes back what was sent; returns the lengths.</summary>
    public int[] TakeSentItems()
    {
        var lengths = new List<int>();
        while (Connection.TryTakeSent(out SendItem item))
        {
            Assert.Equal(7u, item.Context);
            lengths.Add(item.Length);
        }

        return [.. lengths];
    }

    /// <summary>Receives and checks the bytes; returns the lengths of the fragments. They are released unless <paramref name="keep"/> collects them.</summary>
    public int[] Receive(int maxBytes = int.MaxValue, int maxFragments = int.MaxValue, List<int>? keep = null)
    {
        int taken = Connection.Receive(maxBytes, maxFragments, out int head);
        var lengths = new List<int>();
        for (int slot = head; slot != PagePool.NoFragment;)
        {
            int next = Pool[slot].Next;
            Assert.Equal((FragmentState.Queued, _received, Connection.Id), (Pool[slot].State, Pool[slot].StreamOffset, Pool[slot].Connection));
            foreach (byte value in Pool.Payload(slot))
            {
                Assert.Equal(PeerByte(_received), value);
                _received++;
            }

            lengths.Add(Pool[slot].Length);
            if (keep is null)
            {
                Pool.Release(slot);
            }
            else
            {
                keep.Add(slot);
            }

            slot = next;
        }

        Assert.Equal(taken, lengths.Sum());
        return [.. lengths];
    }

    public void Release(List<int> kept)
    {
        kept.ForEach(Pool.Release);
        kept.Clear();
    }

    // What came of it.

    /// <summary>The oldest segment that we sent and that was not looked at yet. PSH is not compared.</summary>
    public SentSegment Expect(TcpFlags flags, long seq, long ack = 0, int length = 0)
    {
        Assert.True(_sent.Count > 0, $"expected {flags} seq {seq} ack {ack} length {length}, but nothing was sent");
        SentSegment sent = _sent.Dequeue();
        var expected = (flags, seq, (flags & Ack) != 0 ? ack : 0, length);
        Assert.Equal(expected, (sent.Flags & ~Psh, sent.Seq, sent.Ack, sent.Length));
        return sent;
    }

    public void ExpectNothing() => Assert.True(_sent.Count == 0, _sent.Count == 0 ? string.Empty : $"nothing more was expected, but {_sent.Peek()} was sent ({_sent.Count} in all)");

    /// <summary>All segments sent and not looked at yet.</summary>
    public SentSegment[] TakeSent()
    {
        SentSegment[] all = [.. _sent];
        _sent.Clear();
        return all;
    }

    /// <summary>The one event of <see cref="Connection"/> since the last call, flags of several calls together. A new connection becomes <see cref="Connection"/> by being accepted.</summary>
    public TcpEvents TakeEvents()
    {
        Collect();
        return Connection is not null && _events.Remove(Connection, out TcpEvents events) ? events : TcpEvents.None;
    }

    /// <summary>For a test that takes events itself.</summary>
    public void Adopt(TcpConnection connection) => Connection = connection;

    public TcpEvents TakeEventsOf(TcpConnection connection)
    {
        Collect();
        return _events.Remove(connection, out TcpEvents events) ? events : TcpEvents.None;
    }

    /// <summary>Connections that were accepted since the last call.</summary>
    public TcpConnection[] TakeAccepted()
    {
        Collect();
        TcpConnection[] accepted = [.. _events.Where(pair => (pair.Value & TcpEvents.Accepted) != 0).Select(pair => pair.Key)];
        foreach (TcpConnection connection in accepted)
        {
            _events[connection] &= ~TcpEvents.Accepted;
        }

        return accepted;
    }

    /// <summary>Nothing is left: no page, no charge, no connection.</summary>
    public void AssertClean()
    {
        Collect();
        Pool.CheckInvariants();
        Assert.Equal((0, 0), (Tcp.ConnectionCount, Pool.FragmentsInUse));
        Assert.Equal(Pool.Geometry.PageCount, Pool.FreePages);
        Assert.Equal((0L, 0), (Root.ChargedBytes, Root.Connections));
        Assert.Equal((0, 0), (Listener?.HalfOpen ?? 0, Listener?.AcceptQueueLength ?? 0));
    }

    public void Dispose()
    {
        NativeMemory.Free(_memory);
        _native.Dispose();
    }

    // What TCP sees of the layers below.

    IpSendResult IIpOutput.SendTcp(in TcpHeaderToSend header, ReadOnlySpan<TxChunk> payload, int payloadLength, int mss, long nowUs)
    {
        if (Answer != IpSendResult.Sent)
        {
            return Answer;
        }

        if (Room == 0)
        {
            return IpSendResult.RingFull;
        }

        Room -= Room == int.MaxValue ? 0 : 1;
        TxPosted++;
        if (!Records)
        {
            return IpSendResult.Sent;
        }

        Assert.Equal(NowUs, nowUs);
        if ((header.Flags & Syn) != 0)
        {
            _isses[header.Destination] = header.Seq.Value;
        }

        TcpSegmentOptions options = Net.Packets.TcpOptionReader.Parse(header.Options);
        if (options.HasTimestamp)
        {
            OurTimestamp = options.TimestampValue;
        }

        uint seq = header.Seq.Value - _isses.GetValueOrDefault(header.Destination);
        byte[] bytes = Bytes(payload, payloadLength);
        Assert.True(payload.Length <= MaxChunks);
        Assert.True(payloadLength + header.Options.Length + 40 <= Mtu || (mss > 0 && payloadLength <= MaxTsoBytes && mss + header.Options.Length + 40 <= Mtu));
        for (int i = 0; ChecksPayload && i < bytes.Length; i++)
        {
            Assert.Equal(OurByte(seq - 1 + i), bytes[i]);
        }

        _sent.Enqueue(new SentSegment(
            header.Flags, seq > int.MaxValue ? (int)seq : seq, (header.Flags & Ack) != 0 ? (int)(header.Ack.Value - Irs) : 0, payloadLength, header.Window, mss, payload.Length, options, header.Destination));
        return IpSendResult.Sent;
    }

    bool IIpOutput.IsLocal(IpAddress address) => address == Local.Address;

    IpAddress IIpOutput.SourceFor(IpAddress remote) => Local.Address;

    bool IFrameDevice.TryTransmit(in TxFrame frame) => throw new InvalidOperationException("TCP sends by IP");

    void IPageChargeSink.Uncharge(int connection, int bytes) => Tcp.Uncharge(connection, bytes);

    private static byte[] Bytes(ReadOnlySpan<TxChunk> chunks, int length)
    {
        var bytes = new List<byte>(length);
        foreach (TxChunk chunk in chunks)
        {
            Assert.True(chunk.Length > 0);
            bytes.AddRange(chunk.Span);
        }

        Assert.Equal(length, bytes.Count);
        return [.. bytes];
    }

    private int Payload(long seq, int length, byte? fill)
    {
        if (length == 0)
        {
            return PagePool.NoFragment;
        }

        byte[] bytes = new byte[length];
        for (int i = 0; i < length; i++)
        {
            bytes[i] = fill ?? PeerByte(seq - 1 + i);
        }

        return Lay is null ? TestFrames.Chain(Pool, bytes) : Lay(bytes);
    }

    private void Collect()
    {
        while (Tcp.TryTakeEvent(out TcpConnection connection, out TcpEvents events))
        {
            Assert.NotEqual(TcpEvents.None, events);
            _events[connection] = _events.GetValueOrDefault(connection) | events;
            if ((events & TcpEvents.Accepted) != 0)
            {
                Connection = connection;
            }
        }
    }
}

/// <summary>A segment that TCP sent, with relative sequence numbers.</summary>
internal sealed record SentSegment(
    TcpFlags Flags, long Seq, long Ack, int Length, ushort Window, int Mss, int Chunks, TcpSegmentOptions Options, IpEndpoint To);
