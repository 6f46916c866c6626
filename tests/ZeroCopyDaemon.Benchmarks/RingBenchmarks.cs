using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading.Channels;
using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Configs;
using ZeroCopyDaemon.Memory.Mapping;
using ZeroCopyDaemon.Memory.Rings;

namespace ZeroCopyDaemon.Benchmarks;

/// <summary>
/// A descriptor ring against a bounded channel, one entry being a descriptor of 32 bytes. "Same thread": what the code alone costs. "Across cores": one thread writes, another reads, both spin;
/// the ring's halves are two mappings of two regions, as between two processes.
/// </summary>
[GroupBenchmarksBy(BenchmarkLogicalGroupRule.ByCategory, BenchmarkLogicalGroupRule.ByParams)]
[CategoriesColumn]
[MemoryDiagnoser]
public unsafe class RingBenchmarks
{
    private const int Capacity = 1024;
    private const int SameThreadEntries = 1024;
    private const int AcrossEntries = 1 << 18;
    private const int HeaderBytes = 4096;
    private const int AreaBytes = HeaderBytes + (Capacity * 32);
    private const int TailOffset = 0;
    private const int HeadOffset = 64;

    private readonly ManualResetEventSlim _go = new();
    private SharedRegion _producerArea = null!;
    private SharedRegion _consumerArea = null!;
    private SharedRegion _producerAreaSeenByConsumer = null!;
    private RingProducer<Entry> _producer = null!;
    private RingConsumer<Entry> _consumer = null!;
    private Channel<Entry> _channel = null!;
    private Thread? _reader;
    private long _asked;
    private long _read;
    private bool _stop;

    /// <summary>Entries that are published, and retired, at once.</summary>
    [Params(1, 32)]
    public int Batch { get; set; }

    [GlobalSetup(Targets = [nameof(ChannelOnOneThread), nameof(RingOnOneThread)])]
    public void Setup()
    {
        string directory = Path.GetTempPath();
        _producerArea = SharedRegion.Create("zcd-bench-producer", AreaBytes, directory, prefault: true);
        _consumerArea = SharedRegion.Create("zcd-bench-consumer", HeaderBytes, directory, prefault: true);
        _producerArea.SealReadOnlyForOthers();
        _producerAreaSeenByConsumer = SharedRegion.Open(_producerArea.Path, AreaBytes, writable: false);
        _producer = new RingProducer<Entry>(_producerArea.Address + HeaderBytes, Capacity, _producerArea.Address + TailOffset, _consumerArea.Address + HeadOffset);
        byte* seen = _producerAreaSeenByConsumer.Address;
        _consumer = new RingConsumer<Entry>(seen + HeaderBytes, Capacity, _consumerArea.Address + HeadOffset, seen + TailOffset);
        _channel = Channel.CreateBounded<Entry>(new BoundedChannelOptions(Capacity) { SingleReader = true, SingleWriter = true });
    }

    [GlobalSetup(Target = nameof(RingAcrossCores))]
    public void SetupRingReader()
    {
        Setup();
        StartReader(ReadRing);
    }

    [GlobalSetup(Target = nameof(ChannelAcrossCores))]
    public void SetupChannelReader()
    {
        Setup();
        StartReader(ReadChannel);
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        Volatile.Write(ref _stop, true);
        _go.Set();
        _reader?.Join();
        if (_producer.Corrupt || _consumer.Corrupt)
        {
            throw new InvalidOperationException("The ring broke while it was measured.");
        }

        _producerAreaSeenByConsumer.Dispose();
        _consumerArea.Dispose();
        _producerArea.Dispose();
    }

    [BenchmarkCategory("same thread")]
    [Benchmark(Baseline = true, Description = "channel", OperationsPerInvoke = SameThreadEntries)]
    public ulong ChannelOnOneThread()
    {
        ulong sum = 0;
        for (int done = 0; done < SameThreadEntries; done += Batch)
        {
            for (int i = 0; i < Batch; i++)
            {
                _channel.Writer.TryWrite(new Entry { Value = (ulong)i });
            }

            while (_channel.Reader.TryRead(out Entry entry))
            {
                sum += entry.Value;
            }
        }

        return sum;
    }

    [BenchmarkCategory("same thread")]
    [Benchmark(Description = "ring", OperationsPerInvoke = SameThreadEntries)]
    public ulong RingOnOneThread()
    {
        ulong sum = 0;
        for (int done = 0; done < SameThreadEntries; done += Batch)
        {
            for (int i = 0; i < Batch; i++)
            {
                _producer.TryWrite(new Entry { Value = (ulong)i });
            }

            _producer.Publish();
            while (_consumer.TryRead(out Entry entry))
            {
                sum += entry.Value;
            }

            _consumer.Retire();
        }

        return sum;
    }

    [BenchmarkCategory("across cores")]
    [Benchmark(Baseline = true, Description = "channel", OperationsPerInvoke = AcrossEntries)]
    public void ChannelAcrossCores()
    {
        AskReader();
        for (int written = 0; written < AcrossEntries;)
        {
            written += _channel.Writer.TryWrite(new Entry { Value = (ulong)written }) ? 1 : 0;
        }

        AwaitReader();
    }

    [BenchmarkCategory("across cores")]
    [Benchmark(Description = "ring", OperationsPerInvoke = AcrossEntries)]
    public void RingAcrossCores()
    {
        AskReader();
        for (int written = 0; written < AcrossEntries;)
        {
            int batch = Batch;
            while (batch-- > 0 && _producer.TryWrite(new Entry { Value = (ulong)written }))
            {
                written++;
            }

            _producer.Publish();
        }

        AwaitReader();
    }

    private void ReadRing(long upTo)
    {
        while (_read < upTo)
        {
            int batch = 0;
            while (batch < Batch && _consumer.TryRead(out Entry _))
            {
                batch++;
            }

            _consumer.Retire();
            Volatile.Write(ref _read, _read + batch);
        }
    }

    private void ReadChannel(long upTo)
    {
        while (_read < upTo)
        {
            int batch = 0;
            while (batch < Batch && _channel.Reader.TryRead(out Entry _))
            {
                batch++;
            }

            Volatile.Write(ref _read, _read + batch);
        }
    }

    private void StartReader(Action<long> read)
    {
        _reader = new Thread(() =>
        {
            while (!Volatile.Read(ref _stop))
            {
                // Between runs it leaves the core alone.
                _go.Wait();
                _go.Reset();
                read(Volatile.Read(ref _asked));
            }
        });
        _reader.Start();
    }

    private void AskReader()
    {
        Volatile.Write(ref _asked, _asked + AcrossEntries);
        _go.Set();
    }

    private void AwaitReader()
    {
        while (Volatile.Read(ref _read) < _asked)
        {
            Thread.SpinWait(1);
        }
    }

    /// <summary>As large as a submission or a completion.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 32)]
    public struct Entry
    {
        public ulong Value;
    }
}
