using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>What a placement makes of pages in bulk flow, stack to stack over modelled NICs; and what that does to windows and to the pool.</summary>
public sealed class PlacementFigureTests(ITestOutputHelper output)
{
    private const int FlowBytes = 8 << 20;

    [Theory]
    [InlineData(Placement.Split, 1, 35, 37)]
    [InlineData(Placement.Split, 8, 35, 37)]
    [InlineData(Placement.Packed, 1, 97, 100)]
    [InlineData(Placement.Packed, 8, 97, 100)]
    [InlineData(Placement.Merge, 1, 99, 100)]
    [InlineData(Placement.Merge, 8, 99, 100)]
    public void Payload_in_bulk_flow_fills_so_much_of_the_page_bytes_that_it_takes(Placement placement, int flows, double least, double most)
    {
        // All windows together are less than the ring takes, even with a page for each frame.
        using var pair = new TcpPair(tcp => tcp with { MaxReceiveWindow = 128 << 10 }, nic => nic with { Placement = placement });
        (Dictionary<string, long> counters, RxPageUse use) = Transfer(pair, flows);
        output.WriteLine(
            $"[figure] placement {placement.ToString().ToLowerInvariant()}, MTU 1500, {flows} bulk flow{(flows > 1 ? "s interleaved" : "")}: payload fills {use.EfficiencyPercent:0.00}% of page bytes " +
            $"({use.PayloadBytes} in {use.PageBytes})");
        Assert.Equal((long)flows * FlowBytes, use.PayloadBytes);
        Assert.InRange(use.EfficiencyPercent!.Value, least, most);
        Assert.Equal((use.PayloadBytes, use.PageBytes), (counters["rx.payload_bytes"], counters["rx.payload_page_bytes"]));
        Assert.Equal((0L, 0L), (counters["nic.rx_out_of_buffer"], counters["nic.rx_missed_errors"]));
    }

    [Fact]
    public void Merge_with_loss_and_reordering_loses_pages_and_no_byte()
    {
        using var pair = new TcpPair(nic: nic => nic with { Placement = Placement.Merge });
        var random = new Random(1);
        pair.Impair = (_, _) => random.Next(100) == 0 ? -1 : random.Next(100) == 0 ? 200 : 0;
        (Dictionary<string, long> counters, RxPageUse use) = Transfer(pair, flows: 4);
        output.WriteLine($"[figure] placement merge, MTU 1500, 4 bulk flows, 1% lost and 1% reordered: payload fills {use.EfficiencyPercent:0.00}% of page bytes, {counters["nic.rx_merge_runs"]} runs");
        Assert.True(counters["nic.rx_merge_runs"] > 100);
        Assert.InRange(use.EfficiencyPercent!.Value, 50, 99);
    }

    [Theory]
    [InlineData(Placement.Split, 0.30)]
    [InlineData(Placement.Packed, 0.80)]
    [InlineData(Placement.Merge, 0.80)]
    public void A_reader_that_sleeps_has_so_much_of_its_quota_as_payload_and_nothing_is_dropped_for_it(Placement placement, double share)
    {
        const int Quota = 256 * 4096;
        using var pair = new TcpPair(tcp => tcp with { ReceiveQuotaBytes = Quota }, nic => nic with { Placement = placement });
        (TcpConnection client, TcpConnection server) = pair.Connect();
        using var sender = new TcpTransfer(pair, pair.Left, client, 8 << 20, 1, 2);
        using var receiver = new TcpTransfer(pair, pair.Right, server, 0, 2, 1) { Reads = false };
        pair.Run(60_000_000);
        Assert.Equal(0, client.GetInfo(pair.NowUs).SndWnd);
        Assert.Equal(0, pair.Right.Stack.Drops[DropReason.SOCKET_RCVBUFF] + pair.Right.Stack.Drops[DropReason.PROTO_MEM]);
        output.WriteLine($"{placement}: {server.ReadableBytes} bytes for a charge of {server.ChargedBytes} of {Quota}");
        Assert.InRange(server.ChargedBytes, 0, Quota);
        Assert.True(server.ReadableBytes > share * Quota, $"only {server.ReadableBytes} bytes");
        receiver.Reads = true;
        receiver.Read();
        Assert.True(pair.RunUntil(() => sender.Closed && receiver.Closed));
        Assert.Equal(8 << 20, receiver.Received);
        pair.AssertClean();
    }

    private static (Dictionary<string, long> Counters, RxPageUse Use) Transfer(TcpPair pair, int flows)
    {
        TcpListener listener = pair.Right.Stack.Listen(new Net.Addresses.IpEndpoint(pair.Right.Address, 80), 16);
        var transfers = new List<TcpTransfer>();
        for (int flow = 0; flow < flows; flow++)
        {
            TcpConnection client = pair.Left.Stack.Connect(default, new Net.Addresses.IpEndpoint(pair.Right.Address, 80), pair.NowUs)!;
            Assert.True(pair.RunUntil(() => pair.Right.Accepted.Count > 0));
            TcpConnection server = pair.Right.Accepted.Dequeue();
            listener.MarkAccepted(server);
            transfers.Add(new TcpTransfer(pair, pair.Left, client, FlowBytes, flow, flow + 100));
            transfers.Add(new TcpTransfer(pair, pair.Right, server, 0, flow + 100, flow));
        }

        Assert.True(pair.RunUntil(() => transfers.TrueForAll(transfer => transfer.Closed)));
        Assert.Equal((long)flows * FlowBytes, transfers.Sum(transfer => transfer.Received));
        transfers.ForEach(transfer => transfer.Dispose());
        pair.AssertClean();
        var counters = new CounterRecorder();
        pair.Right.Nic.VisitCounters(counters);
        pair.Right.Driver.VisitCounters(counters);
        return (counters.Values, pair.Right.Driver.PageUse);
    }

    private sealed class CounterRecorder : Memory.Counters.ICounterVisitor
    {
        public Dictionary<string, long> Values { get; } = [];

        public void Counter(string name, long value) => Values[name] = value;
    }
}
