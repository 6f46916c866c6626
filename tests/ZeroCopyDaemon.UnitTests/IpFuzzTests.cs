using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Ip;

namespace ZeroCopyDaemon.UnitTests;

public sealed class IpFuzzTests
{
    [Theory]
    [InlineData(1, false)]
    [InlineData(2, false)]
    [InlineData(3, true)]
    [InlineData(4, true)]
    public void Whatever_comes_in_every_frame_is_accounted_for_and_no_page_is_lost(int seed, bool ipv6)
    {
        using var host = new IpHost(options => options with
        {
            MaxReassemblies = 16,
            MaxReassemblyBytes = 40 * 4096,
            MaxNeighbors = 64,
            Address6 = ipv6 ? Ip6.Local : default,
            Gateway6 = ipv6 ? Ip6.Gateway : default,
        });
        host.Tcp.Keep = host.Device.Keep = false;
        var mutator = new FrameMutator(seed, ipv6);
        var random = new Random(seed);
        for (int i = 0; i < 200_000; i++)
        {
            host.NowUs += i % 500 == 499 ? Reassembly.TimeoutUs : random.Next(2000);
            host.Receive(mutator.Next(), (RxChecksum)random.Next(3));
            if (host.NowUs >= host.Ip.NextDeadlineUs)
            {
                host.Ip.Poll(host.NowUs);
            }

            if (i % 64 == 0)
            {
                // The device is slow at times, and its ring full at others.
                host.Device.HoldCompletions = random.Next(3) == 0;
                host.Device.Room = random.Next(4) == 0 ? 0 : int.MaxValue;
                host.Device.CompleteAll();
            }

            Assert.True(host.Ip.Reassembly.HeldBytes <= 40 * 4096 && host.Ip.Reassembly.Count <= 16 && host.Ip.Arp.Table.Count <= 64);
            Assert.True(host.Ip.Ipv6 is not { } v6 || (v6.Reassembly.HeldBytes <= 40 * 4096 && v6.Reassembly.Count <= 16 && v6.Ndp.Table.Count <= 64));
            if (i % 2000 == 0)
            {
                host.Pool.CheckInvariants();
                host.AssertAccounted();
            }
        }

        // The run reached what it is meant to test.
        string[] names6 =
        [
            "ip6.InDelivers", "ip6.ReasmOKs", "ip6.ReasmFails", "ip6.ReasmTimeout", "icmp6.OutEchoReplies", "icmp6.OutTimeExcds", "icmp6.OutDestUnreachs", "icmp6.OutParmProblems",
            "icmp6.OutNeighborAdvertisements", "icmp6.InPktTooBigs",
        ];
        Assert.All(ipv6 ? names6 : [], name => Assert.True(host.Counter(name) > 10, name));
        foreach (string name in new[] { "ip.InDelivers", "ip.ReasmOKs", "ip.ReasmFails", "ip.ReasmTimeout", "icmp.OutEchoReps", "icmp.OutTimeExcds", "icmp.OutDestUnreachs", "arp.OutReplies" })
        {
            Assert.True(host.Counter(name) > 10, name);
        }

        host.Device.HoldCompletions = false;
        host.Ip.Poll(host.NowUs + Reassembly.Ipv6TimeoutUs);
        host.AssertClean();
    }
}
