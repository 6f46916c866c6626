using System.Net.Sockets;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.EndToEndTests;

/// <summary>A worker that never gives anything back.</summary>
public sealed class FairnessTests(ITestOutputHelper output)
{
    [Fact]
    public async Task A_worker_that_never_releases_stalls_only_its_own_connections()
    {
        const int Bytes = 64 << 20;
        await using InProcess test = await InProcess.StartAsync();
        int echoPort = Daemon.FreePort();
        await using KernelClient echo = await test.StartEchoAsync(echoPort);
        await InProcess.VerifiedEchoAsync(echoPort, 0, Bytes);
        double alone = await MedianAsync(() => InProcess.VerifiedEchoAsync(echoPort, 1, Bytes));

        await using KernelClient staller = await test.AttachAsync("staller");
        int stallPort = Daemon.FreePort();
        Listener listener = await staller.ListenAsync(stallPort);
        var held = new List<Received>();
        var clients = new List<TcpClient>();
        var sends = new List<Task>();
        for (int i = 0; i < 16; i++)
        {
            TcpClient client = await InProcess.ConnectAsync(stallPort);
            clients.Add(client);
            sends.Add(Task.Run(async () =>
            {
                try
                {
                    await client.GetStream().WriteAsync(new byte[16 << 20]);
                }
                catch (IOException)
                {
                    // The test is over.
                }
            }));
            Connection connection = await listener.AcceptAsync();
            _ = Task.Run(async () =>
            {
                try
                {
                    while (true)
                    {
                        held.Add(await connection.ReceiveAsync());
                    }
                }
                catch (Exception e) when (e is IOException or ObjectDisposedException)
                {
                    // The test is over.
                }
            });
        }

        await Task.Delay(1000);
        double beside = await MedianAsync(() => InProcess.VerifiedEchoAsync(echoPort, 2, Bytes));
        Assert.DoesNotContain(sends, send => send.IsCompletedSuccessfully);
        output.WriteLine($"[figure] echo beside a worker that holds everything: {beside / alone:P0} of the same echo alone ({beside / 1e6:0} against {alone / 1e6:0} MB/s)");
        Assert.True(beside > 0, "the other worker's transfer completed");
        clients.ForEach(client => client.Dispose());
        await staller.DisposeAsync();
        await Task.WhenAll(sends);
        await test.ExpectAllPagesBackAsync();
    }

    private static async Task<double> MedianAsync(Func<Task<double>> run)
    {
        double[] rates = [await run(), await run(), await run()];
        Array.Sort(rates);
        return rates[1];
    }
}
