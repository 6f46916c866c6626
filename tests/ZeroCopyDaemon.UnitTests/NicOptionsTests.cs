using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.UnitTests;

public sealed class NicOptionsTests
{
    private static readonly PoolGeometry Geometry = new(4096, 4096);

    [Fact]
    public void The_defaults_are_valid() => Assert.Equal(new NicOptions(), new NicModel(new NicOptions(), Geometry).Options);

    public static TheoryData<NicOptions, string> Wrong => new()
    {
        { new NicOptions { Mtu = 575 }, "576 to 65535" },
        { new NicOptions { Mtu = 65536 }, "576 to 65535" },
        { new NicOptions { Placement = (Placement)9 }, "none, split, packed or merge" },
        { new NicOptions { RxQueues = 0 }, "1 to 16" },
        { new NicOptions { RxQueues = 17 }, "1 to 16" },
        { new NicOptions { RxRingSize = 1000 }, "RX ring must be a power of two" },
        { new NicOptions { RxRingSize = 0 }, "RX ring must be a power of two" },
        { new NicOptions { TxRingSize = 3 }, "TX ring must be a power of two" },
        { new NicOptions { RxCompletionQueueSize = 100 }, "completion queue must be a power of two" },
        { new NicOptions { RxCompletionQueueSize = 16, Mtu = 65535, RxRingSize = 32 }, "takes 18 completions" },
        { new NicOptions { RxRingSize = 16, Mtu = 65535 }, "takes 17 pages" },
        { new NicOptions { RxUsecs = -1 }, "rx-usecs" },
        { new NicOptions { RxFrames = -1 }, "rx-frames" },
        { new NicOptions { RssKey = new byte[16] }, "40 bytes" },
    };

    [Theory]
    [MemberData(nameof(Wrong), DisableDiscoveryEnumeration = true)]
    public void Wrong_settings_are_refused_with_what_to_change(NicOptions options, string part)
    {
        ArgumentException refusal = Assert.Throws<ArgumentException>(() => new NicModel(options, Geometry));
        Assert.Contains(part, refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_counter_has_one_name_and_is_there_from_the_start()
    {
        using var bench = new NicBench(NicBench.Small() with { RxQueues = 2, RxRingSize = 16 });
        IReadOnlyDictionary<string, long> counters = bench.Counters();
        Assert.All(counters.Values, value => Assert.Equal(0, value));
        Assert.Superset(
            new HashSet<string>
            {
                "nic.rx_packets", "nic.rx_bytes", "nic.rx_header_split_packets", "nic.rx_csum_unnecessary", "nic.rx_csum_none", "nic.rx_csum_bad",
                "nic.rx_out_of_buffer", "nic.rx_missed_errors", "nic.rx_length_errors", "nic.rx_interrupts", "nic.rx_polls", "nic.rx_poll_budget",
                "nic.rx_alloc_failed", "nic.rx_queue_0_packets", "nic.rx_queue_1_bytes", "nic.tx_packets", "nic.tx_bytes", "nic.tx_tso_packets",
                "nic.tx_tso_bytes", "nic.tx_csum_partial", "nic.tx_pause_ctrl", "nic.tx_errors", "nic.tx_carrier_errors",
                "rx.dma_bytes", "rx.dma_header_bytes", "rx.os_copied_bytes", "rx.payload_page_bytes", "rx.payload_bytes",
            },
            counters.Keys.ToHashSet());
    }

    [Fact]
    public void A_description_shows_rings_interrupts_and_the_indirection_table_and_does_not_change_later()
    {
        using var bench = new NicBench(NicBench.Small() with { RxQueues = 2, RxRingSize = 16, RxUsecs = 50 });
        bench.Feed(NicFrames.Pattern(60), nowUs: 10);
        NicDescription before = bench.Nic.Describe();
        bench.Poll(60);
        RxQueueDescription queue = before.RxQueues[0];
        Assert.Equal((16, 15, 15, 32, 2), (queue.RingSize, queue.PagesPosted, queue.HeaderBuffersPosted, queue.CompletionQueueSize, queue.CompletionsWaiting));
        Assert.Equal((true, (long?)60, 0L, 1L, 60L), (queue.InterruptEnabled, queue.InterruptDueUs, queue.Interrupts, queue.Packets, queue.Bytes));
        Assert.Equal((128, 80, true, true), (before.IndirectionTable.Count, before.RssKey.Length, before.LinkUp, before.TsoActive));
        Assert.Equal((16, 1), (bench.Nic.Describe().RxQueues[0].PagesPosted, bench.Nic.Describe().RxQueues[0].Interrupts));
    }
}
