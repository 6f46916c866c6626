namespace ZeroCopyDaemon.InteropTests;

/// <summary>HTTP clients and load generators against the HTTP app.</summary>
public sealed class HttpTests(DefaultDaemons daemons)
{
    [Theory]
    [EveryFamily]
    public async Task Wrk_sees_no_error(IpFamily family)
    {
        Requirements.Need("wrk");
        await daemons.CaseAsync(family, async daemon =>
        {
            ProgramResult wrk = await daemon.Netns.RunAsync("wrk", 30, "-t1", "-c32", "-d4s", "--latency", daemon.Url("/"));
            ExpectGoodWrk(wrk);
            Figure.Write($"wrk -t1 -c32: {Line(wrk, "Requests/sec:")}");
        });
    }

    [Theory]
    [EveryFamily(false, true)]
    public async Task Ab_sees_no_error_whether_it_keeps_connections_or_not(IpFamily family, bool keep)
    {
        Requirements.Need("ab");
        await daemons.CaseAsync(family, async daemon =>
        {
            // Lengths differ by the worker that answers, which ab must be told not to take for a failure.
            string[] arguments = ["-q", "-l", "-n", "5000", "-c", "16", .. (keep ? ["-k"] : Array.Empty<string>()), daemon.Url("/")];
            ProgramResult ab = await daemon.Netns.RunAsync("ab", 60, arguments);
            Assert.True(ab.ExitCode == 0, ab.All);
            Assert.Equal("5000", Line(ab, "Complete requests:"));
            Assert.Equal("0", Line(ab, "Failed requests:"));
            Assert.DoesNotContain("Non-2xx", ab.Output, StringComparison.Ordinal);
            Figure.Write($"ab -n 5000 -c 16{(keep ? " -k" : "")}: {Line(ab, "Requests per second:")}");
        });
    }

    [Theory]
    [EveryFamily]
    public async Task Requests_pipelined_in_one_write_are_answered_in_order(IpFamily family)
    {
        Requirements.Need();
        const int Requests = 500;
        await daemons.CaseAsync(family, async daemon =>
        {
            using HttpPeer peer = await HttpPeer.ConnectAsync(daemon);
            Task send = peer.SendAsync(string.Concat(Enumerable.Repeat("GET / HTTP/1.1\r\nHost: test\r\n\r\n", Requests)));
            for (int i = 1; i <= Requests; i++)
            {
                Assert.Contains($": request {i} on connection ", await peer.ReadTextAsync(), StringComparison.Ordinal);
            }

            await send;
        });
    }

    /// <summary>What follows a label on its line.</summary>
    internal static string Line(ProgramResult result, string label)
    {
        string? line = result.Output.Split('\n').FirstOrDefault(line => line.TrimStart().StartsWith(label, StringComparison.Ordinal));
        Assert.True(line is not null, $"no '{label}' in: {result.All}");
        return line.TrimStart()[label.Length..].Trim();
    }

    internal static void ExpectGoodWrk(ProgramResult wrk)
    {
        Assert.True(wrk.ExitCode == 0, wrk.All);
        Assert.Contains("Requests/sec", wrk.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("Socket errors", wrk.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("Non-2xx", wrk.Output, StringComparison.Ordinal);
    }
}
