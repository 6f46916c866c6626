using System.Net;
using System.Net.Sockets;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.InteropTests;

/// <summary>How connections end, or don't.</summary>
public sealed class ConnectionTests(DefaultDaemons daemons)
{
    private const int WorkerPort = 7100;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    [Theory]
    [EveryFamily]
    public async Task A_client_that_has_ended_its_sending_still_reads_everything(IpFamily family)
    {
        Requirements.Need();
        const long Bytes = 8L << 20;
        await daemons.CaseAsync(family, async daemon =>
        {
            using HttpPeer peer = await HttpPeer.ConnectAsync(daemon);
            await peer.RequestAsync($"/bytes/{Bytes}");
            peer.Socket.Shutdown(SocketShutdown.Send);
            Assert.Equal(Bytes, await peer.ReadHeadAsync());
            await peer.ExpectPatternAsync(0, Bytes);
            await peer.ExpectEndAsync();
        });
    }

    [Theory]
    [EveryFamily]
    public async Task What_is_echoed_after_the_client_has_ended_its_sending_is_complete(IpFamily family)
    {
        Requirements.Need();
        const long Bytes = 4L << 20;
        await daemons.EchoCaseAsync(family, async (daemon, echo) =>
        {
            using HttpPeer peer = await HttpPeer.ConnectAsync(daemon, echo);
            Task reading = Task.Run(async () =>
            {
                await peer.ExpectPatternAsync(0, Bytes);
                await peer.ExpectEndAsync();
            });
            await peer.SendPatternAsync(Bytes);
            peer.Socket.Shutdown(SocketShutdown.Send);
            await reading;
        });
    }

    [Theory]
    [EveryFamily]
    public async Task A_client_s_reset_amid_a_download_ends_it_and_gives_everything_back(IpFamily family)
    {
        Requirements.Need();
        await daemons.CaseAsync(family, async daemon =>
        {
            long before = (await daemon.CountersAsync())["tcp.EstabResets"];
            using (HttpPeer peer = await HttpPeer.ConnectAsync(daemon))
            {
                await peer.RequestAsync($"/bytes/{1L << 30}");
                await peer.ReadHeadAsync();
                await peer.ExpectPatternAsync(0, 4L << 20);
                peer.Socket.LingerState = new LingerOption(true, 0);
            }

            await ExpectNoConnectionAsync(daemon);
            Assert.Equal(before + 1, (await daemon.CountersAsync())["tcp.EstabResets"]);
        });
    }

    [Theory]
    [EveryFamily]
    public async Task A_client_s_reset_amid_an_upload_ends_it_and_gives_everything_back(IpFamily family)
    {
        Requirements.Need();
        await daemons.CaseAsync(family, async daemon =>
        {
            long before = (await daemon.CountersAsync())["tcp.EstabResets"];
            using (HttpPeer peer = await HttpPeer.ConnectAsync(daemon))
            {
                await peer.SendAsync($"PUT /sha256 HTTP/1.1\r\nHost: test\r\nContent-Length: {1L << 30}\r\n\r\n");
                await peer.SendPatternAsync(4L << 20);
                peer.Socket.LingerState = new LingerOption(true, 0);
            }

            await ExpectNoConnectionAsync(daemon);
            Assert.Equal(before + 1, (await daemon.CountersAsync())["tcp.EstabResets"]);
        });
    }

    [Theory]
    [EveryFamily]
    public async Task A_worker_s_reset_amid_a_transfer_is_seen_by_the_client(IpFamily family)
    {
        Requirements.Need();
        await daemons.CaseAsync(family, async daemon =>
        {
            await using KernelClient kernel = await daemon.AttachAsync();
            await using Listener listener = await kernel.ListenAsync(WorkerPort);
            using HttpPeer peer = await HttpPeer.ConnectAsync(daemon, daemon.Address.WithPort(WorkerPort));
            Connection connection = await listener.AcceptAsync().AsTask().WaitAsync(Patience);
            Assert.Equal(peer.Socket.LocalEndPoint, connection.RemoteEndPoint);
            Task sending = peer.SendPatternAsync(64L << 20);
            for (int received = 0; received < 1 << 20;)
            {
                using Received some = await connection.ReceiveAsync().AsTask().WaitAsync(Patience);
                received += some.Length;
            }

            connection.Abort();
            IOException cut = await Assert.ThrowsAsync<IOException>(() => sending);
            Assert.Equal(SocketError.ConnectionReset, Assert.IsType<SocketException>(cut.InnerException).SocketErrorCode);
        });
    }

    [Theory]
    [EveryFamily]
    public async Task A_port_that_nobody_listens_on_refuses_connections(IpFamily family)
    {
        Requirements.Need();
        await daemons.CaseAsync(family, async daemon =>
        {
            SocketException refused = await Assert.ThrowsAsync<SocketException>(() => daemon.Netns.ConnectAsync(daemon.Address.WithPort(9)));
            Assert.Equal(SocketError.ConnectionRefused, refused.SocketErrorCode);
        });
    }

    [Theory]
    [EveryFamily]
    public async Task An_idle_connection_stays_up_while_Linux_sends_keepalives(IpFamily family)
    {
        Requirements.Need();
        const int ProbesExpected = 3;
        await daemons.CaseAsync(family, async daemon =>
        {
            using HttpPeer peer = await HttpPeer.ConnectAsync(daemon, static socket =>
            {
                socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
                socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, 1);
                socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, 1);
                socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, 2);
            });
            await peer.RequestAsync("/");
            Assert.Contains(": request 1 on ", await peer.ReadTextAsync(), StringComparison.Ordinal);
            long before = (await daemon.CountersAsync())["tcp.InSegs"];

            // Unanswered probes would end it after three of these seconds.
            for (int i = 0; i < 20 && (await daemon.CountersAsync())["tcp.InSegs"] < before + ProbesExpected; i++)
            {
                await Task.Delay(1000);
            }

            await Task.Delay(1000);
            Assert.True((await daemon.CountersAsync())["tcp.InSegs"] >= before + ProbesExpected, "Linux sent no keepalives");
            await peer.RequestAsync("/");
            Assert.Contains(": request 2 on ", await peer.ReadTextAsync(), StringComparison.Ordinal);
        });
    }

    private static async Task ExpectNoConnectionAsync(TapDaemon daemon)
    {
        for (int i = 0; i < 50 && (await daemon.CountersAsync())["socket.connections"] != 0; i++)
        {
            await Task.Delay(100);
        }

        Assert.Equal(0, (await daemon.CountersAsync())["socket.connections"]);
    }
}
