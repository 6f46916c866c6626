using System.Buffers;
using System.Runtime.CompilerServices;
using Microsoft.AspNetCore.Server.Kestrel.Core.Internal.Http;
using ZeroCopyDaemon.Cli.TestClient;
using HttpMethod = Microsoft.AspNetCore.Server.Kestrel.Core.Internal.Http.HttpMethod;

namespace ZeroCopyDaemon.Cli.Apps.Http;

/// <summary>
/// Serves one connection: requests one after the other, pipelined ones answered together. Any path gets a text that names the worker; a request with a body gets the body's length;
/// <c>/bytes/N</c> gets N bytes of a pattern; a POST or PUT to <c>/sha256</c> gets the body's SHA-256.
/// </summary>
internal sealed class HttpConnection : IDisposable
{
    /// <summary>Largest download.</summary>
    public const long MaxDownloadBytes = 1L << 30;

    /// <summary>Seed of the pattern that downloads are made of.</summary>
    public const ulong DownloadSeed = 1;

    private const int DownloadChunkBytes = 64 * 1024;

    // What a client has under way when it is refused: not worth more than this.
    private const long LingerBytes = 1 << 20;

    private static readonly TimeSpan LingerTime = TimeSpan.FromSeconds(1);

    private static readonly Pattern Download = new(DownloadSeed);

    private readonly HttpRequestReader _reader = new();
    private readonly HttpChannel _channel;
    private readonly HttpIdentity _who;
    private readonly uint _connection;
    private long _requests;

    public HttpConnection(HttpChannel channel, in HttpIdentity who, uint connection)
    {
        _channel = channel;
        _who = who;
        _connection = connection;
    }

    /// <summary>Serves until the client is done, or until <paramref name="draining"/> and no request is under way. The caller closes the connection.</summary>
    public async Task ServeAsync(CancellationToken draining)
    {
        while (true)
        {
            HttpStep step = _reader.Read(_channel.Unread, out SequencePosition consumed);
            _channel.Consume(consumed);
            switch (step)
            {
                case HttpStep.NeedMore:
                    await _channel.FlushAsync();
                    if (!await FillAsync(draining))
                    {
                        return;
                    }

                    break;
                case HttpStep.SendContinue:
                    await _channel.ReserveAsync(HttpResponses.MaxBytes);
                    _channel.Advance(HttpResponses.WriteContinue(_channel.Free));
                    await _channel.FlushAsync();
                    break;
                case HttpStep.Request:
                    _requests++;
                    await AnswerAsync();
                    if (!_reader.KeepAlive)
                    {
                        await LingerAsync();
                        return;
                    }

                    break;
                default:
                    await _channel.ReserveAsync(HttpResponses.MaxBytes);
                    _channel.Advance(HttpResponses.WriteError(_channel.Free, _who, _reader.Status));
                    await LingerAsync();
                    return;
            }
        }
    }

    public void Dispose() => _reader.Dispose();

    private ValueTask AnswerAsync()
    {
        if (_reader.DownloadBytes is >= 0 and <= MaxDownloadBytes && _reader.Method is HttpMethod.Get or HttpMethod.Head)
        {
            return SendDownloadAsync(_reader.DownloadBytes);
        }

        ValueTask room = _channel.ReserveAsync(HttpResponses.MaxBytes);
        if (room.IsCompletedSuccessfully)
        {
            WriteAnswer();
            return default;
        }

        return WaitForRoomAsync(room);
    }

    private async ValueTask WaitForRoomAsync(ValueTask room)
    {
        await room;
        WriteAnswer();
    }

    private void WriteAnswer()
    {
        int length;
        if (_reader.WantsDigest)
        {
            length = HttpResponses.WriteDigest(_channel.Free, _who, _reader);
        }
        else if (_reader.Method is HttpMethod.Get or HttpMethod.Head && _reader.BodyBytes == 0)
        {
            length = HttpResponses.WriteHello(_channel.Free, _who, _reader, _connection, _channel.ReceivedBytes, _requests);
        }
        else
        {
            length = HttpResponses.WriteBodyLength(_channel.Free, _who, _reader);
        }

        _channel.Advance(length);
    }

    private async ValueTask SendDownloadAsync(long bytes)
    {
        await _channel.ReserveAsync(HttpResponses.MaxBytes);
        _channel.Advance(HttpResponses.WriteDownloadHead(_channel.Free, _who, _reader, bytes));
        if (_reader.Method == HttpMethod.Head)
        {
            return;
        }

        for (long position = 0; position < bytes;)
        {
            await _channel.ReserveAsync((int)Math.Min(DownloadChunkBytes, bytes - position));
            int length = (int)Math.Min(_channel.Free.Length, bytes - position);
            Download.Fill(position, _channel.Free[..length]);
            _channel.Advance(length);
            position += length;
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<bool> FillAsync(CancellationToken draining)
    {
        // Between requests a stop of the daemon ends the connection; a request under way is still answered.
        if (!_reader.IsIdle)
        {
            return await _channel.FillAsync(CancellationToken.None);
        }

        try
        {
            return await _channel.FillAsync(draining);
        }
        catch (OperationCanceledException) when (draining.IsCancellationRequested)
        {
            return false;
        }
    }

    /// <summary>Ends our direction and lets the client finish its: input that nobody reads would be answered by a reset, which can overtake the response (RFC 9112 section 9.6).</summary>
    private async ValueTask LingerAsync()
    {
        await _channel.FlushAsync();
        _channel.ShutdownSend();
        using CancellationTokenSource patience = new(LingerTime);
        long limit = _channel.ReceivedBytes + LingerBytes;
        try
        {
            do
            {
                ReadOnlySequence<byte> rest = _channel.Unread;
                _channel.Consume(rest.End);
            }
            while (_channel.ReceivedBytes < limit && await _channel.FillAsync(patience.Token));
        }
        catch (OperationCanceledException)
        {
            // The client has had its time.
        }
    }
}
