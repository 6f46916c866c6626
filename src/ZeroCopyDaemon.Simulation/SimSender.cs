using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Wires.Sim;

namespace ZeroCopyDaemon.Simulation;

/// <summary>The sending half of an end: writes the stream in random pieces from its TX memory, or sends back fragments that were received. Keeps account of every send item.</summary>
internal sealed unsafe class SimSender(SimEndPlan plan, SimPattern pattern, SimRandom random, PagePool pool) : IDisposable
{
    private readonly TxMemory? _memory = plan.Echo ? null : new TxMemory(plan.TxMemoryBytes);
    private readonly Queue<(uint Tag, int Length)> _outstanding = new();
    private FragmentQueue _echo = FragmentQueue.Empty;
    private long _position;
    private long _takenBack;
    private long _nextWriteUs = long.MinValue;
    private uint _tag;

    /// <summary>Everything was given to the connection.</summary>
    public bool Finished => _position == plan.SendBytes;

    /// <summary>Bytes given to the connection.</summary>
    public long Position => _position;

    /// <summary>Bytes in items that came back.</summary>
    public long TakenBack => _takenBack;

    /// <summary>Items that have not come back.</summary>
    public int Outstanding => _outstanding.Count;

    /// <summary>Fragments waiting to be sent back.</summary>
    public int EchoBacklog => _echo.Count;

    /// <summary>When it wants to write next, if it could.</summary>
    public long NextWriteUs(TcpConnection connection) =>
        Finished || connection.SendItemsFree == 0 || (plan.Echo ? _echo.Count == 0 : _memory!.Free == 0) ? long.MaxValue : _nextWriteUs;

    /// <summary>A received fragment is to be sent back; it is the sender's from here on.</summary>
    public void Echo(int fragment) => _echo.Append(pool, fragment);

    /// <summary>Writes what can be written now. Returns the number of writes.</summary>
    public int Write(TcpConnection connection, long nowUs)
    {
        int writes = 0;
        while (NextWriteUs(connection) <= nowUs)
        {
            SendItem item = plan.Echo ? NextEcho() : NextWrite();
            bool more = _position + item.Length < plan.SendBytes && random.Chance(0.1);
            if (!connection.TrySend(item, more))
            {
                throw new SimFailureException($"a send of {item.Length} bytes was refused in state {connection.State} with {connection.SendItemsFree} places free");
            }

            _outstanding.Enqueue((item.Tag, item.Length));
            _position += item.Length;
            _nextWriteUs = plan.WritePauseUs == 0 ? nowUs : nowUs + random.Below(plan.WritePauseUs + 1);
            writes++;
        }

        return writes;
    }

    /// <summary>Takes back what was sent. Returns the number of items.</summary>
    public int TakeSent(TcpConnection connection)
    {
        int taken = 0;
        while (connection.TryTakeSent(out SendItem item))
        {
            SimFailureException.Unless(_outstanding.TryDequeue(out (uint Tag, int Length) sent), "a send item came back that was never sent, or twice");
            SimFailureException.Unless(
                sent.Tag == item.Tag && sent.Length == item.Length,
                $"send item {sent.Tag} of {sent.Length} bytes should come back next, not {item.Tag} of {item.Length}");
            if (item.Fragment == PagePool.NoFragment)
            {
                int wrong = pattern.FindMismatch(new ReadOnlySpan<byte>(item.Pointer, item.Length), _takenBack);
                SimFailureException.Unless(wrong < 0, $"somebody wrote into TX memory: byte {_takenBack + wrong} of the stream changed while it was being sent");
                _memory!.GiveBack(item.Pointer, item.Length);
            }

            _takenBack += item.Length;
            taken++;
        }

        return taken;
    }

    /// <summary>The attempt to connect failed before a byte left, and another one follows: begins anew.</summary>
    public void Restart()
    {
        SimFailureException.Unless(_outstanding.Count == 0, "every send item comes back from a failed connection");
        _position = 0;
        _takenBack = 0;
    }

    /// <summary>The connection is gone: fragments that were never sent are given back.</summary>
    public void Drop() => _echo.Clear(pool);

    public void Dispose() => _memory?.Dispose();

    private SendItem NextWrite()
    {
        int length = (int)Math.Min(random.LogBetween(1, plan.MaxWriteBytes), Math.Min(_memory!.Free, plan.SendBytes - _position));
        byte* bytes = _memory.Take(length);
        pattern.Fill(new Span<byte>(bytes, length), _position);
        return new SendItem(bytes, length, _tag++, context: 7);
    }

    private SendItem NextEcho()
    {
        int fragment = _echo.RemoveHead(pool);
        return new SendItem(pool, fragment, _tag++, context: 7);
    }
}
