using System.Buffers;
using System.Security.Cryptography;
using System.Text;
using System.Threading.Channels;
using ZeroCopyDaemon.Cli.Apps.Http;
using ZeroCopyDaemon.Cli.TestClient;

namespace ZeroCopyDaemon.UnitTests;

public sealed class CliHttpConnectionTests
{
    private static readonly HttpIdentity Who = new(3, 4242, "test", "handoff");

    [Fact]
    public async Task A_get_is_answered_with_the_worker_s_name()
    {
        string response = await ServeAsync("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        (string head, string body) = Split(response);
        Assert.StartsWith("HTTP/1.1 200 OK\r\n", head, StringComparison.Ordinal);
        Assert.Contains("\r\nX-Worker: 3\r\n", head, StringComparison.Ordinal);
        Assert.Contains($"\r\nContent-Length: {body.Length}", head, StringComparison.Ordinal);
        Assert.DoesNotContain("Connection:", head, StringComparison.Ordinal);
        Assert.Equal("Hello from worker 3 (pid 4242) of daemon 'test': request 1 on connection 9, 27 bytes of payload seen so far, strategy handoff.\n", body);
    }

    [Fact]
    public async Task A_head_is_answered_without_the_body()
    {
        (string head, string body) = Split(await ServeAsync("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"));
        Assert.Contains("\r\nContent-Length: 1", head, StringComparison.Ordinal);
        Assert.Empty(body);
    }

    [Fact]
    public async Task A_post_is_answered_with_its_length()
    {
        (_, string body) = Split(await ServeAsync("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde"));
        Assert.Equal("5 bytes of body read by worker 3 (pid 4242)\n", body);
    }

    [Fact]
    public async Task Pipelined_requests_are_answered_in_order_with_one_send()
    {
        MemoryChannel channel = new();
        string request = string.Concat(Enumerable.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 20));
        channel.Push(Encoding.ASCII.GetBytes(request));
        channel.End();
        await new HttpConnection(channel, Who, 9).ServeAsync(CancellationToken.None);
        string all = channel.SentText;
        for (int i = 1; i <= 20; i++)
        {
            Assert.Contains($"request {i} on connection 9", all, StringComparison.Ordinal);
        }

        Assert.True(all.IndexOf("request 2 ", StringComparison.Ordinal) < all.IndexOf("request 19 ", StringComparison.Ordinal));
        Assert.Equal(1, channel.Flushes);
    }

