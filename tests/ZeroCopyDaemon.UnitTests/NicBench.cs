using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>A frame as the driver handed it up, copied out.</summary>
internal sealed record ReceivedFrame(byte[] Headers, byte[] Payload, RxChecksum Checksum, uint RssHash, (int Page, int Offset, int Length)[] Fragments)
{
    public byte[] Bytes => [.. Headers, .. Payload];
}

/// <summary>A NIC with its driver and a pool on the test's bench: frames are fed in as arrays, and what comes up is recorded.</summary>
internal sealed unsafe class NicBench : IFrameReceiver, IDisposable
{
    private byte* _memory;

    public NicBench(NicOptions options, int pages = 256, int pageSize = 4096, int headroom = 0, int fragments = 0)
    {
        var geometry = new PoolGeometry(pageSize, pages, headroom);
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)geometry.TotalBytes, 4096);
        Pool = new PagePool(_memory, geometry, fragments == 0 ? options.FragmentCapacity(geometry) : fragments);
        Nic = new NicModel(options, geometry);
        Driver = new NicDriver(Nic, Pool);
    }

    /// <summary>Small rings and interrupts at once: what most tests want.</summary>
    public static NicOptions Small(Placement placement = Placement.Split) =>
        new() { Placement = placement, RxRingSize = 64, TxRingSize = 16, RxUsecs = 0, RxFrames = 0 };

    public PagePool Pool { get; }

    public NicModel Nic { get; }

    public NicDriver Driver { get; }

    public List<ReceivedFrame> Received { get; } = [];

    /// <summary>Keep the payload chains that come up instead of releasing them at once.</summary>
    public bool Hold { get; set; }

    public List<int> Held { get; } = [];

    /// <summary>Is called during each <see cref="IFrameReceiver.Receive"/>.</summary>
    public Action? OnReceive { get; set; }

    /// <summary>Puts a frame on the wire: its first <paramref name="headerBytes"/> bytes as headers, the rest in chunks cut as given, the last one taking what is left.</summary>
    public bool Feed(byte[] frame, int headerBytes = NicFrames.TcpHeaders, int[]? cuts = null, long nowUs = 0)
    {
        headerBytes = Math.Min(headerBytes, frame.Length);
        cuts ??= [];
        Span<TxChunk> chunks = stackalloc TxChunk[cuts.Length + 1];
        fixed (byte* bytes = frame)
        {
            int count = 0;
            int at = headerBytes;
            foreach (int cut in cuts)
            {
                int length = Math.Min(cut, frame.Length - at);
                chunks[count++] = new TxChunk(bytes + at, length);
                at += length;
            }

            chunks[count++] = new TxChunk(bytes + at, frame.Length - at);
            return Nic.ReceiveFromWire(new TxFrame(frame.AsSpan(0, headerBytes), chunks[..count], frame.Length - headerBytes), nowUs);
        }
    }

    public int Poll(long nowUs = 0, int budget = 64) => Driver.Poll(nowUs, budget, this);

    /// <summary>Feeds a frame, polls, and returns what came up.</summary>
    public ReceivedFrame Pass(byte[] frame, int headerBytes = NicFrames.TcpHeaders, int[]? cuts = null)
    {
        Assert.True(Feed(frame, headerBytes, cuts));
        Assert.Equal(1, Poll());
        return Received[^1];
    }

    public void Receive(in RxFrame frame, long nowUs)
    {
        var payload = new List<byte>();
        var fragments = new List<(int, int, int)>();
        for (int slot = frame.Payload; slot != PagePool.NoFragment; slot = Pool[slot].Next)
        {
            Assert.Equal(FragmentState.Received, Pool[slot].State);
            payload.AddRange(Pool.Payload(slot));
            fragments.Add((Pool[slot].Page, Pool[slot].Offset, Pool[slot].Length));
        }

        Assert.Equal(frame.PayloadLength, payload.Count);
        OnReceive?.Invoke();
        Received.Add(new ReceivedFrame(frame.Headers.ToArray(), [.. payload], frame.Checksum, frame.RssHash, [.. fragments]));
        if (Hold)
        {
            if (frame.Payload != PagePool.NoFragment)
            {
                Held.Add(frame.Payload);
            }
        }
        else
        {
            Pool.ReleaseChain(frame.Payload);
        }
    }

    public void ReleaseHeld()
    {
        Held.ForEach(Pool.ReleaseChain);
        Held.Clear();
    }

    public long Counter(string name)
    {
        var counters = new CounterTable();
        Nic.VisitCounters(counters);
        Driver.VisitCounters(counters);
        return counters.Values[name];
    }

    public IReadOnlyDictionary<string, long> Counters()
    {
        var counters = new CounterTable();
        Nic.VisitCounters(counters);
        Driver.VisitCounters(counters);
        return counters.Values;
    }

    /// <summary>Nothing in the pool but what the rings hold.</summary>
    public void AssertOnlyPosted()
    {
        Pool.CheckInvariants();
        Assert.Equal(0, Pool.FragmentsInUse);
        Assert.Equal(0, Pool.PagesInUse);
        Assert.Equal(Nic.Options.RxRingSize * Nic.Options.RxQueues, Pool.PostedPages);
    }

    /// <summary>Ends the driver; every page that the test doesn't hold must be free then.</summary>
    public void Dispose()
    {
        ReleaseHeld();
        Driver.Dispose();
        Pool.CheckInvariants();
        Assert.Equal(Pool.Geometry.PageCount, Pool.FreePages);
        NativeMemory.AlignedFree(_memory);
        _memory = null;
    }

    private sealed class CounterTable : ICounterVisitor
    {
        public Dictionary<string, long> Values { get; } = [];

        public void Counter(string name, long value) => Values.Add(name, value);
    }
}
