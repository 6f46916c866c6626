using System.Net.Sockets;
using ZeroCopyDaemon.Cli.TestClient;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.InteropTests;

/// <summary>Readers that are slow, or don't read at all for a while.</summary>
public sealed class WindowTests(DefaultDaemons daemons)
{
    private const int WorkerPort = 7101;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    [Theory]
    [EveryFamily]
    public async Task A_slow_reader_with_a_small_buffer_gets_everything_right(IpFamily family)
    {
        Requirements.Need();
        const long Bytes = 8L << 20;
        await daemons.CaseAsync(family, async daemon =>
        {
            using HttpPeer peer = await HttpPeer.ConnectAsync(daemon, static socket => socket.ReceiveBufferSize = 16 * 1024);
            await peer.RequestAsync($"/bytes/{Bytes}");
            Assert.Equal(Bytes, await peer.ReadHeadAsync());

            // 64 KiB/s for four seconds, then as fast as it comes.
            const int Step = 8 * 1024;
            long position = 0;
            for (; position < 4 * 64 * 1024; position += Step)
            {
                await peer.ExpectPatternAsync(position, Step);
                await Task.Delay(125);
            }

            await peer.ExpectPatternAsync(position, Bytes - position);
        });
    }

    [Theory]
    [EveryFamily]
    public async Task A_client_that_does_not_read_for_seconds_is_probed_and_then_gets_everything(IpFamily family)
    {
        Requirements.Need();
        const long Bytes = 16L << 20;
        await daemons.CaseAsync(family, async daemon =>
        {
            using HttpPeer peer = await HttpPeer.ConnectAsync(daemon, static socket => socket.ReceiveBufferSize = 64 * 1024);
            long before = (await daemon.CountersAsync())["tcp.TCPWinProbe"];
            await peer.RequestAsync($"/bytes/{Bytes}");
            await Task.Delay(TimeSpan.FromSeconds(6));
            long probes = (await daemon.CountersAsync())["tcp.TCPWinProbe"] - before;
            Assert.True(probes > 0, "no probe was sent into the closed window");
            Assert.Equal(Bytes, await peer.ReadHeadAsync());
            await peer.ExpectPatternAsync(0, Bytes);
        });
    }

    [Theory]
    [EveryFamily]
    public async Task A_worker_that_does_not_read_for_seconds_closes_the_window_and_then_gets_everything(IpFamily family)
    {
        Requirements.Need();
        const long Bytes = 64L << 20;
        await daemons.CaseAsync(family, async daemon =>
        {
            await using KernelClient kernel = await daemon.AttachAsync();
            await using Listener listener = await kernel.ListenAsync(WorkerPort);
            using HttpPeer peer = await HttpPeer.ConnectAsync(daemon, daemon.Address.WithPort(WorkerPort));
            await using Connection connection = await listener.AcceptAsync().AsTask().WaitAsync(Patience);
            Task sending = Task.Run(async () =>
            {
                await peer.SendPatternAsync(Bytes);
                peer.Socket.Shutdown(SocketShutdown.Send);
            });
            await Task.Delay(TimeSpan.FromSeconds(5));
            Assert.False(sending.IsCompleted, "everything was taken though nobody read");
            Assert.InRange((await daemon.CountersAsync())["pool.in_use"], 1, long.MaxValue);

            long position = 0;
            while (true)
            {
                using Received received = await connection.ReceiveAsync(1 << 20, 1024).AsTask().WaitAsync(Patience);
                if (received.IsEnd)
                {
                    break;
                }

                foreach (Lease lease in received)
                {
                    int wrong = Body.Pattern.FirstDifference(position, lease.Span);
                    Assert.True(wrong < 0, $"byte {position + wrong} is wrong");
                    position += lease.Span.Length;
                }
            }

            Assert.Equal(Bytes, position);
            await sending;
        });
    }
}
