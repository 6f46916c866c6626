using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace ZeroCopyDaemon.EndToEndTests;

/// <summary>Processes that end in every way they can.</summary>
public sealed class LifeTests(ITestOutputHelper output)
{
    [Fact]
    public async Task Killing_a_worker_hurts_only_its_own_connections()
    {
        await using Daemon daemon = await Daemon.StartAsync("--app", "echo", "--workers", "4");
        List<int> before = await daemon.WorkerPidsAsync();
        int victim = before[0];
        using var killed = new CancellationTokenSource();
        Task<string>[] transfers = Enumerable.Range(0, 8).Select(i => Task.Run(() => EchoAsync(daemon.Port, seed: i, bytes: 64 << 20, killed.Token))).ToArray();
        await Task.Delay(300);
        Process.GetProcessById(victim).Kill();
        await Task.Delay(50);
        await killed.CancelAsync();
        string[] results = await Task.WhenAll(transfers);
        output.WriteLine("[figure] one of four workers killed, 8 connections: " + string.Join(", ", results));
        Assert.Equal(6, results.Count(result => result == "right"));
        Assert.Equal(2, results.Count(result => result == "reset"));
        await daemon.WaitUntilPagesAreBackAsync();

        List<int> after = [];
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < TimeSpan.FromSeconds(20); await Task.Delay(100))
        {
            after = await daemon.WorkerPidsAsync();
            if (after.Count == 4)
            {
                break;
            }
        }

