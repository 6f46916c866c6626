using System.Net.Sockets;
using System.Text.RegularExpressions;

namespace ZeroCopyDaemon.InteropTests;

/// <summary>The tools that ask whether a host is there.</summary>
public sealed partial class IcmpTests(DefaultDaemons daemons)
{
    /// <summary>The larger ones come and go in fragments.</summary>
    [Theory]
    [EveryFamily(56, 1400, 8000)]
    public async Task Ping_is_answered(IpFamily family, int bytes)
    {
        Requirements.Need("ping");
        await daemons.CaseAsync(family, async daemon =>
        {
            ProgramResult ping = await daemon.Netns.RunAsync("ping", 20, family.Option(), "-n", "-c", "5", "-i", "0.2", "-s", $"{bytes}", $"{daemon.Address.Address}");
            Assert.True(ping.ExitCode == 0, ping.All);
            Assert.Contains("5 packets transmitted, 5 received, 0% packet loss", ping.Output, StringComparison.Ordinal);
            Assert.Equal(5, ping.Output.Split($"{bytes + 8} bytes from {daemon.Address.Address}: icmp_seq=").Length - 1);
        });
    }

    [Theory]
    [EveryFamily("UDP", "ICMP")]
    public async Task Traceroute_ends_at_the_kernel_s_address_after_one_hop(IpFamily family, string method)
    {
        Requirements.Need("traceroute");
        await daemons.CaseAsync(family, async daemon =>
        {
            // By UDP the hop that is the goal answers that nobody listens on the port.
            string[] how = method == "ICMP" ? ["-I"] : [];
            ProgramResult traceroute = await daemon.Netns.RunAsync("traceroute", 30, [family.Option(), .. how, "-n", "-q", "1", "-w", "2", "-m", "4", $"{daemon.Address.Address}"]);
            Assert.True(traceroute.ExitCode == 0, traceroute.All);
            string hop = Assert.Single(traceroute.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Skip(1));
            Assert.Matches(FirstHop(), hop);
            Assert.Contains($" {daemon.Address.Address} ", hop, StringComparison.Ordinal);
        });
    }

    [Theory]
    [EveryFamily]
    public async Task A_UDP_socket_of_Linux_is_told_that_the_port_is_unreachable(IpFamily family)
    {
        Requirements.Need();
        await daemons.CaseAsync(family, async daemon =>
        {
            using Socket socket = daemon.Netns.UdpSocket(family);
            await socket.ConnectAsync(daemon.Address.WithPort(9999));
            await socket.SendAsync("anybody there?"u8.ToArray());
            using CancellationTokenSource patience = new(TimeSpan.FromSeconds(10));
            SocketException refused = await Assert.ThrowsAsync<SocketException>(async () => await socket.ReceiveAsync(new byte[16], patience.Token));
            Assert.Equal(SocketError.ConnectionRefused, refused.SocketErrorCode);
        });
    }

    [GeneratedRegex("^ *1 +[^ ]+ +[0-9.]+ ms")]
    private static partial Regex FirstHop();
}
