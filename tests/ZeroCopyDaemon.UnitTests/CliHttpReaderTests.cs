using System.Buffers;
using System.Security.Cryptography;
using System.Text;
using ZeroCopyDaemon.Cli.Apps.Http;
using HttpMethod = Microsoft.AspNetCore.Server.Kestrel.Core.Internal.Http.HttpMethod;

namespace ZeroCopyDaemon.UnitTests;

public sealed class CliHttpReaderTests
{
    private const string Get = "GET /some/path?q=1 HTTP/1.1\r\nHost: x\r\nUser-Agent: test\r\n\r\n";
    private const string Post = "POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\nContent-Type: text/plain\r\n\r\nhello world";
    private const string Chunked = "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;ext=1\r\n0123456789\r\n0\r\nTrailer: y\r\n\r\n";

    [Theory]
    [InlineData(Get, 0)]
    [InlineData(Post, 11)]
    [InlineData(Chunked, 15)]
    public void A_request_is_read_the_same_wherever_it_is_cut_in_two(string text, int bodyBytes)
    {
        byte[] bytes = Encoding.ASCII.GetBytes(text);
        for (int cut = 0; cut <= bytes.Length; cut++)
        {
            Feed feed = new();
            feed.Add(bytes[..cut]);
            HttpStep first = feed.Read();
            if (cut < bytes.Length)
            {
                Assert.Equal(HttpStep.NeedMore, first);
                feed.Add(bytes[cut..]);
                first = feed.Read();
            }

            Assert.Equal(HttpStep.Request, first);
            Assert.Equal(bodyBytes, feed.Reader.BodyBytes);
            Assert.True(feed.Reader.KeepAlive);
            Assert.Equal(0, feed.Unread);
            Assert.Equal(HttpStep.NeedMore, feed.Read());
        }
    }

    [Theory]
    [InlineData(Get, 0)]
    [InlineData(Post, 11)]
    [InlineData(Chunked, 15)]
    public void A_request_is_read_the_same_out_of_fragments_of_any_size(string text, int bodyBytes)
    {
        byte[] bytes = Encoding.ASCII.GetBytes(text);
        for (int size = 1; size <= 40; size++)
        {
            // All at once, as a sequence of fragments.
            Feed whole = new();
            foreach (byte[] part in bytes.Chunk(size))
            {
                whole.Add(part);
            }

            Assert.Equal(HttpStep.Request, whole.Read());
            Assert.Equal(bodyBytes, whole.Reader.BodyBytes);

            // And one after the other, each looked at as it comes.
            Feed trickle = new();
            HttpStep step = HttpStep.NeedMore;
            foreach (byte[] part in bytes.Chunk(size))
            {
                Assert.Equal(HttpStep.NeedMore, step);
                trickle.Add(part);
                step = trickle.Read();
            }

            Assert.Equal(HttpStep.Request, step);
            Assert.Equal(bodyBytes, trickle.Reader.BodyBytes);
        }
    }

    [Fact]
    public void Pipelined_requests_come_out_one_by_one()
    {
        Feed feed = new();
        feed.Add(Encoding.ASCII.GetBytes(Get + Post + Chunked + Get));
        Assert.Equal(HttpStep.Request, feed.Read());
        Assert.Equal(HttpMethod.Get, feed.Reader.Method);
        Assert.Equal(HttpStep.Request, feed.Read());
        Assert.Equal((HttpMethod.Post, 11L), (feed.Reader.Method, feed.Reader.BodyBytes));
        Assert.Equal(HttpStep.Request, feed.Read());
        Assert.Equal((HttpMethod.Put, 15L), (feed.Reader.Method, feed.Reader.BodyBytes));
        Assert.Equal(HttpStep.Request, feed.Read());
        Assert.Equal((HttpMethod.Get, 0L), (feed.Reader.Method, feed.Reader.BodyBytes));
        Assert.Equal(HttpStep.NeedMore, feed.Read());
    }

