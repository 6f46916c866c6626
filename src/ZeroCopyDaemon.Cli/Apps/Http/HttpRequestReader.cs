using System.Buffers;
using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Server.Kestrel.Core.Internal.Http;
using HttpMethod = Microsoft.AspNetCore.Server.Kestrel.Core.Internal.Http.HttpMethod;
using BadHttpRequestException = Microsoft.AspNetCore.Http.BadHttpRequestException;

namespace ZeroCopyDaemon.Cli.Apps.Http;

/// <summary>What a look at the input has found.</summary>
internal enum HttpStep
{
    /// <summary>All of the input that could be used is consumed; more has to come.</summary>
    NeedMore,

    /// <summary>A request is complete, its body read and counted.</summary>
    Request,

    /// <summary>The client waits for leave to send its body.</summary>
    SendContinue,

    /// <summary>The input is no HTTP/1.x request that we serve: <see cref="HttpRequestReader.Status"/> is the answer, and the connection's end.</summary>
    Bad,
}

/// <summary>
/// Reads HTTP/1.1 requests (RFC 9112) out of a sequence of fragments where they lie, with Kestrel's parser. Sans-I/O, one connection, one thread; keeps nothing of the input between calls but
/// numbers, so that what it has consumed can be given back at once. Bodies are counted and dropped; what is posted or put to <c>/sha256</c> is hashed where it lies before that.
/// </summary>
internal sealed class HttpRequestReader : IDisposable
{
    /// <summary>Longest request line.</summary>
    public const int MaxLineBytes = 8 * 1024;

    /// <summary>All of a request's header lines together.</summary>
    public const int MaxHeaderBytes = 32 * 1024;

    public const int MaxHeaderCount = 100;

    /// <summary>Largest body that is taken: 1 TiB, which is only counted.</summary>
    public const long MaxBodyBytes = 1L << 40;

    private readonly HttpParser<Handler> _parser = new();
    private State _state;
    private bool _http11;
    private bool _hasHost;
    private bool _hasLength;
    private bool _chunked;
    private bool _expectsContinue;
    private bool _closeAsked;
    private bool _keepAliveAsked;
    private int _headerBytes;
    private int _headerCount;
    private long _bodyLeft;
    private ChunkedBody _chunks;

    // Made by the first request that asks for a digest, used again by those that follow.
    private IncrementalHash? _sha256;

    private enum State
    {
        Line,
        Headers,
        HeadersDone,
        Body,
        Chunks,
        Done,
        Failed,
    }

    public HttpMethod Method { get; private set; }

    /// <summary>For <c>/bytes/N</c>: N. Else -1.</summary>
    public long DownloadBytes { get; private set; }

    /// <summary>Whether the answer is the body's SHA-256: a POST or PUT to <c>/sha256</c>.</summary>
    public bool WantsDigest { get; private set; }

    /// <summary>Bytes of the body, as sent.</summary>
    public long BodyBytes { get; private set; }

    /// <summary>Whether another request may follow on this connection.</summary>
    public bool KeepAlive { get; private set; }

    /// <summary>HTTP/1.0 clients are answered in kind.</summary>
    public bool IsHttp11 => _http11;

    /// <summary>Nothing of a request has been consumed since the last one was complete.</summary>
    public bool IsIdle => _state is State.Line or State.Done;

    /// <summary>After <see cref="HttpStep.Bad"/>: the status code to answer with.</summary>
    public int Status { get; private set; }

    /// <summary>Takes as much of the input as it can. Call again with the rest after <see cref="HttpStep.Request"/> and <see cref="HttpStep.SendContinue"/>.</summary>
    public HttpStep Read(in ReadOnlySequence<byte> input, out SequencePosition consumed)
    {
        SequenceReader<byte> reader = new(input);
        HttpStep step;
        try
        {
            step = Read(ref reader);
        }
        catch (BadHttpRequestException bad)
        {
            step = Fail(bad.StatusCode);
        }

        consumed = reader.Position;
        return step;
    }

