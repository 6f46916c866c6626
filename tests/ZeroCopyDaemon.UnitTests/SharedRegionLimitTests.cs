using ZeroCopyDaemon.Memory.Mapping;

namespace ZeroCopyDaemon.UnitTests;

public sealed class SharedRegionLimitTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("zcd-limit-").FullName;

    [Fact]
    public void Without_control_groups_it_is_what_the_machine_has_available()
    {
        Write("proc/meminfo", "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    800 kB\n");
        Assert.Equal(800 * 1024, Available());
    }

    [Fact]
    public void The_tightest_group_on_the_way_to_the_root_counts()
    {
        Write("proc/meminfo", "MemAvailable:    800 kB\n");
        Write("proc/self/cgroup", "0::/outer/inner\n");
        Write("cgroup/outer/memory.max", "300000\n");
        Write("cgroup/outer/memory.current", "100000\n");
        Write("cgroup/outer/memory.stat", "anon 1\nfile 50000\nshmem 30000\n");
        Write("cgroup/outer/inner/memory.max", "max\n");
        Write("cgroup/outer/inner/memory.current", "90000\n");

        // Of the 100,000 in use 20,000 are file cache that can go; shared memory can't.
        Assert.Equal(300000 - 80000, Available());
    }

    [Fact]
    public void A_container_whose_group_is_not_visible_by_name_finds_its_limit_at_the_root()
    {
        Write("proc/meminfo", "MemAvailable:    800 kB\n");
        Write("proc/self/cgroup", "0::/../elsewhere\n");
        Write("cgroup/memory.max", "4096\n");
        Write("cgroup/memory.current", "5000\n");
        Assert.Equal(0, Available());
    }

    [Fact]
    public void The_old_hierarchy_is_understood()
    {
        Write("proc/meminfo", "MemAvailable:    800 kB\n");
        Write("proc/self/cgroup", "3:cpu,cpuacct:/x\n2:memory:/x\n");
        Write("cgroup/memory/x/memory.limit_in_bytes", "70000\n");
        Write("cgroup/memory/x/memory.usage_in_bytes", "20000\n");
        Write("cgroup/memory/x/memory.stat", "cache 3\ntotal_cache 10000\ntotal_shmem 0\n");
        Assert.Equal(60000, Available());
    }

    [Fact]
    public void What_cannot_be_known_is_not_made_up()
    {
        Assert.Null(Available());
    }

    [Fact]
    public void This_machine_says_how_much_it_has()
    {
        if (!OperatingSystem.IsLinux())
        {
            Assert.Skip("Only Linux says.");
        }

        Assert.InRange(MemoryLimit.AvailableBytes() ?? 0, 1 << 20, long.MaxValue);
    }

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private long? Available() => MemoryLimit.AvailableBytes(Path.Combine(_root, "proc"), Path.Combine(_root, "cgroup"));

    private void Write(string path, string text)
    {
        string full = Path.Combine(_root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllText(full, text);
    }
}
