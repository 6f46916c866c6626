using System.Text.Json;

namespace ZeroCopyDaemon.EndToEndTests;

public sealed class BenchTests(ITestOutputHelper output)
{
    private static readonly Dictionary<string, string> Environment = [];

    [Fact]
    public async Task The_benchmark_over_a_tap_measures_us_and_a_peer_by_turns_and_leaves_nothing_behind()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && System.Environment.IsPrivilegedProcess && File.Exists("/dev/net/tun") && Programs.Exists("ip"), "needs root, /dev/net/tun and iproute2");
        ProgramResult bench = await Programs.RunAsync(Programs.Zcd, Environment, 180, "bench", "--wire", "tap", "--workloads", "w1", "--bytes", "64MiB", "--rounds", "1", "--placement", "packed", "--json");
        Assert.True(bench.ExitCode == 0, bench.All);
        using JsonDocument json = JsonDocument.Parse(bench.Output);
        JsonElement w1 = Assert.Single(json.RootElement.GetProperty("workloads").EnumerateArray());
        Assert.Equal(("w1", 2), (w1.GetProperty("workload").GetString(), w1.GetProperty("results").GetArrayLength()));
        foreach (JsonElement result in w1.GetProperty("results").EnumerateArray())
        {
            Assert.True(result.GetProperty("rate").GetDouble() > 0);
            Assert.True(result.GetProperty("busy_us").GetDouble() > 0);
            output.WriteLine($"[figure] bench --wire tap, w1: {result.GetProperty("name").GetString()} {result.GetProperty("rate").GetDouble():0.00} GB/s");
        }

        // Another benchmark may be running beside this one: only what is nobody's counts.
        string[] left = [.. Directory.Exists("/run/netns") ? Directory.EnumerateFiles("/run/netns", "zcd-bench-*") : []];
        Assert.All(left, name => Assert.True(Directory.Exists($"/proc/{name.Split('-')[^1]}"), $"{name} was left behind"));
    }

    [Fact]
    public async Task Without_privilege_it_says_so_in_one_line()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "a tap is Linux's");
        Assert.SkipWhen(System.Environment.IsPrivilegedProcess, "this is root");
        ProgramResult bench = await Programs.RunAsync(Programs.Zcd, Environment, 60, "bench", "--wire", "tap");
        Assert.Equal((1, "zcd: bench --wire tap makes network devices, which needs root: run it with sudo, or measure the gateway without --wire"), (bench.ExitCode, bench.Error.Trim()));
    }
}
