using System.Net.Sockets;

namespace ZeroCopyDaemon.Cli.TestClient;

/// <summary>
/// One connection of the test client: a sender and a receiver over an ordinary socket. Sends its share of the pattern, closes its half, and expects the answer and then the end of the
/// stream. Owned by one <see cref="Client"/>; the counters may be read from any thread.
/// </summary>
internal sealed class ClientConnection : IDisposable
{
    private const int BufferBytes = 256 * 1024;

    private readonly ClientOptions _options;
    private readonly int _number;
    private readonly long _bytes;
    private readonly Pattern _pattern;
    private readonly Socket _socket;
    private long _sent;
    private long _received;
    private string? _error;
    private int _outcome = -1;

    public ClientConnection(ClientOptions options, int number, long bytes)
    {
        _options = options;
        _number = number;
        _bytes = bytes;
        _pattern = new Pattern(options.Seed + ((ulong)number * 0xA0761D6478BD642F));
        _socket = options.Server is System.Net.IPEndPoint ip
            ? new Socket(ip.AddressFamily, SocketType.Stream, ProtocolType.Tcp)
            : new Socket(SocketType.Stream, ProtocolType.Tcp);
    }

    public long Sent => Volatile.Read(ref _sent);

    public long Received => Volatile.Read(ref _received);

    /// <summary>Runs to the end; never throws but for <paramref name="cancel"/>.</summary>
    public async Task<ConnectionResult> RunAsync(CancellationToken cancel)
    {
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        Task watch = WatchAsync(stop);
        try
        {
            await _socket.ConnectAsync(_options.Server, stop.Token);
            await Task.WhenAll(GuardAsync(SendAllAsync, stop), GuardAsync(ReceiveAllAsync, stop));
        }
        catch (Exception failure) when (failure is SocketException or OperationCanceledException or IOException)
        {
            Fail(failure);
        }
        finally
        {
            await stop.CancelAsync();
            await watch;
        }

        cancel.ThrowIfCancellationRequested();
        ConnectionOutcome outcome = _outcome < 0 ? ConnectionOutcome.Ok : (ConnectionOutcome)_outcome;
        return new(_number, _bytes, Sent, Received, outcome, _error);
    }

    public void Dispose() => _socket.Dispose();

    private async Task SendAllAsync(CancellationToken cancel)
    {
        byte[] buffer = GC.AllocateUninitializedArray<byte>((int)Math.Min(BufferBytes, Math.Max(_bytes, 1)));
        long position = 0;
        while (position < _bytes)
        {
            int length = (int)Math.Min(buffer.Length, _bytes - position);
            _pattern.Fill(position, buffer.AsSpan(0, length));
            for (int done = 0; done < length;)
            {
                int sent = await _socket.SendAsync(buffer.AsMemory(done, length - done), SocketFlags.None, cancel);
                done += sent;
                Volatile.Write(ref _sent, position + done);
            }

            position += length;
        }

        _socket.Shutdown(SocketShutdown.Send);
    }

    private async Task ReceiveAllAsync(CancellationToken cancel)
    {
        byte[] buffer = GC.AllocateUninitializedArray<byte>(BufferBytes);
        long expected = _options.Mode == ClientMode.Echo ? _bytes : 0;
        long position = 0;
        while (true)
        {
            int length = await _socket.ReceiveAsync(buffer.AsMemory(), SocketFlags.None, cancel);
            if (length == 0)
            {
                break;
            }

            if (position + length > expected)
            {
                Fail(ConnectionOutcome.Excess, $"connection {_number}: byte {expected} came back, but only {expected} were to come");
                return;
            }

            if (_options.Verify && _pattern.FirstDifference(position, buffer.AsSpan(0, length)) is >= 0 and int index)
            {
                byte right = _pattern.At(position + index);
                Fail(ConnectionOutcome.Mismatch, $"connection {_number}: at offset {position + index} expected 0x{right:x2}, got 0x{buffer[index]:x2}");
                return;
            }

            position += length;
            Volatile.Write(ref _received, position);
        }

        if (position < expected)
        {
            Fail(ConnectionOutcome.Truncated, $"connection {_number}: the server closed after {position} of {expected} bytes");
        }
        else if (Sent < _bytes)
        {
            Fail(ConnectionOutcome.Truncated, $"connection {_number}: the server closed after {Sent} of {_bytes} bytes were sent");
        }
    }

    /// <summary>Whichever half fails first ends the other.</summary>
    private async Task GuardAsync(Func<CancellationToken, Task> half, CancellationTokenSource stop)
    {
        try
        {
            await half(stop.Token);
        }
        catch (Exception failure) when (failure is SocketException or OperationCanceledException or ObjectDisposedException)
        {
            Fail(failure);
        }

        if (_outcome >= 0)
        {
            await stop.CancelAsync();
        }
    }

    /// <summary>Ends a connection on which nothing moves.</summary>
    private async Task WatchAsync(CancellationTokenSource stop)
    {
        long last = -1;
        long since = Environment.TickCount64;
        using PeriodicTimer timer = new(TimeSpan.FromMilliseconds(Math.Clamp(_options.Timeout.TotalMilliseconds / 8, 20, 500)));
        try
        {
            while (await timer.WaitForNextTickAsync(stop.Token))
            {
                long moved = Sent + Received;
                if (moved != last)
                {
                    last = moved;
                    since = Environment.TickCount64;
                }
                else if (Environment.TickCount64 - since >= _options.Timeout.TotalMilliseconds)
                {
                    Fail(ConnectionOutcome.Stalled, $"connection {_number}: nothing moved for {_options.Timeout.TotalSeconds:0.#} s after {Sent} bytes sent and {Received} received");
                    await stop.CancelAsync();
                    return;
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The connection has ended: nothing left to watch.
        }
    }

    private void Fail(Exception failure)
    {
        if (failure is SocketException socket)
        {
            ConnectionOutcome outcome = socket.SocketErrorCode switch
            {
                SocketError.ConnectionRefused => ConnectionOutcome.Refused,
                SocketError.ConnectionReset or SocketError.ConnectionAborted or SocketError.Shutdown or SocketError.NotConnected => ConnectionOutcome.Reset,
                _ => ConnectionOutcome.Failed,
            };
            string what = outcome switch
            {
                ConnectionOutcome.Refused => $"{_options.Server} refused the connection",
                ConnectionOutcome.Reset => $"reset after {Sent} bytes sent and {Received} received",
                _ => socket.Message,
            };
            Fail(outcome, $"connection {_number}: {what}");
        }
        else
        {
            Fail(ConnectionOutcome.Failed, $"connection {_number}: interrupted after {Sent} bytes sent and {Received} received");
        }
    }

    // The first reason is the true one; what follows from it is not reported.
    private void Fail(ConnectionOutcome outcome, string error)
    {
        if (Interlocked.CompareExchange(ref _outcome, (int)outcome, -1) == -1)
        {
            _error = error;
        }
    }
}
