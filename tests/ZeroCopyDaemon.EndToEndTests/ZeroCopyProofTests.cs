using System.Net.Sockets;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.EndToEndTests;

/// <summary>What a counter can't prove, because whoever keeps it could lie.</summary>
public sealed class ZeroCopyProofTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(Placement.Split)]
    [InlineData(Placement.None)]
    [InlineData(Placement.Packed)]
    [InlineData(Placement.Merge)]
    public async Task A_byte_changed_in_the_pool_after_delivery_changes_in_the_workers_span(Placement placement)
    {
        await using InProcess test = await InProcess.StartAsync(options => options.Placement = placement);
        await using KernelClient kernel = await test.AttachAsync("proof");
        int port = Daemon.FreePort();
        Listener listener = await kernel.ListenAsync(port);
        using TcpClient client = await InProcess.ConnectAsync(port);
        await client.GetStream().WriteAsync("the quick brown fox"u8.ToArray());
        Connection connection = await listener.AcceptAsync();
        Received received = await connection.ReceiveAsync();
        Assert.Equal("the quick brown fox", System.Text.Encoding.ASCII.GetString(received.FirstSpan));

        await test.OnLoopAsync(pool =>
        {
            LedgerEntry lease = Assert.Single(PoolLedger.Entries(pool), entry => entry.State == FragmentState.Leased);
            Assert.Equal((int)kernel.WorkerId, lease.Worker);
            pool.Payload(lease.Slot)[4] = (byte)'Q';
            return 0;
        });
        Assert.Equal("the Quick brown fox", System.Text.Encoding.ASCII.GetString(received.FirstSpan));
        received.Release();
        await connection.DisposeAsync();
        client.Close();
        await test.ExpectAllPagesBackAsync();
    }

    [Fact]
    public async Task Two_writes_of_1000_bytes_come_out_of_one_receive_of_2000()
    {
        await using InProcess test = await InProcess.StartAsync();
        await using KernelClient kernel = await test.AttachAsync("stream");
        int port = Daemon.FreePort();
        Listener listener = await kernel.ListenAsync(port);
        using TcpClient client = await InProcess.ConnectAsync(port);
        Connection connection = await listener.AcceptAsync();
        byte[] first = new byte[1000], second = new byte[1000];
        Random.Shared.NextBytes(first);
        Random.Shared.NextBytes(second);
        await client.GetStream().WriteAsync(first);
        await WaitForQueuedAsync(test, 1000);
        await client.GetStream().WriteAsync(second);
        await WaitForQueuedAsync(test, 2000);
        using Received received = await connection.ReceiveAsync(maxBytes: 2000);
        Assert.Equal(2000, received.Length);
        byte[] got = new byte[2000];
        received.CopyTo(got);
        Assert.Equal([.. first, .. second], got);
    }

    [Fact]
    public async Task A_worker_can_neither_map_the_rx_memory_writable_nor_truncate_it()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "sealed memory is Linux's");
        await using InProcess test = await InProcess.StartAsync();
        string rx = await test.Host.Loop.InvokeAsync(_ => test.Host.RxPath);
        using (var file = new FileStream(rx, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0))
        {
            Assert.ThrowsAny<Exception>(() => System.IO.MemoryMappedFiles.MemoryMappedFile
                .CreateFromFile(file, null, 0, System.IO.MemoryMappedFiles.MemoryMappedFileAccess.ReadWrite, HandleInheritability.None, leaveOpen: true)
                .CreateViewAccessor(0, 4096, System.IO.MemoryMappedFiles.MemoryMappedFileAccess.ReadWrite));
            Assert.ThrowsAny<Exception>(() => file.SetLength(0));
            Assert.ThrowsAny<Exception>(() => file.Write([1]));
        }

        using var readable = new FileStream(rx, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        Assert.Equal(test.Host.Options.PoolBytes, readable.Length);
    }

    [Fact]
    public async Task The_loop_allocates_nothing_per_segment_under_load()
    {
        await using InProcess test = await InProcess.StartAsync();
        int port = Daemon.FreePort();
        await using KernelClient echo = await test.StartEchoAsync(port);
        await InProcess.VerifiedEchoAsync(port, 1, 32 << 20);
        using TcpClient client = await InProcess.ConnectAsync(port);
        NetworkStream stream = client.GetStream();
        byte[] block = new byte[1 << 20], back = new byte[1 << 20];
        await EchoBlockAsync(stream, block, back);

        // Counting allocates, too: what it costs is taken off.
        (long allocated, _) = await CountAsync(test);
        (long again, _) = await CountAsync(test);
        long counting = again - allocated;
        (long allocated, long segments) before = await CountAsync(test);
        for (int i = 0; i < 64; i++)
        {
            await EchoBlockAsync(stream, block, back);
        }

        (long allocated, long segments) after = await CountAsync(test);
        long bytes = after.allocated - before.allocated - counting;
        long count = after.segments - before.segments;
        output.WriteLine($"[figure] {bytes} bytes allocated on the loop thread over {count} segments (besides {counting} by the measurement itself)");
        Assert.True(count > 20_000, $"only {count} segments");
        Assert.True(bytes < 1024, $"[figure] {bytes} bytes allocated over {count} segments");
    }

    private static async Task EchoBlockAsync(NetworkStream stream, byte[] block, byte[] back)
    {
        Task send = stream.WriteAsync(block).AsTask();
        await stream.ReadExactlyAsync(back);
        await send;
    }

    private static Task<(long Allocated, long Segments)> CountAsync(InProcess test) => test.Host.Loop.InvokeAsync(core =>
    {
        long allocated = GC.GetAllocatedBytesForCurrentThread();
        var counters = new Kernel.Inspect.CounterSnapshot();
        core.Stack.VisitCounters(counters);
        return (core.Workers.Count == 0 ? 0 : allocated, counters.Values["tcp.InSegs"]);
    });

    private static async Task WaitForQueuedAsync(InProcess test, long bytes)
    {
        for (int i = 0; i < 200; i++)
        {
            if (await test.Host.Loop.InvokeAsync(core => core.Stack.Connections.Sum(connection => connection.ReadableBytes)) >= bytes)
            {
                return;
            }

            await Task.Delay(10);
        }

        Assert.Fail($"{bytes} bytes did not arrive");
    }
}