    [Fact]
    public async Task A_request_in_single_bytes_is_answered_like_any_other()
    {
        MemoryChannel channel = new();
        foreach (byte one in "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcdeGET / HTTP/1.1\r\nHost: y\r\n\r\n"u8.ToArray())
        {
            channel.Push([one]);
        }

        channel.End();
        await new HttpConnection(channel, Who, 9).ServeAsync(CancellationToken.None);
        Assert.Contains("5 bytes of body", channel.SentText, StringComparison.Ordinal);
        Assert.Contains("request 2 on", channel.SentText, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_connection_that_is_not_kept_is_ended_by_us()
    {
        MemoryChannel channel = new();
        channel.Push("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"u8.ToArray());
        Task serving = new HttpConnection(channel, Who, 9).ServeAsync(CancellationToken.None);
        await channel.Shut.WaitAsync(TimeSpan.FromSeconds(10));
        channel.End();
        await serving.WaitAsync(TimeSpan.FromSeconds(10));
        Assert.Contains("\r\nConnection: close\r\n", channel.SentText, StringComparison.Ordinal);
        Assert.DoesNotContain("request 2", channel.SentText, StringComparison.Ordinal);
        Assert.True(channel.Unread.IsEmpty);
    }

    [Theory]
    [InlineData("NONSENSE\r\n\r\n", "400 Bad Request")]
    [InlineData("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000000000\r\n\r\n", "413 Payload Too Large")]
    public async Task What_is_refused_is_answered_and_the_connection_ended(string text, string status)
    {
        string response = await ServeAsync(text);
        Assert.StartsWith($"HTTP/1.1 {status}\r\n", response, StringComparison.Ordinal);
        Assert.Contains("\r\nConnection: close\r\n", response, StringComparison.Ordinal);
        Assert.EndsWith($"{status}\n", response, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_client_that_keeps_sending_after_a_refusal_is_left_after_a_while()
    {
        MemoryChannel channel = new();
        channel.Push("NONSENSE\r\n\r\n"u8.ToArray());
        Task serving = new HttpConnection(channel, Who, 9).ServeAsync(CancellationToken.None);
        await serving.WaitAsync(TimeSpan.FromSeconds(20));
        Assert.StartsWith("HTTP/1.1 400", channel.SentText, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(100_000)]
    [InlineData(1_000_003)]
    public async Task A_download_is_the_pattern_from_its_start(int bytes)
    {
        MemoryChannel channel = new();
        channel.Push(Encoding.ASCII.GetBytes($"GET /bytes/{bytes} HTTP/1.1\r\nHost: x\r\n\r\n"));
        channel.End();
        await new HttpConnection(channel, Who, 9).ServeAsync(CancellationToken.None);
        byte[] sent = channel.Sent;
        int start = sent.AsSpan().IndexOf("\r\n\r\n"u8) + 4;
        Assert.Equal(bytes, sent.Length - start);
        Assert.Equal(-1, new Pattern(HttpConnection.DownloadSeed).FirstDifference(0, sent.AsSpan(start)));
    }

    [Theory]
    [InlineData("POST", 0)]
    [InlineData("PUT", 1)]
    [InlineData("POST", 100_003)]
    public async Task A_digest_is_that_of_the_body_whether_it_comes_whole_or_in_chunks(string method, int bytes)
    {
        byte[] body = new byte[bytes];
        new Pattern(7).Fill(0, body);
        MemoryChannel channel = new();
        channel.Push(Encoding.ASCII.GetBytes($"{method} /sha256 HTTP/1.1\r\nHost: x\r\nContent-Length: {bytes}\r\n\r\n"));
        PushByPieces(channel, body);
        channel.Push(Encoding.ASCII.GetBytes($"{method} /sha256 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
        foreach (byte[] chunk in body.Chunk(30_001))
        {
            channel.Push(Encoding.ASCII.GetBytes($"{chunk.Length:x}\r\n"));
            PushByPieces(channel, chunk);
            channel.Push("\r\n"u8.ToArray());
        }

        channel.Push("0\r\n\r\nPOST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"u8.ToArray());
        channel.End();
        using HttpConnection connection = new(channel, Who, 9);
        await connection.ServeAsync(CancellationToken.None);
        string digest = Convert.ToHexStringLower(SHA256.HashData(body));
        string[] answers = channel.SentText.Split("HTTP/1.1 200 OK", StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(3, answers.Length);
        Assert.EndsWith($"\r\n\r\n{digest}\n", answers[0], StringComparison.Ordinal);
        Assert.EndsWith($"\r\n\r\n{digest}\n", answers[1], StringComparison.Ordinal);
        Assert.EndsWith("2 bytes of body read by worker 3 (pid 4242)\n", answers[2], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Only_what_is_posted_or_put_is_answered_with_a_digest()
    {
        Assert.Contains("Hello from worker", await ServeAsync("GET /sha256 HTTP/1.1\r\nHost: x\r\n\r\n"), StringComparison.Ordinal);
        Assert.Contains("3 bytes of body", await ServeAsync("POST /sha256/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stop_of_the_daemon_ends_a_connection_between_requests_but_not_within_one()
    {
        using CancellationTokenSource idleStop = new();
        MemoryChannel idle = new();
        Task idling = new HttpConnection(idle, Who, 9).ServeAsync(idleStop.Token);
        await idleStop.CancelAsync();
        await idling.WaitAsync(TimeSpan.FromSeconds(10));

        using CancellationTokenSource busyStop = new();
        MemoryChannel busy = new();
        busy.Push("GET / HTTP/1.1\r\nHo"u8.ToArray());
        Task serving = new HttpConnection(busy, Who, 9).ServeAsync(busyStop.Token);
        await busyStop.CancelAsync();
        busy.Push("st: x\r\n\r\n"u8.ToArray());
        await serving.WaitAsync(TimeSpan.FromSeconds(10));
        Assert.Contains("request 1 on", busy.SentText, StringComparison.Ordinal);
    }

    private static async Task<string> ServeAsync(string request)
    {
        MemoryChannel channel = new();
        channel.Push(Encoding.ASCII.GetBytes(request));
        channel.End();
        await new HttpConnection(channel, Who, 9).ServeAsync(CancellationToken.None);
        return channel.SentText;
    }

    private static void PushByPieces(MemoryChannel channel, byte[] bytes)
    {
        foreach (byte[] piece in bytes.Chunk(4096))
        {
            channel.Push(piece);
        }
    }

    private static (string Head, string Body) Split(string response)
    {
        int end = response.IndexOf("\r\n\r\n", StringComparison.Ordinal);
        return (response[..(end + 2)], response[(end + 4)..]);
    }

    /// <summary>Input by pieces, output into an array; buffers as small as they may be.</summary>
    private sealed class MemoryChannel : HttpChannel
    {
        private readonly Channel<byte[]> _input = Channel.CreateUnbounded<byte[]>();
        private readonly ArrayBufferWriter<byte> _sent = new();
        private readonly TaskCompletionSource _shut = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private byte[] _unread = [];
        private byte[] _output = [];
        private int _written;

        public int Flushes { get; private set; }

        public Task Shut => _shut.Task;

        public byte[] Sent => _sent.WrittenSpan.ToArray();

        public string SentText => Encoding.ASCII.GetString(_sent.WrittenSpan);

        public override ReadOnlySequence<byte> Unread => new(_unread);

        public override Span<byte> Free => _output.AsSpan(_written);

        public void Push(byte[] bytes) => _input.Writer.TryWrite(bytes);

        public void End() => _input.Writer.Complete();

        public override async ValueTask<bool> FillAsync(CancellationToken cancel)
        {
            if (!await _input.Reader.WaitToReadAsync(cancel) || !_input.Reader.TryRead(out byte[]? more))
            {
                return false;
            }

            _unread = [.. _unread, .. more];
            ReceivedBytes += more.Length;
            return true;
        }

        public override void Consume(SequencePosition position) => _unread = Unread.Slice(position).ToArray();

        public override ValueTask ReserveAsync(int bytes)
        {
            if (_output.Length - _written < bytes)
            {
                Array.Resize(ref _output, _written + bytes);
            }

            return default;
        }

        public override void Advance(int bytes)
        {
            Assert.InRange(_written + bytes, 0, _output.Length);
            _written += bytes;
        }

        public override ValueTask FlushAsync(bool more = false)
        {
            if (_written > 0)
            {
                Flushes++;
                _sent.Write(_output.AsSpan(0, _written));
                _written = 0;
            }

            return default;
        }

        public override void ShutdownSend() => _shut.TrySetResult();
    }
}
