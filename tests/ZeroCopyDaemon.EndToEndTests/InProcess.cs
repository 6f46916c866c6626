using System.Net;
using System.Net.Sockets;
using ZeroCopyDaemon.Kernel;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.EndToEndTests;

/// <summary>A kernel host within the test's process, so that a test can look into it; workers attach to it as to any other.</summary>
internal sealed class InProcess : IAsyncDisposable
{
    private readonly string _runDirectory = Directory.CreateTempSubdirectory("zcd").FullName;

    private InProcess()
    {
    }

    public KernelHost Host { get; private set; } = null!;

    public static async Task<InProcess> StartAsync(Action<KernelHostOptions>? configure = null)
    {
        var test = new InProcess();
        var options = new KernelHostOptions { Name = "t", RunDirectory = test._runDirectory, ExpectedWorkers = 2 };
        configure?.Invoke(options);
        test.Host = await KernelHost.StartAsync(options);
        return test;
    }

    public WorkerOptions Worker(string name, WorkerScheduling scheduling = WorkerScheduling.ThreadPool) =>
        new() { ControlSocket = Host.Directory.ControlSocket, AppName = name, Scheduling = scheduling };

    public Task<KernelClient> AttachAsync(string name, WorkerScheduling scheduling = WorkerScheduling.ThreadPool) => KernelClient.AttachAsync(Worker(name, scheduling));

    /// <summary>Attaches a worker that sends back what it receives, by lease, until its kernel is lost or its connections end.</summary>
    public async Task<KernelClient> StartEchoAsync(int port)
    {
        KernelClient kernel = await AttachAsync("echo", WorkerScheduling.Inline);
        Listener listener = await kernel.ListenAsync(port);
        _ = Task.Run(async () =>
        {
            try
            {
                while (true)
                {
                    _ = EchoAsync(await listener.AcceptAsync());
                }
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException)
            {
                // The test is over.
            }
        });
        return kernel;
    }

    public Task<T> OnLoopAsync<T>(Func<PagePool, T> function) => Host.Loop.InvokeAsync(core => function(core.Pool));

    /// <summary>Checks the pool's invariants on the loop thread and waits, at most 5 s, until every page is free or posted.</summary>
    public async Task ExpectAllPagesBackAsync()
    {
        string ledger = "";
        for (int i = 0; i < 50; i++)
        {
            (int used, ledger) = await OnLoopAsync(pool =>
            {
                pool.CheckInvariants();
                return (pool.PagesInUse, PoolLedger.Describe(pool));
            });
            if (used == 0)
            {
                return;
            }

            await Task.Delay(100);
        }

        Assert.Fail("Pages are still in use: " + ledger);
    }

    public async ValueTask DisposeAsync()
    {
        await Host.DisposeAsync();
        Directory.Delete(_runDirectory, recursive: true);
    }

    public static async Task<TcpClient> ConnectAsync(int port)
    {
        var client = new TcpClient { NoDelay = true };
        await client.ConnectAsync(IPAddress.Loopback, port);
        return client;
    }

    /// <summary>Sends a seeded pattern, checks the echo. Returns bytes per second.</summary>
    public static async Task<double> VerifiedEchoAsync(int port, int seed, int bytes)
    {
        using TcpClient client = await ConnectAsync(port);
        NetworkStream stream = client.GetStream();
        byte[] data = new byte[bytes];
        new Random(seed).NextBytes(data);
        var clock = System.Diagnostics.Stopwatch.StartNew();
        Task send = Task.Run(async () =>
        {
            await stream.WriteAsync(data);
            client.Client.Shutdown(SocketShutdown.Send);
        });
        byte[] back = new byte[bytes + 1];
        int length = await stream.ReadAtLeastAsync(back, back.Length, throwOnEndOfStream: false);
        await send;
        Assert.Equal(bytes, length);
        Assert.True(back.AsSpan(0, bytes).SequenceEqual(data), "the echo differs");
        return bytes / clock.Elapsed.TotalSeconds;
    }

    private static async Task EchoAsync(Connection connection)
    {
        try
        {
            await using (connection)
            {
                while (true)
                {
                    Received received = await connection.ReceiveAsync();
                    if (received.IsEnd)
                    {
                        return;
                    }

                    await connection.SendAsync(received);
                }
            }
        }
        catch (IOException)
        {
            // Reset, or the kernel is gone.
        }
    }
}
