using ZeroCopyDaemon.Cli.Output;

namespace ZeroCopyDaemon.UnitTests;

public sealed class CliByteSizeTests
{
    [Theory]
    [InlineData("64MiB", 64L << 20)]
    [InlineData("1GiB", 1L << 30)]
    [InlineData("500k", 500_000)]
    [InlineData("4096", 4096)]
    [InlineData("4096B", 4096)]
    [InlineData("0", 0)]
    [InlineData("1.5 GiB", 3L << 29)]
    [InlineData("2mb", 2_000_000)]
    [InlineData("2mib", 2L << 20)]
    [InlineData("3G", 3_000_000_000)]
    [InlineData(" 1 TiB ", 1L << 40)]
    [InlineData("0.5k", 500)]
    public void A_size_is_read(string text, long bytes)
    {
        Assert.True(ByteSize.TryParse(text, out long parsed, out string problem), problem);
        Assert.Equal(bytes, parsed);
    }

    [Theory]
    [InlineData("")]
    [InlineData("MiB")]
    [InlineData("-1")]
    [InlineData("1x")]
    [InlineData("1 2")]
    [InlineData("1e6")]
    [InlineData("0x10")]
    [InlineData("1,5k")]
    [InlineData(null)]
    public void What_is_no_size_is_refused_with_an_example(string? text)
    {
        Assert.False(ByteSize.TryParse(text, out _, out string problem));
        Assert.Contains("64MiB", problem, StringComparison.Ordinal);
    }

    [Fact]
    public void Part_of_a_byte_is_refused()
    {
        Assert.False(ByteSize.TryParse("0.0001k", out _, out string problem));
        Assert.Contains("whole number of bytes", problem, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("99999999999TiB")]
    [InlineData("9223372036854775808")]
    [InlineData("79228162514264337593543950335GiB")]
    public void What_does_not_fit_is_refused(string text)
    {
        Assert.False(ByteSize.TryParse(text, out _, out string problem));
        Assert.Contains("8 EiB", problem, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0, "0 B")]
    [InlineData(1023, "1023 B")]
    [InlineData(64L << 20, "64 MiB")]
    [InlineData(3L << 29, "1.5 GiB")]
    [InlineData(1L << 40, "1 TiB")]
    public void A_size_is_written_short(long bytes, string text) => Assert.Equal(text, ByteSize.Format(bytes));
}
