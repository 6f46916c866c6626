using ZeroCopyDaemon.Cli.TestClient;

namespace ZeroCopyDaemon.UnitTests;

public sealed class CliPatternTests
{
    private const int Length = (Pattern.BlockBytes * 2) + 777;

    [Fact]
    public void The_same_seed_gives_the_same_bytes_wherever_one_begins_and_however_much_one_takes()
    {
        byte[] whole = Bytes(new Pattern(7), 0, Length);
        Pattern again = new(7);
        Random random = new(1);
        for (int i = 0; i < 2000; i++)
        {
            int start = random.Next(Length);
            int length = random.Next(Math.Min(300, Length - start));
            Assert.Equal((ReadOnlySpan<byte>)whole.AsSpan(start, length), Bytes(again, start, length));
        }

        Assert.Equal((ReadOnlySpan<byte>)whole.AsSpan(Pattern.BlockBytes - 3, 9), Bytes(again, Pattern.BlockBytes - 3, 9));
    }

    [Fact]
    public void A_byte_asked_for_alone_is_the_stream_s()
    {
        Pattern pattern = new(3);
        byte[] whole = Bytes(pattern, 0, Length);
        for (int i = 0; i < Length; i += 13)
        {
            Assert.Equal(whole[i], pattern.At(i));
        }
    }

    [Fact]
    public void Every_wrong_byte_is_found_where_it_stands()
    {
        Pattern pattern = new(5);
        Random random = new(2);
        byte[] bytes = Bytes(pattern, 12345, 5000);
        Assert.Equal(-1, pattern.FirstDifference(12345, bytes));
        for (int i = 0; i < bytes.Length; i++)
        {
            bytes[i] ^= (byte)(1 << random.Next(8));
            Assert.Equal(i, pattern.FirstDifference(12345, bytes));
            bytes[i] = pattern.At(12345 + i);
        }
    }

    [Fact]
    public void The_first_of_several_wrong_bytes_is_named()
    {
        Pattern pattern = new(5);
        byte[] bytes = Bytes(pattern, 0, Length);
        bytes[Pattern.BlockBytes + 1] ^= 1;
        bytes[^1] ^= 1;
        Assert.Equal(Pattern.BlockBytes + 1, pattern.FirstDifference(0, bytes));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(8)]
    [InlineData(1460)]
    [InlineData(4096)]
    [InlineData(Pattern.BlockBytes)]
    [InlineData(Pattern.BlockBytes * 4)]
    public void A_stream_that_lost_or_repeated_bytes_is_seen_at_once(int shift)
    {
        Pattern pattern = new(9);
        byte[] late = Bytes(pattern, shift, 64);
        Assert.InRange(pattern.FirstDifference(0, late), 0, 7);
    }

    [Fact]
    public void Another_seed_gives_other_bytes()
    {
        int same = Bytes(new Pattern(1), 0, 4096).Zip(Bytes(new Pattern(2), 0, 4096)).Count(pair => pair.First == pair.Second);
        Assert.InRange(same, 0, 64);
    }

    [Fact]
    public void Positions_far_out_work_like_the_first()
    {
        Pattern pattern = new(4);
        long far = (1L << 40) + 12345;
        byte[] bytes = Bytes(pattern, far, 1000);
        Assert.Equal(-1, pattern.FirstDifference(far, bytes));
        Assert.NotEqual(-1, pattern.FirstDifference(far + 1, bytes));
    }

    private static byte[] Bytes(Pattern pattern, long position, int length)
    {
        byte[] bytes = new byte[length];
        pattern.Fill(position, bytes);
        return bytes;
    }
}