    /// <summary>The body's SHA-256, once after a <see cref="HttpStep.Request"/> that <see cref="WantsDigest"/>.</summary>
    public void TakeDigest(Span<byte> digest) => _sha256!.GetHashAndReset(digest);

    public void Dispose() => _sha256?.Dispose();

    private HttpStep Read(ref SequenceReader<byte> reader)
    {
        if (_state == State.Done)
        {
            Reset();
        }

        if (_state == State.Line && !TakeLine(ref reader))
        {
            return _state == State.Failed ? HttpStep.Bad : HttpStep.NeedMore;
        }

        if (_state == State.Headers && !TakeHeaders(ref reader))
        {
            return _state == State.Failed ? HttpStep.Bad : HttpStep.NeedMore;
        }

        if (_state == State.HeadersDone)
        {
            int problem = CheckHeaders();
            if (problem != 0)
            {
                return Fail(problem);
            }

            if (_expectsContinue && _http11 && reader.End && (_chunked || _bodyLeft > 0))
            {
                _expectsContinue = false;
                return HttpStep.SendContinue;
            }
        }

        return _state switch
        {
            State.Body => TakeBody(ref reader),
            State.Chunks => TakeChunks(ref reader),
            _ => HttpStep.Bad,
        };
    }

    private bool TakeLine(ref SequenceReader<byte> reader)
    {
        // RFC 9112 section 2.2: empty lines before a request are to be ignored.
        while (reader.TryPeek(out byte first) && first is (byte)'\r' or (byte)'\n')
        {
            reader.Advance(1);
        }

        if (reader.End)
        {
            return false;
        }

        long before = reader.Consumed;
        if (_parser.ParseRequestLine(new Handler(this), ref reader))
        {
            if (reader.Consumed - before > MaxLineBytes)
            {
                Fail(414);
                return false;
            }

            _state = State.Headers;
            return true;
        }

        if (reader.Remaining > MaxLineBytes)
        {
            Fail(414);
        }

        return false;
    }

    private bool TakeHeaders(ref SequenceReader<byte> reader)
    {
        // More than the limit can't be looked at in one go either.
        long before = reader.Consumed;
        bool done = _parser.ParseHeaders(new Handler(this), ref reader);
        _headerBytes += (int)Math.Min(reader.Consumed - before, MaxHeaderBytes + 1);
        if (_headerBytes > MaxHeaderBytes || _headerCount > MaxHeaderCount || (!done && _headerBytes + reader.Remaining > MaxHeaderBytes))
        {
            Fail(431);
            return false;
        }

        if (done)
        {
            _state = State.HeadersDone;
        }

        return done;
    }

    /// <summary>What is to be known before the body: 0, or the status code that refuses it.</summary>
    private int CheckHeaders()
    {
        if (_http11 && !_hasHost)
        {
            return 400;
        }

        // RFC 9112 section 6.3: both together are how requests are smuggled.
        if (_chunked && (_hasLength || !_http11))
        {
            return 400;
        }

        if (_bodyLeft > MaxBodyBytes)
        {
            return 413;
        }

        KeepAlive = !_closeAsked && (_http11 || _keepAliveAsked);
        _state = _chunked ? State.Chunks : State.Body;
        return 0;
    }

    private HttpStep TakeBody(ref SequenceReader<byte> reader)
    {
        long length = Math.Min(_bodyLeft, reader.Remaining);
        ChunkedBody.Pass(ref reader, length, WantsDigest ? _sha256 : null);
        _bodyLeft -= length;
        BodyBytes += length;
        return _bodyLeft == 0 ? Finish() : HttpStep.NeedMore;
    }

    private HttpStep TakeChunks(ref SequenceReader<byte> reader)
    {
        ChunkedResult result = _chunks.Take(ref reader, WantsDigest ? _sha256 : null);
        BodyBytes = _chunks.BodyBytes;
        return result switch
        {
            ChunkedResult.Done => Finish(),
            ChunkedResult.NeedMore when BodyBytes > MaxBodyBytes => Fail(413),
            ChunkedResult.NeedMore => HttpStep.NeedMore,
            _ => Fail(400),
        };
    }

    private HttpStep Finish()
    {
        _state = State.Done;
        return HttpStep.Request;
    }

