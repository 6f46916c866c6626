using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using System.Threading.Tasks.Sources;
using ZeroCopyDaemon.Memory;

namespace ZeroCopyDaemon.Worker.Internal;

/// <summary>
/// The memory that a worker sends from: rented by the application, passed to the kernel with a send, free again when the peer has acknowledged it. Any thread. When it is used up, those
/// who want some wait in the order they came.
/// <para>Each block has a version, odd while the application holds it: a <see cref="TxBuffer"/> that was sent or returned no longer matches.</para>
/// </summary>
[SuppressMessage("Reliability", "CA1001:Types that own disposable fields should be disposable", Justification = "A memory manager over a mapping owns nothing that could be disposed.")]
internal sealed unsafe class TxArea
{
    /// <summary>Smallest block: the greater part of an HTTP response without a body fits.</summary>
    public const int UnitBytes = 1024;

    /// <summary>Largest contiguous block.</summary>
    public const int MaxBlockBytes = 1 << 20;

    private const long MaxAreaBytes = 1L << 30;

    private readonly Lock _gate = new();
    private readonly BuddyAllocator _blocks;
    private readonly uint[] _versions;
    private readonly byte* _address;
    private readonly AreaMemory _memory;
    private readonly MappingHold _hold;
    private readonly bool _inline;
    private readonly LinkedList<TxWaiter> _waiting = new();
    private readonly Stack<TxWaiter> _idleWaiters = new();
    private Exception? _lost;

    public TxArea(byte* address, long bytes, MappingHold hold, bool inline)
    {
        _address = address;
        _hold = hold;
        _inline = inline;
        bytes = Math.Min(bytes, MaxAreaBytes);
        _blocks = new BuddyAllocator(bytes, UnitBytes, MaxBlockBytes);
        _versions = new uint[_blocks.Units];
        _memory = new AreaMemory(address, (int)bytes);
    }

    /// <summary>Largest buffer that can be rented.</summary>
    public int MaxBytes => _blocks.MaxBytes;

    public long TotalBytes => _blocks.TotalBytes;

    public long FreeBytes
    {
        get
        {
            lock (_gate)
            {
                return _blocks.FreeBytes;
            }
        }
    }

    public bool TryRent(int bytes, out TxBuffer buffer)
    {
        CheckSize(bytes);
        lock (_gate)
        {
            // Those who wait come first.
            if (_waiting.Count == 0 && _lost is null && _blocks.TryAllocate(bytes, out int block))
            {
                buffer = Hand(block);
                return true;
            }
        }

        buffer = default;
        return false;
    }

    public ValueTask<TxBuffer> RentAsync(int bytes, CancellationToken cancellation)
    {
        CheckSize(bytes);
        if (cancellation.IsCancellationRequested)
        {
            return ValueTask.FromCanceled<TxBuffer>(cancellation);
        }

        TxWaiter waiter;
        lock (_gate)
        {
            if (_lost is not null)
            {
                return ValueTask.FromException<TxBuffer>(Copy(_lost));
            }

            if (_waiting.Count == 0 && _blocks.TryAllocate(bytes, out int block))
            {
                return new ValueTask<TxBuffer>(Hand(block));
            }

            if (!_idleWaiters.TryPop(out waiter!))
            {
                waiter = new TxWaiter(this, _inline);
            }

            Invariant.That(waiter.TryReserve(), "an idle waiter has no operation");
            waiter.Bytes = bytes;
            _waiting.AddLast(waiter.Node);
            waiter.Arm();
        }

        waiter.CancelBy(cancellation);
        return new ValueTask<TxBuffer>(waiter, waiter.Token);
    }

    /// <summary>A block that the kernel gave back, or that was never sent.</summary>
    public void Free(int block)
    {
        TxWaiter? first;
        lock (_gate)
        {
            _blocks.Free(block);
            first = _waiting.Count == 0 ? null : ServeWaiters();
        }

        SignalAll(first, null);
    }

    /// <summary>From here on nobody gets any; those who wait fail.</summary>
    public void Lose(Exception lost)
    {
        TxWaiter? chain = null;
        lock (_gate)
        {
            _lost = lost;
            while (_waiting.First is { } node)
            {
                _waiting.Remove(node);
                if (node.Value.TryClaim())
                {
                    node.Value.Chain = chain;
                    chain = node.Value;
                }
            }
        }

        SignalAll(chain, lost);
    }

