namespace ZeroCopyDaemon.InteropTests;

/// <summary>A browser as people have it, without a screen.</summary>
public sealed class BrowserTests(DefaultDaemons daemons)
{
    [Theory]
    [EveryFamily]
    public async Task A_headless_browser_loads_a_page(IpFamily family)
    {
        Requirements.Need("chromium");
        await daemons.CaseAsync(family, async daemon =>
        {
            string profile = Directory.CreateTempSubdirectory("zcd").FullName;
            try
            {
                ProgramResult page = await daemon.Netns.RunAsync(
                    "chromium", 90, "--headless", "--no-sandbox", "--disable-gpu", $"--user-data-dir={profile}", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                    "--no-first-run", "--no-proxy-server", "--dump-dom", daemon.Url("/"));
                Assert.True(page.ExitCode == 0, page.All);
                Assert.Contains("Hello from worker", page.Output, StringComparison.Ordinal);
            }
            finally
            {
                Directory.Delete(profile, recursive: true);
            }
        });
    }
}
