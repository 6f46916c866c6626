using CsCheck;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.UnitTests;

public sealed class PacketsTcpOptionTests
{
    [Fact]
    public void No_options_means_all_absent()
    {
        TcpSegmentOptions options = TcpOptionReader.Parse([]);
        Assert.Equal((0, -1, false, false), (options.Mss, options.WindowScale, options.SackPermitted, options.HasTimestamp));
    }

    [Fact]
    public void A_SYNs_options_in_Linuxs_order_are_all_read()
    {
        TcpSegmentOptions options = TcpOptionReader.Parse([2, 4, 0x05, 0xB4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8, 1, 3, 3, 7]);
        Assert.Equal((1460, 7, true, true, 9u, 8u), (options.Mss, options.WindowScale, options.SackPermitted, options.HasTimestamp, options.TimestampValue, options.TimestampEcho));
    }

    [Fact]
    public void A_window_scale_above_14_is_used_as_14() => Assert.Equal(14, TcpOptionReader.Parse([3, 3, 200, 0]).WindowScale);

    [Fact]
    public void An_illegal_length_ends_the_walk_and_keeps_what_came_before()
    {
        foreach (byte[] tail in new byte[][] { [8, 0], [8, 1], [8, 11], [8], [254, 255, 0, 0] })
        {
            TcpSegmentOptions options = TcpOptionReader.Parse([2, 4, 0x02, 0x18, .. tail, 4, 2]);
            Assert.Equal(536, options.Mss);
            Assert.False(options.HasTimestamp);
        }
    }

    [Fact]
    public void An_option_of_the_wrong_length_for_its_kind_counts_as_absent()
    {
        TcpSegmentOptions options = TcpOptionReader.Parse([2, 3, 5, 3, 4, 1, 1, 4, 3, 9, 8, 9, 1, 2, 3, 4, 5, 6, 7]);
        Assert.Equal((0, -1, false, false), (options.Mss, options.WindowScale, options.SackPermitted, options.HasTimestamp));
    }

    [Fact]
    public void Unknown_options_are_skipped_and_nothing_is_read_after_the_end() =>
        Assert.Equal(1000, TcpOptionReader.Parse([253, 4, 1, 1, 2, 4, 0x03, 0xE8, 0, 2, 4, 1, 1]).Mss);

    [Fact]
    public void SACK_blocks_are_there_for_whoever_walks_the_options()
    {
        var reader = new TcpOptionReader([1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        Assert.True(reader.TryNext(out TcpOptionKind kind, out ReadOnlySpan<byte> data));
        Assert.Equal((TcpOptionKind.Sack, 8), (kind, data.Length));
        Assert.False(reader.TryNext(out _, out _));
    }

    [Fact]
    public void What_is_written_is_read_back_whatever_the_values() =>
        Gen.Select(Gen.UShort, Gen.Byte[0, 14], Gen.UInt, Gen.UInt, Gen.Bool).Sample((mss, shift, value, echo, sack) =>
        {
            var writer = new TcpOptionWriter(stackalloc byte[TcpHeader.MaxOptionsLength]);
            writer.MaximumSegmentSize(mss);
            writer.WindowScale(shift);
            if (sack)
            {
                writer.SackPermitted();
            }

            writer.Timestamps(value, echo);
            TcpSegmentOptions options = TcpOptionReader.Parse(writer.Written);
            return writer.Written.Length % 4 == 0 && options.Mss == mss && options.WindowScale == (sbyte)shift && options.SackPermitted == sack
                && options.HasTimestamp && options.TimestampValue == value && options.TimestampEcho == echo;
        });

    [Fact]
    public void Any_bytes_at_all_are_walked_without_overrun() =>
        Gen.Byte.Array[0, 40].Sample(bytes =>
        {
            int seen = 0;
            var reader = new TcpOptionReader(bytes);
            while (reader.TryNext(out _, out ReadOnlySpan<byte> data))
            {
                seen += 2 + data.Length;
            }

            TcpSegmentOptions options = TcpOptionReader.Parse(bytes);
            return seen <= bytes.Length && options.WindowScale is >= -1 and <= 14;
        });
}
