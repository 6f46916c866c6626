using System.CommandLine;
using ZeroCopyDaemon.Cli;
using ZeroCopyDaemon.Cli.Bench;
using ZeroCopyDaemon.Cli.Hosting;
using ZeroCopyDaemon.Cli.Settings;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.UnitTests;

public sealed class CliCommandLineTests
{
    [Theory]
    [InlineData("up --workers 4 --listen 8080 --wire gateway --app echo --strategy handoff --pool-size 64MiB --placement split --checksum-offload on --mtu 1500 --rx-queues 1 --detach --run-dir /tmp/x --name a")]
    [InlineData("down --name a")]
    [InlineData("status --json")]
    [InlineData("worker --app echo --listen 1 --strategy copy --name x")]
    [InlineData("client --connect 127.0.0.1:80 --connections 8 --bytes 1GiB --pattern 7 --verify --json --mode sink --timeout 5")]
    [InlineData("inspect pages --json --watch")]
    [InlineData("inspect page 3 --json")]
    [InlineData("inspect connections --watch")]
    [InlineData("inspect workers --name x")]
    [InlineData("inspect nic")]
    [InlineData("inspect counters --json")]
    [InlineData("sim --seed 18446744073709551615 --count 10 --trace")]
    [InlineData("bench --bytes 1GiB --connections 2 --rounds 3 --json")]
    public void What_the_command_promises_is_understood(string line) => Assert.Empty(CommandLine.CreateRoot().Parse(line).Errors);

    [Theory]
    [InlineData("client --bytes 1x")]
    [InlineData("client --connections 0")]
    [InlineData("client --mode shout")]
    [InlineData("client --pattern -1")]
    [InlineData("inspect")]
    [InlineData("inspect page minus")]
    [InlineData("sim")]
    [InlineData("fly")]
    [InlineData("up --unknown")]
    public void What_it_can_not_do_is_an_error(string line) => Assert.NotEmpty(CommandLine.CreateRoot().Parse(line).Errors);

    [Fact]
    public void Failures_are_one_line_each_with_the_right_exit_code()
    {
        Assert.Equal(2, CommandLine.Explain(new UsageException("a")).Code);
        Assert.Equal(1, CommandLine.Explain(new CliException("a")).Code);
        Assert.Equal(130, CommandLine.Explain(new OperationCanceledException()).Code);
        Assert.Equal(2, CommandLine.Explain(new RunDirectoryException("a")).Code);
        (IReadOnlyList<string> lines, int code) = CommandLine.Explain(new IOException("first\r\nsecond."));
        Assert.Equal(("first second", 1), (Assert.Single(lines), code));
        Assert.Contains("InvalidOperationException", Assert.Single(CommandLine.Explain(new InvalidOperationException("x\ny")).Lines), StringComparison.Ordinal);
    }

    [Fact]
    public void A_port_in_use_is_told_with_what_to_change()
    {
        using System.Net.Sockets.TcpListener taken = new(System.Net.IPAddress.Loopback, 0);
        taken.Start();
        int port = ((System.Net.IPEndPoint)taken.LocalEndpoint).Port;
        CliException refused = Assert.Throws<CliException>(() => DaemonRun.CheckPort(new DaemonSettings { Port = port }));
        Assert.Equal($"port {port} of 127.0.0.1 is in use; choose another one with --listen", refused.Message);
        Assert.Equal(1, refused.ExitCode);
    }

    [Fact]
    public void A_pool_larger_than_memory_is_told_before_anything_is_taken()
    {
        CliException refused = Assert.Throws<CliException>(() => DaemonRun.CheckMemory(new DaemonSettings { PoolBytes = 1L << 60 }));
        Assert.Matches("^a pool of 1048576 TiB is larger than the memory there is \\(.*\\); choose a smaller --pool-size$", refused.Message);
        DaemonRun.CheckMemory(new DaemonSettings());
    }

    [Fact]
    public void Once_up_it_says_where_to_connect_and_what_to_do_next()
    {
        StatusReply status = new() { Pid = 5 };
        status.Listeners.Add(new ListenAddress { Port = 8080, Address = "0.0.0.0:8080", Workers = 4 });
        IReadOnlyList<string> lines = DaemonRun.ReadyLines(new DaemonSettings { Name = "x" }, status);
        Assert.Contains("listening on 0.0.0.0:8080", lines[0], StringComparison.Ordinal);
        Assert.Contains("curl http://127.0.0.1:8080/", lines[1], StringComparison.Ordinal);
        Assert.EndsWith("inspect pages --name x", lines[2], StringComparison.Ordinal);
        Assert.EndsWith("down --name x", lines[3], StringComparison.Ordinal);
    }

    [Fact]
    public void The_median_is_the_middle_or_between_the_two_middle_ones()
    {
        Assert.Equal(2, BenchResult.Median([3, 1, 2]));
        Assert.Equal(2.5, BenchResult.Median([4, 1, 2, 3]));
    }
}
