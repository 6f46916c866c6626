using System.Runtime.InteropServices;

namespace ZeroCopyDaemon.InteropTests;

/// <summary>What this suite needs of the machine. A case that can't run is skipped, and says why.</summary>
internal static partial class Requirements
{
    private static readonly Lazy<string?> Missing = new(Look);

    /// <summary>Skips the case unless devices and namespaces can be made here and the programs are installed.</summary>
    public static void Need(params string[] programs)
    {
        Assert.SkipWhen(Missing.Value is not null, Missing.Value ?? "");
        foreach (string program in programs)
        {
            Assert.SkipUnless(Programs.Exists(program), $"{program} is not installed");
        }
    }

    private static string? Look()
    {
        if (!OperatingSystem.IsLinux())
        {
            return "TAP devices and network namespaces are Linux's";
        }

        if (geteuid() != 0)
        {
            return "only root may make network namespaces";
        }

        if (!File.Exists("/dev/net/tun"))
        {
            return "there is no /dev/net/tun here";
        }

        if (!Programs.Exists("ip"))
        {
            return "ip is not installed (Debian package iproute2)";
        }

        try
        {
            using Netns attempt = Netns.Create();
            attempt.Do(static () => 0);
            return null;
        }
        catch (Exception failure) when (failure is IOException or InvalidOperationException)
        {
            return $"network namespaces can't be made here: {failure.Message.ReplaceLineEndings(" ")}";
        }
    }

    [LibraryImport("libc")]
    private static partial uint geteuid();
}