    [Fact]
    public void A_body_is_given_back_as_it_comes()
    {
        Feed feed = new();
        feed.Add(Encoding.ASCII.GetBytes("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"));
        Assert.Equal(HttpStep.NeedMore, feed.Read());
        for (int i = 0; i < 1000; i++)
        {
            Assert.False(feed.Reader.IsIdle);
            feed.Add(new byte[1000]);
            Assert.Equal(i < 999 ? HttpStep.NeedMore : HttpStep.Request, feed.Read());
            Assert.Equal(0, feed.Unread);
        }

        Assert.Equal(1_000_000, feed.Reader.BodyBytes);
        Assert.True(feed.Reader.IsIdle);
    }

    [Theory]
    [InlineData("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true)]
    [InlineData("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false)]
    [InlineData("GET / HTTP/1.1\r\nHost: x\r\nConnection: foo, Close\r\n\r\n", false)]
    [InlineData("GET / HTTP/1.0\r\n\r\n", false)]
    [InlineData("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true)]
    [InlineData("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false)]
    public void Whether_the_connection_goes_on_follows_version_and_header(string text, bool keepAlive)
    {
        Assert.Equal(HttpStep.Request, ReadAll(text, out HttpRequestReader reader));
        Assert.Equal(keepAlive, reader.KeepAlive);
    }

    [Theory]
    [InlineData("/bytes/5", 5)]
    [InlineData("/bytes/1073741824", 1 << 30)]
    [InlineData("/bytes/0?x=y", 0)]
    [InlineData("/bytes/", -1)]
    [InlineData("/bytes/5x", -1)]
    [InlineData("/bytes/99999999999999999999999", -1)]
    [InlineData("/", -1)]
    public void A_download_s_size_is_read_from_the_path(string path, long bytes)
    {
        Assert.Equal(HttpStep.Request, ReadAll($"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n", out HttpRequestReader reader));
        Assert.Equal(bytes, reader.DownloadBytes);
    }

    [Fact]
    public void A_body_is_hashed_the_same_wherever_it_is_cut()
    {
        byte[] bytes = Encoding.ASCII.GetBytes(Chunked.Replace("PUT /", "PUT /sha256", StringComparison.Ordinal));
        byte[] expected = SHA256.HashData("hello0123456789"u8);
        byte[] digest = new byte[SHA256.HashSizeInBytes];
        for (int size = 1; size <= 40; size++)
        {
            Feed feed = new();
            foreach (byte[] part in bytes.Chunk(size))
            {
                feed.Add(part);
            }

            Assert.Equal(HttpStep.Request, feed.Read());
            Assert.True(feed.Reader.WantsDigest);
            feed.Reader.TakeDigest(digest);
            Assert.Equal(expected, digest);
            feed.Reader.Dispose();
        }
    }

    [Theory]
    [InlineData("\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")]
    [InlineData("GET / HTTP/1.1\nHost: x\n\n")]
    [InlineData("GET / HTTP/1.1\r\nhOST:x\r\nCONTENT-LENGTH: 0\r\n\r\n")]
    [InlineData("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n")]
    public void What_a_robust_server_takes_is_taken(string text) => Assert.Equal(HttpStep.Request, ReadAll(text, out _));

    [Theory]
    [InlineData("GARBAGE\r\n\r\n", 400)]
    [InlineData("GET /\r\n\r\n", 400)]
    [InlineData("\0\0\0\0\n", 400)]
    [InlineData("GET / HTTP/2.0\r\n\r\n", 505)]
    [InlineData("GET / HTTP/1.1\r\n\r\n", 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: x\r\nno colon here\r\n\r\n", 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n", 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n", 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400)]
    [InlineData("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1099511627777\r\n\r\n", 413)]
    [InlineData("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413)]
    [InlineData("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400)]
    [InlineData("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501)]
    [InlineData("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501)]
    [InlineData("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400)]
    [InlineData("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", 400)]
    [InlineData("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab", 400)]
    [InlineData("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffff\r\n", 400)]
    public void What_is_no_request_is_refused_with_a_status(string text, int status)
    {
        Assert.Equal(HttpStep.Bad, ReadAll(text, out HttpRequestReader reader));
        Assert.Equal(status, reader.Status);
        Assert.False(reader.KeepAlive);
    }

    [Fact]
    public void A_request_line_without_end_is_refused()
    {
        Assert.Equal(HttpStep.Bad, ReadAll("GET /" + new string('a', HttpRequestReader.MaxLineBytes), out HttpRequestReader reader));
        Assert.Equal(414, reader.Status);
    }

    [Fact]
    public void Headers_without_end_are_refused()
    {
        StringBuilder text = new("GET / HTTP/1.1\r\nHost: x\r\n");
        for (int i = 0; i < 40; i++)
        {
            text.Append($"X-{i}: ").Append('a', 1000).Append("\r\n");
        }

        Assert.Equal(HttpStep.Bad, ReadAll(text.ToString(), out HttpRequestReader large));
        Assert.Equal(431, large.Status);

        string many = "GET / HTTP/1.1\r\nHost: x\r\n" + string.Concat(Enumerable.Repeat("A: b\r\n", HttpRequestReader.MaxHeaderCount)) + "\r\n";
        Assert.Equal(HttpStep.Bad, ReadAll(many, out HttpRequestReader numerous));
        Assert.Equal(431, numerous.Status);

        Assert.Equal(HttpStep.Bad, ReadAll("GET / HTTP/1.1\r\nHost: x\r\nX: " + new string('a', HttpRequestReader.MaxHeaderBytes), out HttpRequestReader single));
        Assert.Equal(431, single.Status);
    }

    [Fact]
    public void A_client_that_waits_for_leave_gets_it_and_one_that_does_not_is_not_told()
    {
        byte[] head = Encoding.ASCII.GetBytes("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
        Feed waits = new();
        waits.Add(head);
        Assert.Equal(HttpStep.SendContinue, waits.Read());
        Assert.Equal(HttpStep.NeedMore, waits.Read());
        waits.Add("abc"u8.ToArray());
        Assert.Equal(HttpStep.Request, waits.Read());

        Feed hasty = new();
        hasty.Add(head);
        hasty.Add("abc"u8.ToArray());
        Assert.Equal(HttpStep.Request, hasty.Read());
    }

    [Fact]
    public void A_hundred_thousand_mutated_requests_end_in_an_answer_or_wait_for_more()
    {
        Random random = new(4711);
        string[] seeds = [Get, Post, Chunked, Get + Post];
        int refused = 0;
        for (int i = 0; i < 100_000; i++)
        {
            byte[] bytes = Encoding.ASCII.GetBytes(seeds[i % seeds.Length]);
            for (int change = random.Next(1, 4); change > 0; change--)
            {
                bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
            }

            Feed feed = new();
            int cut = random.Next(bytes.Length);
            feed.Add(bytes[..cut]);
            feed.Add(bytes[cut..]);
            HttpStep step;
            int steps = 0;
            do
            {
                step = feed.Read();
                Assert.InRange(++steps, 1, 10);
            }
            while (step is HttpStep.Request or HttpStep.SendContinue);
            refused += step == HttpStep.Bad ? 1 : 0;
        }

        Assert.InRange(refused, 1000, 99_000);
    }

    private static HttpStep ReadAll(string text, out HttpRequestReader reader)
    {
        Feed feed = new();
        feed.Add(Encoding.Latin1.GetBytes(text));
        reader = feed.Reader;
        return feed.Read();
    }

    /// <summary>Input as a sequence of fragments, as leases give it.</summary>
    private sealed class Feed
    {
        private readonly List<byte[]> _parts = [];

        public HttpRequestReader Reader { get; } = new();

        public int Unread => _parts.Sum(p => p.Length);

        public void Add(byte[] part) => _parts.Add(part);

        public HttpStep Read()
        {
            ReadOnlySequence<byte> input = Sequence();
            HttpStep step = Reader.Read(input, out SequencePosition consumed);
            byte[] rest = input.Slice(consumed).ToArray();
            _parts.Clear();
            _parts.Add(rest);
            return step;
        }

        private ReadOnlySequence<byte> Sequence()
        {
            Part? first = null;
            Part? last = null;
            foreach (byte[] bytes in _parts)
            {
                last = new Part(bytes, last);
                first ??= last;
            }

            return first is null ? default : new ReadOnlySequence<byte>(first, 0, last!, last!.Memory.Length);
        }

        private sealed class Part : ReadOnlySequenceSegment<byte>
        {
            public Part(byte[] bytes, Part? before)
            {
                Memory = bytes;
                RunningIndex = before is null ? 0 : before.RunningIndex + before.Memory.Length;
                before?.Next = this;
            }
        }
    }
}
