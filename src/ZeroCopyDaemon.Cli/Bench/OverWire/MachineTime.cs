using System.Globalization;
using System.Runtime.InteropServices;

namespace ZeroCopyDaemon.Cli.Bench.OverWire;

/// <summary>
/// How long the machine's cores were busy, all processes and the OS itself together: what Linux's own TCP does for a receiver it does in the sender's time and in nobody's, so a process's own time
/// isn't all that it costs.
/// </summary>
internal static partial class MachineTime
{
    private const int ClockTicksName = 2;

    /// <summary>CPU time that was not idle, since the machine's start.</summary>
    public static TimeSpan Busy()
    {
        using StreamReader reader = new("/proc/stat");
        long[] ticks = [.. (reader.ReadLine() ?? string.Empty).Split(' ', StringSplitOptions.RemoveEmptyEntries).Skip(1).Select(field => long.Parse(field, CultureInfo.InvariantCulture))];

        // user nice system idle iowait irq softirq steal guest guest_nice; guests' time is in the users', too.
        long busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7];
        return TimeSpan.FromSeconds((double)busy / SystemConfiguration(ClockTicksName));
    }

    [LibraryImport("libc", EntryPoint = "sysconf")]
    private static partial nint SystemConfiguration(int name);
}
