using System.Runtime.InteropServices;
using System.Threading.Channels;
using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Configs;
using ZeroCopyDaemon.Memory.Mapping;
using ZeroCopyDaemon.Memory.Rings;

namespace ZeroCopyDaemon.Benchmarks;

/// <summary>
/// A descriptor ring against a bounded channel, one entry being a descriptor of 32 bytes. "Same thread": what the code alone costs. "Across cores": one thread writes, another reads, both spin (and yield, should the machine have others to run);
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
    public void Setup() => Make(twoMappings: false);

    [GlobalSetup(Target = nameof(RingAcrossCores))]
    public void SetupRingReader()
    {
        Make(twoMappings: true);
        StartReader(ReadRing);
    }

    [GlobalSetup(Target = nameof(ChannelAcrossCores))]
    public void SetupChannelReader()
    {
        Make(twoMappings: true);
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
        var spin = default(SpinWait);
        for (int written = 0; written < AcrossEntries;)
        {
            if (_channel.Writer.TryWrite(new Entry { Value = (ulong)written }))
            {
                written++;
            }
            else
            {
                spin.SpinOnce(sleep1Threshold: -1);
            }
        }

        AwaitReader();
    }

    [BenchmarkCategory("across cores")]
    [Benchmark(Description = "ring", OperationsPerInvoke = AcrossEntries)]
    public void RingAcrossCores()
    {
        AskReader();
        var spin = default(SpinWait);
        for (int written = 0; written < AcrossEntries;)
        {
            int batch = Batch;
            while (batch-- > 0 && _producer.TryWrite(new Entry { Value = (ulong)written }))
            {
                written++;
            }

            if (!_producer.Publish())
            {
                spin.SpinOnce(sleep1Threshold: -1);
            }
        }

        AwaitReader();
    }

    private void Make(bool twoMappings)
    {
        string directory = Path.GetTempPath();
        _producerArea = SharedRegion.Create("zcd-bench-producer", AreaBytes, directory, prefault: true);
        _consumerArea = SharedRegion.Create("zcd-bench-consumer", HeaderBytes, directory, prefault: true);
        _producerArea.SealReadOnlyForOthers();
        _producerAreaSeenByConsumer = SharedRegion.Open(_producerArea.Path, AreaBytes, writable: false);
        _producer = new RingProducer<Entry>(_producerArea.Address + HeaderBytes, Capacity, _producerArea.Address + TailOffset, _consumerArea.Address + HeadOffset);
        // One thread that stores and loads at two addresses of the same memory pays for that, which two processes don't.
        byte* seen = twoMappings ? _producerAreaSeenByConsumer.Address : _producerArea.Address;
        _consumer = new RingConsumer<Entry>(seen + HeaderBytes, Capacity, _consumerArea.Address + HeadOffset, seen + TailOffset);
        _channel = Channel.CreateBounded<Entry>(new BoundedChannelOptions(Capacity) { SingleReader = true, SingleWriter = true });
    }

    private void ReadRing(long upTo)
    {
        var spin = default(SpinWait);
        while (_read < upTo)
        {
            int batch = 0;
            while (batch < Batch && _consumer.TryRead(out Entry _))
            {
                batch++;
            }

            Count(batch, ref spin);
            _consumer.Retire();
        }
    }

    private void ReadChannel(long upTo)
    {
        var spin = default(SpinWait);
        while (_read < upTo)
        {
            int batch = 0;
            while (batch < Batch && _channel.Reader.TryRead(out Entry _))
            {
                batch++;
            }

            Count(batch, ref spin);
        }
    }

    private void Count(int read, ref SpinWait spin)
    {
        if (read == 0)
        {
            spin.SpinOnce(sleep1Threshold: -1);
        }
        else
        {
            Volatile.Write(ref _read, _read + read);
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
        var spin = default(SpinWait);
        while (Volatile.Read(ref _read) < _asked)
        {
            spin.SpinOnce(sleep1Threshold: -1);
        }
    }

    /// <summary>As large as a submission or a completion.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 32)]
    public struct Entry
    {
        public ulong Value;
    }
}
