using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>What each assembly may know, read from its metadata: every type and member that it refers to.</summary>
public sealed class WallTests
{
    private static readonly string[] TypesBannedFromNet =
    [
        "System.Threading.Tasks.", "System.Threading.Thread", "System.Threading.Timer", "System.Threading.PeriodicTimer", "System.Threading.SynchronizationContext",
        "System.Timers.", "System.Net.Sockets.", "System.Net.NetworkInformation.", "System.Diagnostics.Stopwatch", "System.Diagnostics.Process", "System.DateTime",
        "System.TimeProvider", "System.IO.", "System.Console", "Microsoft.", "ZeroCopyDaemon.Memory.Mapping.",
    ];

    private static readonly string[] MembersBannedFromNet = ["System.Environment.get_TickCount", "System.Environment.get_TickCount64"];

    [Fact]
    public void Net_keeps_no_clock_thread_socket_task_logger_or_file() =>
        Assert.DoesNotContain(
            References("ZeroCopyDaemon.Net"),
            name => TypesBannedFromNet.Any(banned => name.StartsWith(banned, StringComparison.Ordinal)) || MembersBannedFromNet.Contains(name));

    [Fact]
    public void Net_builds_on_Memory_and_the_runtime_alone() =>
        Assert.DoesNotContain(
            AssemblyReferences("ZeroCopyDaemon.Net"), name => name != "ZeroCopyDaemon.Memory" && !name.StartsWith("System.", StringComparison.Ordinal));

    [Fact]
    public void Memory_knows_nothing_of_networks()
    {
        Assert.DoesNotContain(References("ZeroCopyDaemon.Memory"), name => name.StartsWith("System.Net.", StringComparison.Ordinal));
        Assert.DoesNotContain(AssemblyReferences("ZeroCopyDaemon.Memory"), name => name.StartsWith("ZeroCopyDaemon.", StringComparison.Ordinal));
    }

    [Fact]
    public void Nothing_builds_on_the_command_line()
    {
        string[] ours = Directory.GetFiles(AppContext.BaseDirectory, "ZeroCopyDaemon.*.dll");
        Assert.True(ours.Length >= 3);
        Assert.DoesNotContain(ours, path => AssemblyReferences(Path.GetFileNameWithoutExtension(path)).Contains("ZeroCopyDaemon.Cli"));

        // Also those that these tests don't build on.
        foreach (string project in Directory.GetFiles(SourceRoot(), "*.csproj", SearchOption.AllDirectories))
        {
            Assert.DoesNotContain("ZeroCopyDaemon.Cli.csproj", File.ReadAllText(project), StringComparison.Ordinal);
        }
    }

    [Fact]
    public void The_walls_notice_what_they_are_for()
    {
        string[] own = References("ZeroCopyDaemon.UnitTests");
        Assert.Contains(own, name => name.StartsWith("System.IO.", StringComparison.Ordinal));
        Assert.Contains("System.AppContext.get_BaseDirectory", own);
        Assert.Contains("ZeroCopyDaemon.Net", AssemblyReferences("ZeroCopyDaemon.UnitTests"));
    }

    /// <summary>Full names of all types referred to, and of all members as Type.Member.</summary>
    private static string[] References(string assembly)
    {
        using FileStream stream = File.OpenRead(Path.Combine(AppContext.BaseDirectory, assembly + ".dll"));
        using var image = new PEReader(stream);
        MetadataReader reader = image.GetMetadataReader();
        var names = new List<string>();
        foreach (TypeReferenceHandle handle in reader.TypeReferences)
        {
            names.Add(NameOf(reader, handle));
        }

        foreach (MemberReferenceHandle handle in reader.MemberReferences)
        {
            MemberReference member = reader.GetMemberReference(handle);
            if (member.Parent.Kind == HandleKind.TypeReference)
            {
                names.Add(NameOf(reader, (TypeReferenceHandle)member.Parent) + "." + reader.GetString(member.Name));
            }
        }

        return [.. names];
    }

    private static string NameOf(MetadataReader reader, TypeReferenceHandle handle)
    {
        TypeReference type = reader.GetTypeReference(handle);
        string name = reader.GetString(type.Name);
        return type.ResolutionScope.Kind == HandleKind.TypeReference
            ? NameOf(reader, (TypeReferenceHandle)type.ResolutionScope) + "." + name
            : type.Namespace.IsNil ? name : reader.GetString(type.Namespace) + "." + name;
    }

    private static string[] AssemblyReferences(string assembly)
    {
        using FileStream stream = File.OpenRead(Path.Combine(AppContext.BaseDirectory, assembly + ".dll"));
        using var image = new PEReader(stream);
        MetadataReader reader = image.GetMetadataReader();
        return [.. reader.AssemblyReferences.Select(handle => reader.GetString(reader.GetAssemblyReference(handle).Name))];
    }

    private static string SourceRoot()
    {
        DirectoryInfo? directory = new(AppContext.BaseDirectory);
        while (directory is not null && !File.Exists(Path.Combine(directory.FullName, "ZeroCopyDaemon.sln")))
        {
            directory = directory.Parent;
        }

        Assert.NotNull(directory);
        return Path.Combine(directory.FullName, "src");
    }
}
