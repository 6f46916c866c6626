using System.Globalization;

namespace ZeroCopyDaemon.Memory.Mapping;

/// <summary>
/// How much memory can be had now without others being killed for it: what the machine has available, and what the limits of the control groups leave of it. Linux; elsewhere nobody knows.
/// </summary>
internal static class MemoryLimit
{
    /// <summary>Bytes, or null when it can't be known.</summary>
    public static long? AvailableBytes() => AvailableBytes("/proc", "/sys/fs/cgroup");

    internal static long? AvailableBytes(string proc, string cgroups)
    {
        long? available = Smaller(ReadMemAvailable(Path.Combine(proc, "meminfo")), null);
        foreach (string line in ReadLines(Path.Combine(proc, "self", "cgroup")))
        {
            // "0::/path" is the unified hierarchy, "9:memory:/path" the old one.
            string[] parts = line.Split(':', 3);
            if (parts.Length != 3)
            {
                continue;
            }

            if (parts[1].Length == 0)
            {
                available = Smaller(available, LeftIn(cgroups, parts[2], "memory.max", "memory.current", "file "));
            }
            else if (parts[1].Split(',').Contains("memory", StringComparer.Ordinal))
            {
                available = Smaller(available, LeftIn(Path.Combine(cgroups, "memory"), parts[2], "memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache "));
            }
        }

        return available;
    }

    /// <summary>The tightest of the group and all groups around it. Inside a container the path may name what isn't visible here: then the root that is.</summary>
    private static long? LeftIn(string root, string path, string limitFile, string usageFile, string cacheKey)
    {
        long? left = null;
        string group = path.Trim('/');
        while (true)
        {
            string directory = Path.Combine(root, group);
            if (ReadNumber(Path.Combine(directory, limitFile)) is long limit && ReadNumber(Path.Combine(directory, usageFile)) is long usage)
            {
                // File cache goes when memory is wanted; shared memory is counted as cache but stays.
                long cache = Math.Max(0, ReadKey(Path.Combine(directory, "memory.stat"), cacheKey) - ReadKey(Path.Combine(directory, "memory.stat"), cacheKey == "file " ? "shmem " : "total_shmem "));
                left = Smaller(left, Math.Max(0, limit - Math.Max(0, usage - cache)));
            }

            if (group.Length == 0)
            {
                return left;
            }

            group = Path.GetDirectoryName(group) ?? string.Empty;
        }
    }

    private static long? ReadMemAvailable(string path)
    {
        foreach (string line in ReadLines(path))
        {
            if (line.StartsWith("MemAvailable:", StringComparison.Ordinal)
                && long.TryParse(line.AsSpan("MemAvailable:".Length).TrimEnd("kB ").Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out long kibibytes))
            {
                return kibibytes * 1024;
            }
        }

        return null;
    }

    private static long? ReadNumber(string path)
    {
        foreach (string line in ReadLines(path))
        {
            // "max" means no limit.
            return long.TryParse(line, NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number : null;
        }

        return null;
    }

    private static long ReadKey(string path, string key)
    {
        foreach (string line in ReadLines(path))
        {
            if (line.StartsWith(key, StringComparison.Ordinal) && long.TryParse(line.AsSpan(key.Length), NumberStyles.None, CultureInfo.InvariantCulture, out long number))
            {
                return number;
            }
        }

        return 0;
    }

    private static string[] ReadLines(string path)
    {
        try
        {
            return File.Exists(path) ? File.ReadAllLines(path) : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    private static long? Smaller(long? one, long? other) => one is null ? other : other is null ? one : Math.Min(one.Value, other.Value);
}
