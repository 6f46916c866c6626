using ZeroCopyDaemon.Packetdrill;

namespace ZeroCopyDaemon.ConformanceTests;

/// <summary>Our own scripts, and the interpreter itself: what is wrong must be found, and said with its line.</summary>
public sealed class ScriptTests
{
    private const string ScriptsVariable = "ZCD_PACKETDRILL";

    public static TheoryData<string> Scripts => [.. ScriptRunner.Find([Path.Combine(AppContext.BaseDirectory, "scripts")]).Select(path => Path.GetFileName(path))];

    [Theory]
    [MemberData(nameof(Scripts))]
    public void The_stack_does_what_the_script_says(string script)
    {
        ScriptResult result = ScriptRunner.RunFile(Path.Combine(AppContext.BaseDirectory, "scripts", script));
        Assert.True(result.Outcome == ScriptOutcome.Pass, result.ToString());
    }

    [Theory]
    [InlineData("+0.00 > S. 0:0(0) ack 1 <mss 1460>", "+0.00 > S. 0:0(0) ack 2 win * <mss 1460>", 8)]
    [InlineData("+0.10 < R 1:1(0) win 0", "+0.10 > R 1:1(0) win 0", 11)]
    [InlineData("= -1 ECONNRESET (Connection reset by peer)", "= 0", 12)]
    public void A_wrong_expectation_fails_at_its_line(string right, string wrong, int line)
    {
        string text = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "scripts", "a-reset-in-the-window-ends-the-connection.pkt"));
        Assert.Contains(right, text, StringComparison.Ordinal);
        ScriptResult result = ScriptRunner.Run("wrong.pkt", text.Replace(right, wrong, StringComparison.Ordinal));
        Assert.Equal(ScriptOutcome.Fail, result.Outcome);
        Assert.Contains($"wrong.pkt:{line}:", result.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void What_cant_be_parsed_is_no_pass()
    {
        ScriptResult result = ScriptRunner.Run("odd.pkt", "0.00 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0.00 > S. 0:0(0 ack\n");
        Assert.NotEqual(ScriptOutcome.Pass, result.Outcome);
        Assert.Contains("odd.pkt:2:", result.ToString(), StringComparison.Ordinal);
    }

    /// <summary>Any folder of scripts can be run beside ours; what they come to is printed, each that isn't passed with its reason.</summary>
    [Fact]
    public void Scripts_of_others_are_run_where_there_are_any()
    {
        string? folder = Environment.GetEnvironmentVariable(ScriptsVariable);
        Assert.SkipUnless(Directory.Exists(folder), $"{ScriptsVariable} names no folder of scripts");
        ScriptResult[] results = [.. ScriptRunner.Find([folder!]).AsParallel().AsOrdered().Select(path => ScriptRunner.RunFile(path))];
        Assert.NotEmpty(results);
        ITestOutputHelper output = TestContext.Current.TestOutputHelper!;
        foreach (IGrouping<ScriptOutcome, ScriptResult> group in results.GroupBy(result => result.Outcome))
        {
            output.WriteLine($"[figure] {group.Key}: {group.Count()} of {results.Length} scripts");
        }

        foreach (ScriptResult result in results.Where(result => result.Outcome != ScriptOutcome.Pass))
        {
            output.WriteLine(result.ToString());
        }

        Assert.Contains(results, result => result.Outcome == ScriptOutcome.Pass);
    }
}
