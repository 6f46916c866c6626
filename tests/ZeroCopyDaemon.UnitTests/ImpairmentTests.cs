using ZeroCopyDaemon.Wires.Impaired;
using ZeroCopyDaemon.Wires.Sim;

namespace ZeroCopyDaemon.UnitTests;

public sealed class ImpairmentTests
{
    [Fact]
    public void A_specification_says_everything_that_there_is()
    {
        Assert.Equal(
            new ImpairmentOptions
            {
                Loss = 0.01, LatencyUs = 20_000, JitterUs = 2_000, Reordering = 0.02, ReorderUs = 500, Duplication = 0.001, Corruption = 0.0001, BitsPerSecond = 100_000_000, QueueFrames = 1000, Seed = 7,
            },
            ImpairmentOptions.Parse("loss=1%,delay=20ms,jitter=2ms,reorder=2%,reorder-delay=500us,duplicate=0.1%,corrupt=0.01%,rate=100mbit,queue=1000,seed=7"));
    }

    [Theory]
    [InlineData("delay=1.5ms", 1_500, 0)]
    [InlineData(" DELAY = 3 US , rate = 2.5Gbit ", 3, 2_500_000_000)]
    [InlineData("rate=64kbit,delay=60s", 60_000_000, 64_000)]
    public void Units_are_understood_in_any_case_and_with_spaces(string specification, long delayUs, long bits)
    {
        ImpairmentOptions options = ImpairmentOptions.Parse(specification);
        Assert.Equal((delayUs, bits), (options.LatencyUs, options.BitsPerSecond));
    }

    [Theory]
    [InlineData("", "say what happens to frames, as in loss=1%,delay=20ms")]
    [InlineData("loss=1%,", "say what happens to frames, as in loss=1%,delay=20ms")]
    [InlineData("lost=1%", "there is no impairment 'lost'; choose loss, duplicate, reorder, corrupt, delay, jitter, reorder-delay, rate, queue or seed")]
    [InlineData("loss", "loss has no value; write for instance loss=1%,delay=20ms")]
    [InlineData("loss=1%,loss=2%", "loss is there twice; say it once")]
    [InlineData("loss=1", "loss must be from 0% to 100% of the frames, such as 1% or 0.01%, not '1'")]
    [InlineData("loss=101%", "loss must be from 0% to 100% of the frames, such as 1% or 0.01%, not '101%'")]
    [InlineData("corrupt=-1%", "corrupt must be from 0% to 100% of the frames, such as 1% or 0.01%, not '-1%'")]
    [InlineData("delay=20", "delay must be a time from 0us to 60s, such as 500us, 20ms or 1s, not '20'")]
    [InlineData("jitter=61s", "jitter must be a time from 0us to 60s, such as 500us, 20ms or 1s, not '61s'")]
    [InlineData("rate=100", "rate must be bits per second from 1kbit to 1000gbit, such as 500kbit, 100mbit or 1gbit, not '100'")]
    [InlineData("rate=0.5kbit", "rate must be bits per second from 1kbit to 1000gbit, such as 500kbit, 100mbit or 1gbit, not '0.5kbit'")]
    [InlineData("queue=0", "queue must be from 1 to 1000000 frames, not '0'")]
    [InlineData("seed=-1", "seed must be a whole number from 0 to 18446744073709551615, not '-1'")]
    public void What_cannot_be_read_is_named_and_what_would_be_right(string specification, string message) =>
        Assert.Equal(message, Assert.Throws<FormatException>(() => ImpairmentOptions.Parse(specification)).Message);

    [Fact]
    public void Nothing_happens_by_default()
    {
        var impairment = new Impairment(new ImpairmentOptions(), new SimRandom(1));
        Assert.All(Enumerable.Range(0, 1000), i => Assert.Equal((FrameFate.Carried, (long)i), (impairment.Decide(1500, true, 0, i).Fate, impairment.Decide(1500, true, 0, i).ArrivesUs)));
    }

    [Fact]
    public void A_line_s_rate_spaces_frames_and_a_pause_is_not_made_up_for()
    {
        var impairment = new Impairment(new ImpairmentOptions { BitsPerSecond = 8_000_000, LatencyUs = 10 }, new SimRandom(1));
        Assert.Equal([1010L, 1510L, 6010L], (long[])[impairment.Decide(1000, true, 0, 0).ArrivesUs, impairment.Decide(500, true, 1, 0).ArrivesUs, impairment.Decide(1000, true, 0, 5000).ArrivesUs]);
    }

    [Fact]
    public void Verdicts_depend_on_seed_frames_and_times_alone()
    {
        ImpairmentOptions options = new() { Loss = 0.2, Duplication = 0.2, Reordering = 0.2, Corruption = 0.2, JitterUs = 100, BitsPerSecond = 1_000_000 };
        Assert.Equal(Verdicts(1), Verdicts(1));
        Assert.NotEqual(Verdicts(1), Verdicts(2));

        ImpairmentVerdict[] Verdicts(ulong seed)
        {
            var impairment = new Impairment(options, new SimRandom(seed));
            return [.. Enumerable.Range(0, 200).Select(i => impairment.Decide(100 + i, i % 3 != 0, i % 5, i * 50))];
        }
    }
}
