using System.Globalization;
using System.Net;
using CsCheck;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Nic.Rss;

namespace ZeroCopyDaemon.UnitTests;

public sealed class RssTests
{
    /// <summary>Microsoft's "Verifying the RSS Hash Calculation": destination, source, hash over addresses, hash with ports.</summary>
    [Theory]
    [InlineData("161.142.100.80:1766", "66.9.149.187:2794", "323e8fc2", "51ccc178")]
    [InlineData("65.69.140.83:4739", "199.92.111.2:14230", "d718262a", "c626b0ea")]
    [InlineData("12.22.207.184:38024", "24.19.198.95:12898", "d2d0a5de", "5c2b394a")]
    [InlineData("209.142.163.6:2217", "38.27.205.30:48228", "82989176", "afc7327f")]
    [InlineData("202.188.127.2:1303", "153.39.163.191:44251", "5d1809c5", "10e828a2")]
    [InlineData("[3ffe:2501:200:3::1]:1766", "[3ffe:2501:200:1fff::7]:2794", "2cc18cd5", "40207d3d")]
    [InlineData("[ff02::1]:4739", "[3ffe:501:8::260:97ff:fe40:efab]:14230", "0f0c461c", "dde51bbf")]
    [InlineData("[fe80::200:f8ff:fe21:67cf]:38024", "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251", "4b61e985", "02d1feef")]
    public void The_hash_agrees_with_the_published_vectors(string destination, string source, string addresses, string withPorts)
    {
        var toeplitz = new ToeplitzHash([]);
        IPEndPoint to = IPEndPoint.Parse(destination), from = IPEndPoint.Parse(source);
        byte[] input = [.. from.Address.GetAddressBytes(), .. to.Address.GetAddressBytes()];
        byte[] ports = [(byte)(from.Port >> 8), (byte)from.Port, (byte)(to.Port >> 8), (byte)to.Port];
        Assert.Equal(uint.Parse(addresses, NumberStyles.HexNumber, CultureInfo.InvariantCulture), toeplitz.Hash(input));
        Assert.Equal(uint.Parse(withPorts, NumberStyles.HexNumber, CultureInfo.InvariantCulture), toeplitz.Hash([.. input, .. ports]));
    }

    [Fact]
    public void The_tables_agree_with_the_definition_bit_by_bit_for_any_key() =>
        Gen.Select(Gen.Byte.Array[40], Gen.Byte.Array[0, 36]).Sample((key, input) =>
        {
            uint expected = 0;
            for (int bit = 0; bit < input.Length * 8; bit++)
            {
                if ((input[bit / 8] & (0x80 >> (bit % 8))) != 0)
                {
                    for (int i = 0; i < 32; i++)
                    {
                        expected ^= (uint)((key[(bit + i) / 8] >> (7 - ((bit + i) % 8))) & 1) << (31 - i);
                    }
                }
            }

            Assert.Equal(expected, new ToeplitzHash(key).Hash(input));
        });

    [Fact]
    public void A_TCP_frame_is_hashed_with_its_ports_and_a_fragment_without()
    {
        using var bench = new NicBench(NicBench.Small());
        var toeplitz = new ToeplitzHash([]);
        byte[] input = [10, 0, 0, 2, 10, 0, 0, 1, 1234 >> 8, 1234 & 255, 0, 80];
        Assert.Equal(toeplitz.Hash(input), bench.Pass(NicFrames.TcpFrame([1])).RssHash);
        Assert.Equal(toeplitz.Hash(input), bench.Pass(NicFrames.TcpFrame([1], ipOptions: 12)).RssHash);
        byte[] fragment = NicFrames.TcpFrame([1]);
        NicFrames.WriteIpv4(fragment, 0, 6, fragment.Length - 14, 1, flagsAndOffset: 0x2000);
        Assert.Equal(toeplitz.Hash(input.AsSpan(0, 8)), bench.Pass(fragment).RssHash);
    }

    [Fact]
    public void The_low_bits_of_the_hash_choose_the_queue_by_the_indirection_table()
    {
        using var bench = new NicBench(NicBench.Small() with { RxQueues = 5, RxRingSize = 16 });
        byte[] table = new byte[128];
        for (int i = 0; i < table.Length; i++)
        {
            table[i] = (byte)(i * 7 % 5);
        }

        bench.Nic.SetIndirection(table);
        Assert.Equal(table.Select(queue => (int)queue), bench.Nic.Describe().IndirectionTable);
        long[] expected = new long[5];
        for (ushort port = 1; port < 300; port++)
        {
            ReceivedFrame received = bench.Pass(NicFrames.TcpFrame([1], sourcePort: port));
            expected[table[received.RssHash & 127]]++;
            Assert.Equal(expected, bench.Nic.Describe().RxQueues.Select(queue => queue.Packets));
        }

        Assert.All(expected, count => Assert.True(count > 20));
        Assert.Equal(expected[3], bench.Counter("nic.rx_queue_3_packets"));
        Assert.Equal(expected[3] * 55, bench.Counter("nic.rx_queue_3_bytes"));
    }

    [Fact]
    public void What_has_no_hash_goes_to_the_first_queue()
    {
        using var bench = new NicBench(NicBench.Small() with { RxQueues = 2, RxRingSize = 16 });
        bench.Nic.SetIndirection(Enumerable.Repeat((byte)1, 128).ToArray());
        bench.Pass(NicFrames.Pattern(60));
        bench.Pass(NicFrames.TcpFrame([1]));
        Assert.Equal([1, 1], bench.Nic.Describe().RxQueues.Select(queue => queue.Packets));
    }

    [Fact]
    public void By_default_all_queues_get_their_share()
    {
        var nic = new NicModel(NicBench.Small() with { RxQueues = 3 }, new Memory.Pages.PoolGeometry(4096, 256));
        Assert.Equal([43, 43, 42], nic.Describe().IndirectionTable.GroupBy(queue => queue).OrderBy(group => group.Key).Select(group => group.Count()));
    }

    [Fact]
    public void A_table_of_another_size_or_with_a_queue_that_is_not_there_changes_nothing()
    {
        var nic = new NicModel(NicBench.Small() with { RxQueues = 2 }, new Memory.Pages.PoolGeometry(4096, 256));
        byte[] before = nic.Indirection.ToArray();
        byte[] wrong = new byte[128];
        wrong[127] = 2;
        Assert.Throws<ArgumentException>(() => nic.SetIndirection(wrong));
        Assert.Throws<ArgumentException>(() => nic.SetIndirection(new byte[64]));
        Assert.Equal(before, nic.Indirection.ToArray());
    }

    [Fact]
    public void The_key_can_be_chosen_and_is_shown()
    {
        byte[] key = Enumerable.Range(1, 40).Select(i => (byte)i).ToArray();
        using var bench = new NicBench(NicBench.Small() with { RssKey = key });
        byte[] input = [10, 0, 0, 2, 10, 0, 0, 1, 1234 >> 8, 1234 & 255, 0, 80];
        Assert.Equal(new ToeplitzHash(key).Hash(input), bench.Pass(NicFrames.TcpFrame([1])).RssHash);
        Assert.StartsWith("010203", bench.Nic.Describe().RssKey, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => new NicModel(new NicOptions { RssKey = new byte[39] }, new Memory.Pages.PoolGeometry(4096, 256)));
    }
}