        Assert.Equal(4, after.Count);
        Assert.DoesNotContain(victim, after);
        ProgramResult client = await daemon.ClientAsync("--bytes", "8MiB", "--connections", "8", "--verify", "--json");
        Assert.True(client.ExitCode == 0, client.All);
    }

    [Fact]
    public async Task A_worker_that_sends_closes_and_exits_at_once_truncates_nothing()
    {
        const int Bytes = 1 << 20;
        await using Daemon daemon = await Daemon.StartAsync("--workers", "1");
        for (int round = 0; round < 5; round++)
        {
            int port = Daemon.FreePort();
            using Process worker = Programs.Start(Programs.TestWorker, daemon.Environment, "send-close-exit", $"{port}", $"{Bytes}");
            Assert.StartsWith("ready", await worker.StandardOutput.ReadLineAsync());
            using var client = new TcpClient();
            await client.ConnectAsync(IPAddress.Loopback, port);

            // A reader that starts late: the worker is gone before the first byte is read.
            await worker.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(20));
            await Task.Delay(100);
            byte[] received = new byte[Bytes + 1];
            int length = await client.GetStream().ReadAtLeastAsync(received, received.Length, throwOnEndOfStream: false).AsTask().WaitAsync(TimeSpan.FromSeconds(20));
            Assert.Equal(Bytes, length);
            for (int i = 0; i < Bytes; i++)
            {
                Assert.True(received[i] == (byte)(i * 31 >> 3), $"byte {i} is wrong");
            }
        }

        await daemon.WaitUntilPagesAreBackAsync();
    }

    [Fact]
    public async Task Killing_the_kernel_host_ends_every_worker_with_one_clear_error_and_the_next_start_cleans_up()
    {
        string runDirectory = Directory.CreateTempSubdirectory("zcd").FullName;
        Daemon daemon = await Daemon.StartAsync(runDirectory, ["--app", "echo", "--workers", "2"]);
        List<int> pids = await daemon.WorkerPidsAsync();
        int port = Daemon.FreePort();
        Process worker = Programs.Start(Programs.TestWorker, daemon.Environment, "echo", $"{port}");
        Assert.StartsWith("ready", await worker.StandardOutput.ReadLineAsync());
        using (var client = new TcpClient())
        {
            await client.ConnectAsync(IPAddress.Loopback, port);
            await client.GetStream().WriteAsync(new byte[100_000]);
            daemon.KillKernelHost();
            ProgramResult lost = await Programs.WaitAsync(worker, 10, "worker");
            Assert.Equal(3, lost.ExitCode);
            Assert.Single(lost.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
            Assert.StartsWith("kernel lost:", lost.Error);
        }

        foreach (int pid in pids)
        {
            await WaitUntilGoneAsync(pid);
        }

        string errors = await daemon.OutputAsync();
        output.WriteLine(errors);
        Assert.DoesNotContain("   at ", errors);
        ProgramResult again = await Programs.RunAsync(
            Programs.Zcd, daemon.Environment, 60, "up", "--name", daemon.Name, "--app", "echo", "--workers", "1", "--listen", $"{daemon.Port}", "--detach");
        Assert.True(again.ExitCode == 0, again.All);
        ProgramResult client2 = await daemon.ClientAsync("--bytes", "1MiB", "--connections", "2", "--verify", "--json");
        Assert.True(client2.ExitCode == 0, client2.All);
        ProgramResult down = await daemon.ZcdAsync("down");
        Assert.True(down.ExitCode == 0, down.All);
        string folder = Path.Combine(runDirectory, daemon.Name);
        Assert.DoesNotContain(
            Directory.Exists(folder) ? Directory.GetFiles(folder, "*", SearchOption.AllDirectories) : [], file => !file.Contains("log", StringComparison.Ordinal));
        await daemon.DisposeAsync();
    }

    [Fact]
    public async Task An_idle_daemon_uses_less_than_one_percent_of_a_core()
    {
        const int Seconds = 30;
        await using Daemon daemon = await Daemon.StartAsync("--workers", "4");
        int[] pids = [daemon.Pid, .. await daemon.WorkerPidsAsync()];
        await Task.Delay(2000);
        double before = pids.Sum(CpuSeconds);
        await Task.Delay(TimeSpan.FromSeconds(Seconds));
        double used = pids.Sum(CpuSeconds) - before;
        output.WriteLine($"[figure] idle, 5 processes together: {used / Seconds:P2} of one core over {Seconds} s");
        Assert.True(used / Seconds < 0.01, $"{used / Seconds:P2}");
    }

    [Fact]
    public async Task Bad_input_gets_one_clear_line_and_a_non_zero_exit()
    {
        await using Daemon daemon = await Daemon.StartAsync("--workers", "1");
        var elsewhere = new Dictionary<string, string>(StringComparer.Ordinal) { ["ZCD_RUN_DIR"] = daemon.RunDirectory };
        (string Says, string[] Arguments)[] cases =
        [
            ("app", ["up", "--name", "x", "--app", "nonsense"]),
            ("placement", ["up", "--name", "x", "--placement", "sideways"]),
            ("strategy", ["up", "--name", "x", "--strategy", "teleport"]),
            ("wire", ["up", "--name", "x", "--wire", "string"]),
            ("mtu", ["up", "--name", "x", "--mtu", "100"]),
            ("workers", ["up", "--name", "x", "--workers", "many"]),
            ("pool", ["up", "--name", "x", "--pool-size", "4KiB"]),
            ("memory", ["up", "--name", "x", "--pool-size", "200GiB"]),
            ("name", ["up", "--name", "../x"]),
            ($"{daemon.Port}", ["up", "--name", "x", "--workers", "1", "--listen", $"{daemon.Port}"]),
            ("running", ["up", "--name", daemon.Name, "--listen", $"{Daemon.FreePort()}"]),
            ("running", ["status", "--name", "nobody"]),
            ("running", ["down", "--name", "nobody"]),
            ("page", ["inspect", "page", "999999999", "--name", daemon.Name]),
        ];
        foreach ((string says, string[] arguments) in cases)
        {
            ProgramResult result = await Programs.RunAsync(Programs.Zcd, elsewhere, 60, arguments);
            string[] lines = result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries);
            output.WriteLine($"zcd {string.Join(' ', arguments)} -> {result.ExitCode}: {result.Error.Trim()}");
            Assert.NotEqual(0, result.ExitCode);
            Assert.True(lines.Length == 1, $"zcd {string.Join(' ', arguments)} said: {result.All}");
            Assert.Contains(says, lines[0], StringComparison.OrdinalIgnoreCase);
        }
    }

    [Fact]
    public async Task Two_daemons_run_beside_each_other()
    {
        string runDirectory = Directory.CreateTempSubdirectory("zcd").FullName;
        await using Daemon one = await Daemon.StartAsync(runDirectory, ["--app", "echo", "--workers", "1"]);
        await using Daemon two = await Daemon.StartAsync(runDirectory, ["--app", "echo", "--workers", "1"]);
        Assert.True((await one.ClientAsync("--bytes", "1MiB", "--connections", "1", "--verify", "--json")).ExitCode == 0);
        Assert.True((await two.ClientAsync("--bytes", "1MiB", "--connections", "1", "--verify", "--json")).ExitCode == 0);
    }

    /// <summary>"right" if every byte came back, "reset" if the connection was reset, else what went wrong. Goes on sending until <paramref name="enough"/>, and at least <paramref name="bytes"/>.</summary>
    private static async Task<string> EchoAsync(int port, int seed, long bytes, CancellationToken enough)
    {
        try
        {
            using var client = new TcpClient();
            await client.ConnectAsync(IPAddress.Loopback, port);
            NetworkStream stream = client.GetStream();
            long total = 0;
            bool done = false;
            Task sender = Task.Run(async () =>
            {
                byte[] block = new byte[65536];
                for (long sent = 0; sent < bytes || !enough.IsCancellationRequested; sent += block.Length)
                {
                    Fill(block, seed, sent);
                    await stream.WriteAsync(block, CancellationToken.None);
                    Volatile.Write(ref total, sent + block.Length);
                }

                done = true;
                client.Client.Shutdown(SocketShutdown.Send);
            }, CancellationToken.None);
            byte[] expected = new byte[65536], got = new byte[65536];
            long received = 0;
            while (true)
            {
                int length = await stream.ReadAsync(got, CancellationToken.None);
                if (length == 0)
                {
                    break;
                }

                Fill(expected, seed, received);
                if (!got.AsSpan(0, length).SequenceEqual(expected.AsSpan(0, length)))
                {
                    return $"wrong byte between {received} and {received + length}";
                }

                received += length;
            }

            await sender;
            return done && received == total ? "right" : $"ended after {received} of {total}";
        }
        catch (IOException e) when (e.InnerException is SocketException { SocketErrorCode: SocketError.ConnectionReset or SocketError.Shutdown })
        {
            return "reset";
        }
    }

    private static void Fill(Span<byte> block, int seed, long position)
    {
        for (int i = 0; i < block.Length; i++)
        {
            long at = position + i;
            block[i] = (byte)((at * 7) + (at >> 9) + seed);
        }
    }

    private static async Task WaitUntilGoneAsync(int pid)
    {
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < TimeSpan.FromSeconds(10); await Task.Delay(50))
        {
            string stat = $"/proc/{pid}/stat";
            if (!File.Exists(stat) || (await File.ReadAllTextAsync(stat)).Contains(") Z ", StringComparison.Ordinal))
            {
                return;
            }
        }

        Assert.Fail($"process {pid} is still there");
    }

    private static double CpuSeconds(int pid)
    {
        string[] fields = File.ReadAllText($"/proc/{pid}/stat").Split(')')[^1].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return (long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture)) / 100.0;
    }
}