    private HttpStep Fail(int status)
    {
        _state = State.Failed;
        Status = status;
        KeepAlive = false;
        return HttpStep.Bad;
    }

    private void Reset()
    {
        _state = State.Line;
        _http11 = _hasHost = _hasLength = _chunked = _expectsContinue = _closeAsked = _keepAliveAsked = false;
        _headerBytes = _headerCount = 0;
        _bodyLeft = 0;
        _chunks = default;
        BodyBytes = 0;
        DownloadBytes = -1;
        WantsDigest = false;
        KeepAlive = false;
    }

    private void OnLine(HttpVersionAndMethod line, ReadOnlySpan<byte> path)
    {
        Method = line.Method;
        _http11 = line.Version == HttpVersion.Http11;
        ReadOnlySpan<byte> prefix = "/bytes/"u8;
        DownloadBytes = path.StartsWith(prefix) && Utf8Parser.TryParse(path[prefix.Length..], out long bytes, out int used) && used == path.Length - prefix.Length ? bytes : -1;
        WantsDigest = Method is HttpMethod.Post or HttpMethod.Put && path.SequenceEqual("/sha256"u8);
        if (WantsDigest)
        {
            _sha256 ??= IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        }
    }

    private void OnHeader(ReadOnlySpan<byte> name, ReadOnlySpan<byte> value)
    {
        _headerCount++;
        switch (name.Length)
        {
            case 4 when Is(name, "Host"u8):
                _hasHost = true;
                break;
            case 6 when Is(name, "Expect"u8):
                _expectsContinue = Is(value, "100-continue"u8);
                break;
            case 10 when Is(name, "Connection"u8):
                OnConnection(value);
                break;
            case 14 when Is(name, "Content-Length"u8):
                OnLength(value);
                break;
            case 17 when Is(name, "Transfer-Encoding"u8):
                // Only chunked, alone and once: we know no other coding.
                _chunked = !_chunked && Is(value, "chunked"u8) ? true : throw new BadHttpRequestException("Transfer-Encoding", 501);
                break;
        }
    }

    private void OnLength(ReadOnlySpan<byte> value)
    {
        // Digits only: the parser would take a sign too.
        bool good = value.Length is > 0 and < 19 && value.IndexOfAnyExceptInRange((byte)'0', (byte)'9') < 0;
        if (!good || !Utf8Parser.TryParse(value, out long length, out _) || (_hasLength && length != _bodyLeft))
        {
            throw new BadHttpRequestException("Content-Length", good ? 400 : value.Length >= 19 ? 413 : 400);
        }

        _hasLength = true;
        _bodyLeft = length;
    }

    private void OnConnection(ReadOnlySpan<byte> value)
    {
        foreach (Range part in value.Split((byte)','))
        {
            ReadOnlySpan<byte> option = value[part].Trim(" \t"u8);
            _closeAsked |= Is(option, "close"u8);
            _keepAliveAsked |= Is(option, "keep-alive"u8);
        }
    }

    private static bool Is(ReadOnlySpan<byte> actual, ReadOnlySpan<byte> expected) => Ascii.EqualsIgnoreCase(actual, expected);

    // A struct, so that the parser's calls are direct ones.
    private readonly struct Handler(HttpRequestReader reader) : IHttpRequestLineHandler, IHttpHeadersHandler
    {
        public void OnStartLine(HttpVersionAndMethod versionAndMethod, TargetOffsetPathLength targetPath, Span<byte> startLine) =>
            reader.OnLine(versionAndMethod, startLine.Slice(targetPath.Offset, targetPath.Length));

        public void OnHeader(ReadOnlySpan<byte> name, ReadOnlySpan<byte> value) => reader.OnHeader(name, value);

        public void OnHeadersComplete(bool endStream)
        {
        }

        public void OnStaticIndexedHeader(int index) => throw new NotSupportedException("Only HTTP/2 has indexed headers.");

        public void OnStaticIndexedHeader(int index, ReadOnlySpan<byte> value) => throw new NotSupportedException("Only HTTP/2 has indexed headers.");
    }
}
