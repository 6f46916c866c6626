using System.Buffers;
using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.Cli.Apps.Http;

/// <summary>Strategy copy: a buffer of our own for each direction, as with <c>recv()</c> and <c>send()</c>.</summary>
internal sealed class CopyingHttpChannel(Connection connection) : HttpChannel
{
    private const int InputBytes = 16 * 1024;
    private const int OutputBytes = 4 * 1024;

    private byte[] _input = GC.AllocateUninitializedArray<byte>(InputBytes);
    private byte[] _output = GC.AllocateUninitializedArray<byte>(OutputBytes);
    private int _start;
    private int _end;
    private int _written;

    public override ReadOnlySequence<byte> Unread => new(_input, _start, _end - _start);

    public override Span<byte> Free => _output.AsSpan(_written);

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public override async ValueTask<bool> FillAsync(CancellationToken cancel)
    {
        if (_start > 0)
        {
            _input.AsSpan(_start, _end - _start).CopyTo(_input);
            _end -= _start;
            _start = 0;
        }

        if (_end == _input.Length)
        {
            Array.Resize(ref _input, _input.Length * 2);
        }

        int length = await connection.ReceiveAsync(_input.AsMemory(_end), cancel);
        _end += length;
        ReceivedBytes += length;
        return length > 0;
    }

    public override void Consume(SequencePosition position)
    {
        // The position is one of Unread's, whose only segment is the whole array.
        _start = position.GetInteger();
        if (_start == _end)
        {
            _start = _end = 0;
        }
    }

    public override ValueTask ReserveAsync(int bytes)
    {
        if (_output.Length - _written >= bytes)
        {
            return default;
        }

        if (_written == 0)
        {
            _output = GC.AllocateUninitializedArray<byte>(bytes);
            return default;
        }

        return SendAndReserveAsync(bytes);
    }

    public override void Advance(int bytes) => _written += bytes;

    public override ValueTask FlushAsync(bool more = false)
    {
        if (_written == 0)
        {
            return default;
        }

        int length = _written;
        _written = 0;
        return connection.SendAsync(_output.AsMemory(0, length));
    }

    public override void ShutdownSend() => connection.ShutdownSend();

    private async ValueTask SendAndReserveAsync(int bytes)
    {
        await FlushAsync(more: true);
        await ReserveAsync(bytes);
    }
}
