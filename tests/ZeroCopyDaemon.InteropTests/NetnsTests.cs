using System.Net;
using System.Net.Sockets;

namespace ZeroCopyDaemon.InteropTests;

/// <summary>That the suite's own tools do what its cases take for granted.</summary>
public sealed class NetnsTests
{
    [Fact]
    public void A_namespace_is_apart_from_ours_and_gone_afterwards()
    {
        Requirements.Need();
        string name;
        using (Netns netns = Netns.Create())
        {
            name = netns.Name;
            Assert.True(File.Exists("/run/netns/" + name));
            Assert.Empty(netns.Devices());
            Assert.Contains("LOOPBACK,UP", netns.Ip("link show lo"), StringComparison.Ordinal);
            Assert.NotEqual(File.ResolveLinkTarget("/proc/self/ns/net", false)!.Name, netns.Do(() => File.ResolveLinkTarget("/proc/thread-self/ns/net", false)!.Name));
        }

        Assert.False(File.Exists("/run/netns/" + name));
    }

    [Fact]
    public async Task A_socket_made_in_a_namespace_stays_there_whichever_thread_uses_it()
    {
        Requirements.Need();
        using Netns netns = Netns.Create();
        using Socket listener = netns.TcpSocket(IpFamily.V4);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        var there = (IPEndPoint)listener.LocalEndPoint!;
        using Socket client = await netns.ConnectAsync(there);
        using Socket accepted = await listener.AcceptAsync();
        Assert.Equal(client.LocalEndPoint, accepted.RemoteEndPoint);
        using Socket outside = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        SocketException refused = await Assert.ThrowsAsync<SocketException>(async () => await outside.ConnectAsync(there));
        Assert.Equal(SocketError.ConnectionRefused, refused.SocketErrorCode);
    }

    [Fact]
    public void A_setting_is_changed_in_the_namespace_alone_and_put_back()
    {
        Requirements.Need();
        const string Name = "net.ipv4.tcp_sack";
        string ours = File.ReadAllText("/proc/sys/net/ipv4/tcp_sack");
        using Netns netns = Netns.Create();
        netns.WriteSysctl(Name, "1");
        using (netns.ChangeSysctl(Name, "0"))
        {
            Assert.Equal("0", netns.ReadSysctl(Name));
            Assert.Equal(ours, File.ReadAllText("/proc/sys/net/ipv4/tcp_sack"));
        }

        Assert.Equal("1", netns.ReadSysctl(Name));
    }

    [Fact]
    public async Task A_program_run_in_a_namespace_sees_its_devices()
    {
        Requirements.Need();
        using Netns netns = Netns.Create();
        netns.Ip("addr add 10.99.98.97/32 dev lo");
        ProgramResult shown = await netns.RunAsync("ip", 10, "-o", "addr", "show", "dev", "lo");
        Assert.Equal(0, shown.ExitCode);
        Assert.Contains("10.99.98.97/32", shown.Output, StringComparison.Ordinal);
    }
}
