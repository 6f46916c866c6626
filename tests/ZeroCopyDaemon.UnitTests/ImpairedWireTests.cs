using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Wires.Impaired;

namespace ZeroCopyDaemon.UnitTests;

public sealed class ImpairedWireTests(ITestOutputHelper output)
{
    private static readonly ImpairmentOptions Bad = new()
    {
        LatencyUs = 2_000, JitterUs = 500, Loss = 0.05, Duplication = 0.02, Reordering = 0.03, ReorderUs = 3_000, Corruption = 0.03,
    };

    private static byte[] Text(int length, int seed)
    {
        byte[] text = new byte[length];
        new Random(seed).NextBytes(text);
        return text;
    }

    private static void Transfer(ImpairedBench bench, int bytes)
    {
        byte[] up = Text(bytes, 1);
        byte[] down = Text(bytes, 2);
        bench.Far.Give(up);
        bench.Kernel.Give(down);
        bench.Connect();
        bench.RunUntil(() => bench.Kernel.Ended && bench.Far.Ended && bench.Kernel.Stack.ConnectionCount + bench.Far.Stack.ConnectionCount == 0);
        Assert.Equal(up, bench.Kernel.Received);
        Assert.Equal(down, bench.Far.Received);
    }

    private static void AssertNothingHeld(ImpairedBench bench)
    {
        Assert.Equal((0, 0), (bench.Kernel.Pool.FragmentsInUse, bench.Far.Pool.FragmentsInUse));
        bench.Kernel.Pool.CheckInvariants();
        bench.Kernel.Driver.Dispose();
        Assert.Equal(bench.Kernel.Pool.Geometry.PageCount, bench.Kernel.Pool.FreePages);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void A_transfer_both_ways_over_a_bad_wire_arrives_byte_exact_and_every_page_comes_back(ulong seed)
    {
        using var bench = new ImpairedBench(Bad with { Seed = seed });
        Transfer(bench, 400_000);

        // A second copy of the last ones may still be under way.
        bench.RunTo(bench.NowUs + Bad.LatencyUs + Bad.ReorderUs);
        foreach (string way in (string[])["tx", "rx"])
        {
            long frames = bench.Counter($"impair.{way}_frames");
            long duplicated = bench.Counter($"impair.{way}_duplicated");
            long lost = bench.Counter($"impair.{way}_lost");
            Assert.Equal(frames + duplicated, bench.Counter($"impair.{way}_delivered") + lost + bench.Counter($"impair.{way}_queue_dropped"));
            Assert.Equal(0, bench.Counter($"impair.{way}_held"));
            Assert.True(frames > 300 && lost > 0 && duplicated > 0 && bench.Counter($"impair.{way}_reordered") > 0 && bench.Counter($"impair.{way}_corrupted") > 0);
            output.WriteLine($"[figure] seed {seed} {way}: {frames} frames, {lost} lost, {duplicated} repeated, {bench.Counter($"impair.{way}_corrupted")} harmed");
        }

        AssertNothingHeld(bench);
    }

    [Fact]
    public void Every_harmed_frame_is_noticed_by_the_stack()
    {
        using var bench = new ImpairedBench(new ImpairmentOptions { LatencyUs = 100, Corruption = 0.2, Duplication = 0.2, Seed = 4 });
        Transfer(bench, 200_000);
        var table = new CounterTable();
        bench.Kernel.Stack.VisitCounters(table);
        long noticed = table.Values["drop.TCP_CSUM"] + table.Values["drop.IP_CSUM"] + table.Values["drop.IP_INHDR"] + table.Values["drop.TCP_FLAGS"];
        Assert.Equal(bench.Counter("impair.rx_corrupted"), noticed);
        Assert.True(noticed > 30);
    }

    [Fact]
    public void A_wire_that_does_nothing_is_as_if_it_were_not_there()
    {
        using var bench = new ImpairedBench(new ImpairmentOptions());
        long startUs = bench.NowUs;
        Transfer(bench, 300_000);
        Assert.Equal(bench.Counter("impair.tx_frames"), bench.Counter("impair.tx_delivered"));
        Assert.Equal(bench.Counter("impair.rx_frames"), bench.Counter("impair.rx_delivered"));
        Assert.All(bench.Inner.TakenAtUs, at => Assert.Equal(startUs, at));
    }

    [Fact]
    public void The_delay_is_exact_both_ways()
    {
        using var bench = new ImpairedBench(new ImpairmentOptions { LatencyUs = 20_000 });
        long startUs = bench.NowUs;
        bench.Connect();

        // ARP's question and answer, the same by the kernel's way in and out; then the handshake.
        bench.RunTo(startUs + 39_999);
        Assert.Empty(bench.Inner.TakenAtUs);
        bench.RunTo(startUs + 40_000);
        Assert.Equal([startUs + 40_000], bench.Inner.TakenAtUs);
        bench.RunUntil(() => bench.Kernel.Connection is not null);
        Assert.Equal(startUs + 100_000, bench.NowUs);
    }

    [Fact]
    public void Frames_that_the_wire_below_holds_back_are_kept_and_tried_again_in_order()
    {
        using var bench = new ImpairedBench(new ImpairmentOptions { LatencyUs = 1_000 });
        byte[] text = Text(200_000, 3);
        bench.Kernel.Give(text);
        bench.Far.Give([]);
        bench.Connect();
        bench.RunUntil(() => bench.Kernel.Connection is not null);
        bench.Inner.Credit = 0;
        long untilUs = bench.NowUs + 20_000;
        bench.RunTo(untilUs);
        Assert.True(bench.Inner.Refused > 0);
        long held = bench.Counter("impair.tx_held");
        Assert.True(held > 0);
        Assert.InRange(bench.Wire.NextDeadlineUs, untilUs + 1, untilUs + 1_000);

        // While one is held back the NIC is, too: nothing is lost, and nothing overtakes.
        int taken = bench.Inner.TakenAtUs.Count;
        bench.Inner.Credit = 1;
        bench.RunTo(untilUs + 2_000);
        Assert.Equal(taken + 1, bench.Inner.TakenAtUs.Count);
        bench.Inner.Credit = int.MaxValue;
        bench.RunUntil(() => bench.Kernel.Ended && bench.Far.Ended);
        Assert.Equal(text, bench.Far.Received);
        Assert.Equal(0, bench.Counter("impair.tx_queue_dropped"));
    }

    [Fact]
    public void A_wire_below_that_holds_back_holds_the_NIC_back_even_without_delay()
    {
        using var bench = new ImpairedBench(new ImpairmentOptions());
        byte[] text = Text(100_000, 3);
        bench.Kernel.Give(text);
        bench.Far.Give([]);
        bench.Connect();
        bench.Inner.Credit = 5;
        bench.RunTo(bench.NowUs + 1_000);
        Assert.NotEqual(bench.Kernel.Driver.TxPosted, bench.Kernel.Driver.TxCompleted);
        Assert.Equal(1, bench.Counter("impair.tx_held"));
        bench.Inner.Credit = int.MaxValue;
        bench.RunUntil(() => bench.Kernel.Ended && bench.Far.Ended);
        Assert.Equal(text, bench.Far.Received);
    }

    [Fact]
    public void What_exceeds_the_queue_is_dropped_and_no_more_is_held()
    {
        using var bench = new ImpairedBench(new ImpairmentOptions { LatencyUs = 5_000, QueueFrames = 4, Duplication = 0.5 });
        byte[] text = Text(60_000, 3);
        bench.Kernel.Give([]);
        bench.Far.Give(text);
        bench.Connect();
        bench.RunUntil(() =>
        {
            Assert.InRange(bench.Counter("impair.rx_held"), 0, 4);
            Assert.InRange(bench.Counter("impair.tx_held"), 0, 4);
            return bench.Kernel.Ended && bench.Far.Ended;
        });
        Assert.Equal(text, bench.Kernel.Received);
        Assert.True(bench.Counter("impair.rx_queue_dropped") > 0);
    }

    [Fact]
    public void Disposing_of_it_returns_every_page_and_disposes_of_the_wire_below()
    {
        using var bench = new ImpairedBench(new ImpairmentOptions { LatencyUs = 50_000, Duplication = 1 });
        bench.Far.Give(Text(100_000, 3));
        bench.Connect();
        bench.RunUntil(() => bench.Kernel.Pool.FragmentsInUse > 10);
        Assert.True(bench.Counter("impair.rx_held") > 5);
        bench.Wire.Dispose();
        Assert.True(bench.Inner.Disposed);
        Assert.Null(bench.Kernel.Nic.Wire);
        bench.Kernel.Connection?.Abort(bench.NowUs);
        AssertNothingHeld(bench);
    }

    [Fact]
    public void Everything_else_is_the_wire_below_s_business()
    {
        using var bench = new ImpairedBench(new ImpairmentOptions());
        List<string> notices = [];
        bench.Wire.Notice = notices.Add;
        bench.Wire.Unexpose(80);
        bench.Wire.StopAccepting();
        var remote = new IpEndpoint(bench.Far.Address, 7);
        Assert.Equal(["unexposed 80", "stopped"], notices);
        Assert.Equal(("far", "far:80", $"real {remote}", WireOffloads.None), (bench.Wire.Name, bench.Wire.Expose(80), bench.Wire.RealPeer(remote), bench.Wire.TxOffloads));
        Assert.Equal(0, bench.Counter("far.taken"));
    }
}
