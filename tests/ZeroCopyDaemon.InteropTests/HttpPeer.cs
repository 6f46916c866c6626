using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace ZeroCopyDaemon.InteropTests;

/// <summary>An HTTP client over a socket that a case has in its own hands. Every wait has an end: a case fails rather than hangs.</summary>
internal sealed class HttpPeer(Socket socket) : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly byte[] _buffer = new byte[256 * 1024];
    private int _start;
    private int _end;

    public Socket Socket { get; } = socket;

    public static async Task<HttpPeer> ConnectAsync(TapDaemon daemon, Action<Socket>? configure = null) => new(await daemon.Netns.ConnectAsync(daemon.Address, configure));

    public static async Task<HttpPeer> ConnectAsync(TapDaemon daemon, IPEndPoint to, Action<Socket>? configure = null) => new(await daemon.Netns.ConnectAsync(to, configure));

    public Task SendAsync(string text) => SendAsync(Encoding.ASCII.GetBytes(text));

    public async Task SendAsync(ReadOnlyMemory<byte> bytes)
    {
        using CancellationTokenSource patience = new(Patience);
        while (!bytes.IsEmpty)
        {
            bytes = bytes[await Socket.SendAsync(bytes, patience.Token)..];
        }
    }

    public Task RequestAsync(string path, string more = "") => SendAsync($"GET {path} HTTP/1.1\r\nHost: test\r\n{more}\r\n");

    /// <summary>Sends the pattern's first bytes.</summary>
    public Task SendPatternAsync(long bytes) => SendPatternAsync(0, bytes);

    /// <summary>Sends that many bytes of the pattern from a position on.</summary>
    public async Task SendPatternAsync(long from, long bytes)
    {
        await using NetworkStream stream = new(Socket);
        await Body.WriteAsync(stream, from, bytes).WaitAsync(Patience);
    }

    /// <summary>What comes next, at most that much; 0 at the end.</summary>
    public async Task<int> ReadAsync(Memory<byte> into)
    {
        if (_start == _end)
        {
            using CancellationTokenSource patience = new(Patience);
            _start = 0;
            _end = await Socket.ReceiveAsync(_buffer, patience.Token);
        }

        int length = Math.Min(into.Length, _end - _start);
        _buffer.AsMemory(_start, length).CopyTo(into);
        _start += length;
        return length;
    }

    /// <summary>Reads a response's head; the length of its body. The status must be 200.</summary>
    public async Task<long> ReadHeadAsync()
    {
        StringBuilder text = new();
        byte[] one = new byte[1];
        while (!text.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
        {
            Assert.True(await ReadAsync(one) == 1, $"the connection ended within '{text}'");
            text.Append((char)one[0]);
        }

        string head = text.ToString();
        Assert.StartsWith("HTTP/1.1 200 OK\r\n", head, StringComparison.Ordinal);
        string length = head.Split("\r\n").Single(line => line.StartsWith("Content-Length: ", StringComparison.Ordinal));
        return long.Parse(length.AsSpan("Content-Length: ".Length), NumberStyles.None, CultureInfo.InvariantCulture);
    }

    /// <summary>Reads a body that is text.</summary>
    public async Task<string> ReadTextAsync()
    {
        byte[] bytes = new byte[await ReadHeadAsync()];
        for (int got = 0; got < bytes.Length;)
        {
            int length = await ReadAsync(bytes.AsMemory(got));
            Assert.True(length > 0, $"the connection ended after {got} of {bytes.Length} bytes");
            got += length;
        }

        return Encoding.UTF8.GetString(bytes);
    }

    /// <summary>Reads that many bytes of the pattern from a position on, and compares each.</summary>
    public async Task ExpectPatternAsync(long from, long bytes)
    {
        byte[] part = new byte[64 * 1024];
        for (long position = from; position < from + bytes;)
        {
            int length = await ReadAsync(part.AsMemory(0, (int)Math.Min(part.Length, from + bytes - position)));
            Assert.True(length > 0, $"the stream ended after {position} of {from + bytes} bytes");
            int wrong = Body.Pattern.FirstDifference(position, part.AsSpan(0, length));
            Assert.True(wrong < 0, $"byte {position + wrong} is wrong");
            position += length;
        }
    }

    /// <summary>The peer's direction has ended in good order.</summary>
    public async Task ExpectEndAsync() => Assert.Equal(0, await ReadAsync(new byte[1]));

    public void Dispose() => Socket.Dispose();
}
