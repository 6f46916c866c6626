using System.Buffers;
using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.Cli.Apps.Http;

/// <summary>Strategy handoff: requests are read in the pool's pages, responses written into the TX area. Nothing is copied.</summary>
internal sealed class LeasedHttpChannel(Connection connection) : HttpChannel, IDisposable
{
    // Room for two or three answers; what is pipelined gets more.
    private const int SmallBufferBytes = 1024;
    private const int PipelineBufferBytes = 8192;

    // A request that trickles in over more receives than this is gathered by a copy, which the counter shows, rather than hold a page for every few bytes.
    private const int MaxHeld = 8;

    private readonly List<Received> _held = [];
    private ReadOnlySequence<byte> _unread;
    private TxBuffer _buffer;
    private bool _hasBuffer;
    private int _written;

    public override ReadOnlySequence<byte> Unread => _unread;

    public override Span<byte> Free => _buffer.Span[_written..];

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public override async ValueTask<bool> FillAsync(CancellationToken cancel)
    {
        Received more = await connection.ReceiveAsync(cancellation: cancel);
        if (more.IsEnd)
        {
            return false;
        }

        ReceivedBytes += more.Length;
        if (_unread.IsEmpty)
        {
            // The common case: a receive holds whole requests.
            ReleaseHeld();
            _held.Add(more);
            _unread = more.AsSequence();
        }
        else if (_held.Count < MaxHeld)
        {
            _held.Add(more);
            _unread = Join(_unread, more.AsSequence());
        }
        else
        {
            Gather(more);
        }

        return true;
    }

    public override void Consume(SequencePosition position)
    {
        if (_unread.IsEmpty)
        {
            return;
        }

        _unread = _unread.Slice(position);
        if (_unread.IsEmpty)
        {
            // Even an empty sequence would refer to a page that is not ours any more.
            _unread = default;
            ReleaseHeld();
        }
    }

    public override ValueTask ReserveAsync(int bytes)
    {
        if (_hasBuffer && _buffer.Length - _written >= bytes)
        {
            return default;
        }

        int wanted = Math.Max(bytes, _unread.IsEmpty ? SmallBufferBytes : PipelineBufferBytes);
        if (!_hasBuffer && connection.TryRentTx(wanted, out _buffer))
        {
            _hasBuffer = true;
            _written = 0;
            return default;
        }

        return SendAndRentAsync(wanted);
    }

    public override void Advance(int bytes) => _written += bytes;

    public override ValueTask FlushAsync(bool more = false)
    {
        if (!_hasBuffer)
        {
            return default;
        }

        _hasBuffer = false;
        return connection.SendAsync(_buffer, _written, more);
    }

    public override void ShutdownSend() => connection.ShutdownSend();

    public void Dispose()
    {
        ReleaseHeld();
        if (_hasBuffer)
        {
            _hasBuffer = false;
            _buffer.Dispose();
        }
    }

    private static ReadOnlySequence<byte> Join(in ReadOnlySequence<byte> first, in ReadOnlySequence<byte> second)
    {
        Segment? start = null;
        Segment? end = null;
        foreach (ReadOnlyMemory<byte> memory in first)
        {
            end = Segment.After(end, memory);
            start ??= end;
        }

        foreach (ReadOnlyMemory<byte> memory in second)
        {
            end = Segment.After(end, memory);
            start ??= end;
        }

        return new(start!, 0, end!, end!.Memory.Length);
    }

    private async ValueTask SendAndRentAsync(int bytes)
    {
        await FlushAsync(more: true);
        _buffer = await connection.RentTxAsync(bytes);
        _hasBuffer = true;
        _written = 0;
    }

    private void Gather(Received more)
    {
        int unread = (int)_unread.Length + more.Length;
        byte[] all = new byte[_held.Sum(h => h.Length) + more.Length];
        int at = 0;
        foreach (Received held in _held)
        {
            held.CopyTo(all.AsSpan(at));
            at += held.Length;
        }

        more.CopyTo(all.AsSpan(at));
        more.Dispose();
        ReleaseHeld();
        _unread = new(all, all.Length - unread, unread);
    }

    private void ReleaseHeld()
    {
        foreach (Received held in _held)
        {
            held.Dispose();
        }

        _held.Clear();
    }

    private sealed class Segment : ReadOnlySequenceSegment<byte>
    {
        private Segment(ReadOnlyMemory<byte> memory, long runningIndex)
        {
            Memory = memory;
            RunningIndex = runningIndex;
        }

        public static Segment After(Segment? before, ReadOnlyMemory<byte> memory)
        {
            Segment segment = new(memory, before is null ? 0 : before.RunningIndex + before.Memory.Length);
            if (before is not null)
            {
                before.Next = segment;
            }

            return segment;
        }
    }
}