    public Span<byte> Span(int block, uint version)
    {
        CheckHeld(block, version);
        return new Span<byte>(_address + _blocks.Offset(block), _blocks.BlockBytes(block));
    }

    public Memory<byte> Memory(int block, uint version)
    {
        CheckHeld(block, version);
        return _memory.Memory.Slice((int)_blocks.Offset(block), _blocks.BlockBytes(block));
    }

    public int BlockBytes(int block, uint version)
    {
        CheckHeld(block, version);
        return _blocks.BlockBytes(block);
    }

    public long Offset(int block) => _blocks.Offset(block);

    /// <summary>Ends the application's hold. True for exactly one caller.</summary>
    public bool TryTake(int block, uint version)
    {
        if (Interlocked.CompareExchange(ref _versions[block], version + 1, version) != version)
        {
            return false;
        }

        _hold.Release();
        return true;
    }

    private static void SignalAll(TxWaiter? waiter, Exception? error)
    {
        while (waiter is not null)
        {
            // Signalled, it may be idle and in use again at once.
            TxWaiter? next = waiter.Chain;
            waiter.Chain = null;
            waiter.Signal(error is null ? null : Copy(error));
            waiter = next;
        }
    }

    private static Exception Copy(Exception lost) => lost is KernelLostException e ? new KernelLostException(e.Reason, e.Message, e.InnerException) : lost;

    /// <summary>Claims those at the front that can be served; to be signalled outside of the lock, first come first.</summary>
    private TxWaiter? ServeWaiters()
    {
        TxWaiter? first = null;
        TxWaiter? last = null;
        while (_waiting.First is { } node)
        {
            TxWaiter waiter = node.Value;
            if (!_blocks.TryAllocate(waiter.Bytes, out int block))
            {
                break;
            }

            _waiting.Remove(node);
            if (!waiter.TryClaim())
            {
                _blocks.Free(block);
                continue;
            }

            waiter.Buffer = Hand(block);
            if (last is null)
            {
                first = waiter;
            }
            else
            {
                last.Chain = waiter;
            }

            last = waiter;
        }

        return first;
    }

    private TxBuffer Hand(int block)
    {
        _hold.Take();
        return new TxBuffer(this, block, ++_versions[block]);
    }

    private void CheckHeld(int block, uint version)
    {
        if (Volatile.Read(ref _versions[block]) != version)
        {
            throw new InvalidOperationException("This TX buffer was sent or returned: its memory is no longer the caller's.");
        }
    }

    private void CheckSize(int bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bytes);
        if (bytes > MaxBytes)
        {
            throw new ArgumentOutOfRangeException(nameof(bytes), bytes, $"A TX buffer has at most {MaxBytes} bytes: send in several parts.");
        }
    }

    private void Withdraw(TxWaiter waiter)
    {
        TxWaiter? first = null;
        lock (_gate)
        {
            if (waiter.Node.List is not null)
            {
                _waiting.Remove(waiter.Node);
                first = ServeWaiters();
            }
        }

        SignalAll(first, null);
    }

    private void Retire(TxWaiter waiter)
    {
        lock (_gate)
        {
            _idleWaiters.Push(waiter);
        }
    }

    /// <summary>One who waits for memory.</summary>
    private sealed class TxWaiter : OperationSource, IValueTaskSource<TxBuffer>
    {
        private readonly TxArea _area;

        public TxWaiter(TxArea area, bool inline)
            : base(inline)
        {
            _area = area;
            Node = new LinkedListNode<TxWaiter>(this);
        }

        public LinkedListNode<TxWaiter> Node { get; }

        public int Bytes { get; set; }

        public TxBuffer Buffer { get; set; }

        public TxWaiter? Chain { get; set; }

        public TxBuffer GetResult(short token)
        {
            CheckDone(token);
            TxBuffer buffer = Buffer;
            Buffer = default;
            try
            {
                Finish();
            }
            finally
            {
                _area.Retire(this);
            }

            return buffer;
        }

        protected override void OnCancelled() => _area.Withdraw(this);
    }

    /// <summary>The whole area as managed memory, for interfaces that take <see cref="System.Memory{T}"/>.</summary>
    private sealed class AreaMemory(byte* address, int bytes) : MemoryManager<byte>
    {
        public override Span<byte> GetSpan() => new(address, bytes);

        public override MemoryHandle Pin(int elementIndex = 0) => new(address + elementIndex);

        public override void Unpin()
        {
        }

        protected override void Dispose(bool disposing)
        {
        }
    }
}
