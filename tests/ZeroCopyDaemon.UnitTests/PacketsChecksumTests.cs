using System.Buffers.Binary;
using CsCheck;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.UnitTests;

public sealed class PacketsChecksumTests
{
    private static readonly byte[] Random = MakeRandom(70_000);

    [Fact]
    public void The_example_of_RFC_1071_sums_to_ddf2() =>
        Assert.Equal(0xDDF2, InternetChecksum.Fold(InternetChecksum.Add(0, [0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7])));

    [Fact]
    public void Every_length_and_alignment_sums_as_the_naive_loop_does()
    {
        for (int offset = 0; offset < 70; offset++)
        {
            for (int length = 0; length < 400; length++)
            {
                ReadOnlySpan<byte> bytes = Random.AsSpan(offset, length);
                Assert.Equal(Naive(bytes), InternetChecksum.Finish(InternetChecksum.Add(0, bytes)));
            }
        }
    }

    [Fact]
    public void Long_ranges_of_the_largest_words_do_not_overflow()
    {
        byte[] ones = new byte[9 << 20];
        Array.Fill(ones, (byte)0xFF);
        Assert.Equal(0xFFFF, InternetChecksum.Fold(InternetChecksum.Add(0, ones)));
        ones[^1] = 0xFE;
        Assert.Equal(0xFFFE, InternetChecksum.Fold(InternetChecksum.Add(0, ones)));
    }

    [Fact]
    public void Any_split_into_pieces_sums_as_the_whole() =>
        Gen.Select(Gen.Int[0, 60_000], Gen.Int[0, 64], Gen.Int[0, 3000].Array[0, 12]).Sample((length, offset, cuts) =>
        {
            ReadOnlySpan<byte> whole = Random.AsSpan(offset, length);
            var sum = new ChecksumAccumulator(0);
            ReadOnlySpan<byte> left = whole;
            foreach (int cut in cuts)
            {
                int piece = Math.Min(cut, left.Length);
                sum.Add(left[..piece]);
                left = left[piece..];
            }

            sum.Add(left);
            return sum.Finish() == Naive(whole);
        });

    [Fact]
    public void A_word_changed_in_place_updates_the_checksum_as_summing_anew_would() =>
        Gen.Select(Gen.Byte.Array[2, 64], Gen.Int[0, 1000], Gen.UShort).Sample((bytes, at, value) =>
        {
            if (bytes.Length % 2 != 0)
            {
                bytes = bytes[..^1];
            }

            ushort before = InternetChecksum.Compute(bytes);
            at = at % (bytes.Length / 2) * 2;
            ushort old = BinaryPrimitives.ReadUInt16BigEndian(bytes.AsSpan(at));
            BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(at), value);
            ushort updated = InternetChecksum.Update(before, old, value);

            // Both zeros of ones' complement stand for the same sum.
            return updated % 0xFFFF == InternetChecksum.Compute(bytes) % 0xFFFF;
        });

    [Fact]
    public void RFC_1624s_own_example_holds() =>
        Assert.Equal(0x0000, InternetChecksum.Update(0xDD2F, 0x5555, 0x3285));

    [Fact]
    public void A_32_bit_word_updates_as_its_two_halves_do()
    {
        byte[] bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        ushort before = InternetChecksum.Compute(bytes);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(4), 0xDEADBEEF);
        Assert.Equal(InternetChecksum.Compute(bytes), InternetChecksum.Update(before, 0x05060708u, 0xDEADBEEF));
    }

    [Fact]
    public void The_pseudo_header_sums_as_its_bytes_do_in_both_families()
    {
        IpAddress source = IpAddress.Parse("192.168.250.7"), destination = IpAddress.Parse("10.255.0.1");
        byte[] v4 = [192, 168, 250, 7, 10, 255, 0, 1, 0, 6, 0x9C, 0x41];
        Assert.Equal(Naive(v4), InternetChecksum.Finish(InternetChecksum.PseudoHeader(source, destination, IpProtocol.Tcp, 0x9C41)));

        source = IpAddress.Parse("2001:db8::ff00:42:8329");
        destination = IpAddress.Parse("fe80::1");
        byte[] v6 = new byte[40];
        source.Write(v6.AsSpan(0, 16));
        destination.Write(v6.AsSpan(16, 16));
        BinaryPrimitives.WriteInt32BigEndian(v6.AsSpan(32), 70_000);
        v6[39] = 6;
        Assert.Equal(Naive(v6), InternetChecksum.Finish(InternetChecksum.PseudoHeader(source, destination, IpProtocol.Tcp, 70_000)));
    }

    internal static ushort Naive(ReadOnlySpan<byte> bytes)
    {
        uint sum = 0;
        for (int i = 0; i < bytes.Length; i++)
        {
            sum += i % 2 == 0 ? (uint)bytes[i] << 8 : bytes[i];
            sum = (sum & 0xFFFF) + (sum >> 16);
        }

        return (ushort)~sum;
    }

    private static byte[] MakeRandom(int length)
    {
        byte[] bytes = new byte[length];
        new Random(7).NextBytes(bytes);
        return bytes;
    }
}
