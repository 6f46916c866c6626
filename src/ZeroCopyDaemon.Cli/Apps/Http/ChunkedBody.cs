using System.Buffers;
using System.Security.Cryptography;

namespace ZeroCopyDaemon.Cli.Apps.Http;

internal enum ChunkedResult
{
    NeedMore,
    Done,
    Bad,
}

/// <summary>Goes through a body in chunks (RFC 9112 section 7.1), counting its bytes, and hashing them if asked to. Extensions and trailers are passed over within bounds.</summary>
internal struct ChunkedBody
{
    // Of one size line with its extensions, and of all trailers.
    private const int MaxFramingBytes = 4096;

    private State _state;
    private long _left;
    private int _digits;
    private int _framing;
    private bool _lineHasText;

    private enum State : byte
    {
        Size,
        Extension,
        SizeEnd,
        Data,
        DataReturn,
        DataEnd,
        Trailer,
    }

    /// <summary>Bytes of the body so far, framing not counted.</summary>
    public long BodyBytes { get; private set; }

    /// <summary>Moves the reader on over bytes of a body; each fragment goes into the hash where it lies.</summary>
    public static void Pass(ref SequenceReader<byte> reader, long length, IncrementalHash? hash)
    {
        if (hash is not null)
        {
            foreach (ReadOnlyMemory<byte> fragment in reader.UnreadSequence.Slice(0, length))
            {
                hash.AppendData(fragment.Span);
            }
        }

        reader.Advance(length);
    }

    public ChunkedResult Take(ref SequenceReader<byte> reader, IncrementalHash? hash)
    {
        while (true)
        {
            if (_state == State.Data)
            {
                long length = Math.Min(_left, reader.Remaining);
                Pass(ref reader, length, hash);
                BodyBytes += length;
                _left -= length;
                if (_left > 0)
                {
                    return ChunkedResult.NeedMore;
                }

                _state = State.DataReturn;
            }

            if (!reader.TryRead(out byte next))
            {
                return ChunkedResult.NeedMore;
            }

            if (!Step(next, out bool done))
            {
                return ChunkedResult.Bad;
            }

            if (done)
            {
                return ChunkedResult.Done;
            }
        }
    }

    private bool Step(byte next, out bool done)
    {
        done = false;
        switch (_state)
        {
            case State.Size:
                return OnSize(next);
            case State.Extension:
                _state = next == '\r' ? State.SizeEnd : State.Extension;
                return next != '\n' && ++_framing <= MaxFramingBytes;
            case State.SizeEnd:
                _state = _left > 0 ? State.Data : State.Trailer;
                _digits = _framing = 0;
                return next == '\n';
            case State.DataReturn:
                _state = State.DataEnd;
                return next == '\r';
            case State.DataEnd:
                _state = State.Size;
                return next == '\n';
            default:
                return OnTrailer(next, out done);
        }
    }

    private bool OnSize(byte next)
    {
        int digit = next switch
        {
            >= (byte)'0' and <= (byte)'9' => next - '0',
            >= (byte)'a' and <= (byte)'f' => next - 'a' + 10,
            >= (byte)'A' and <= (byte)'F' => next - 'A' + 10,
            _ => -1,
        };
        if (digit >= 0)
        {
            // 12 digits are 256 TiB: beyond any limit, and far from overflow.
            _left = (_left << 4) + digit;
            return ++_digits <= 12;
        }

        _state = next == '\r' ? State.SizeEnd : State.Extension;
        return _digits > 0 && next is (byte)'\r' or (byte)';' or (byte)' ' or (byte)'\t';
    }

    private bool OnTrailer(byte next, out bool done)
    {
        done = next == '\n' && !_lineHasText;
        _lineHasText = next != '\n' && (_lineHasText || next != '\r');
        return ++_framing <= MaxFramingBytes;
    }
}
