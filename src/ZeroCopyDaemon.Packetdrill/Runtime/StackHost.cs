using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Packetdrill.Language;
using ZeroCopyDaemon.Packetdrill.Packets;

namespace ZeroCopyDaemon.Packetdrill.Runtime;

/// <summary>
/// The stack under test on a virtual clock: page pool over native memory (owned), a device that keeps what is sent, and a neighbour that answers when its address is asked for. No segmentation offload,
/// so that segments are seen one by one. Single-threaded.
/// </summary>
internal sealed unsafe class StackHost : IFrameDevice, IDisposable
{
    /// <summary>The one switch for scripts with <c>--ip_version=ipv6</c>.</summary>
    public const bool HasIpv6 = false;

    private const int PageSize = 4096, Pages = 4096;
    private const long StartUs = 1_000_000_000;
    private readonly byte* _memory;
    private readonly PagePool _pool;
    private readonly Queue<OutboundPacket> _sent = new();
    private readonly Queue<byte[]> _neighborQuestions = new();

    public StackHost(ScriptOptions options, TcpOptions tcp)
    {
        Mtu = options.Mtu;
        NowUs = StartUs;
        var geometry = new PoolGeometry(PageSize, Pages);
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)geometry.TotalBytes, PageSize);
        _pool = new PagePool(_memory, geometry);
        Stack = new NetStack(
            new NetStackOptions
            {
                Address = options.Local,
                PrefixLength = options.PrefixLength,
                Gateway = options.Gateway,
                EthernetAddress = FrameBuilder.LocalHardware,
                Secret = 0x7061_636b_6574,
                Tcp = tcp,
            },
            _pool,
            this);
    }

    public NetStack Stack { get; }

    public PagePool Pool => _pool;

    /// <summary>The virtual clock, in microseconds.</summary>
    public long NowUs { get; private set; }

    /// <summary>The clock since the script's start.</summary>
    public long ElapsedUs => NowUs - StartUs;

    /// <summary>What the stack sent and nobody has looked at yet, oldest first.</summary>
    public Queue<OutboundPacket> Sent => _sent;

    /// <summary>Called for every event of the stack's, before it has its next turn to send.</summary>
    public Action<TcpConnection, TcpEvents>? OnEvent { get; set; }

    public int Mtu { get; }

    public bool TxChecksumOffload => false;

    public int MaxTsoBytes => 0;

    public int MaxChunks => 32;

    public long TxPosted { get; private set; }

    public long TxCompleted => TxPosted;

    /// <summary>Script time of an instant of the clock.</summary>
    public static long Elapsed(long nowUs) => nowUs - StartUs;

    /// <summary>Time passes up to an instant of the script; every deadline of the stack on the way is kept. <paramref name="stop"/> is asked after each.</summary>
    public void AdvanceTo(long elapsedUs, Func<bool>? stop = null)
    {
        long end = StartUs + elapsedUs;
        Settle();
        while (!(stop?.Invoke() ?? false) && Stack.NextDeadlineUs <= end)
        {
            NowUs = Math.Max(NowUs, Stack.NextDeadlineUs);
            Settle();
        }

        if (!(stop?.Invoke() ?? false))
        {
            NowUs = Math.Max(NowUs, end);
            Settle();
        }
    }

    /// <summary>When the stack has something to do next, in script time; <see cref="long.MaxValue"/> if never.</summary>
    public long NextDeadlineUs => Stack.NextDeadlineUs == long.MaxValue ? long.MaxValue : Math.Max(0, Stack.NextDeadlineUs - StartUs);

    /// <summary>A frame arrives; then the stack has its turn.</summary>
    public void Inject(in InboundFrame frame)
    {
        Deliver(frame);
        Settle();
    }

    /// <summary>The stack has its turn until there is nothing left to do now.</summary>
    public void Settle()
    {
        // A host that is asked for ever would be a fault of the stack's: it must not hang whoever runs scripts.
        for (int turn = 0; turn < 100_000; turn++)
        {
            bool worked = TakeEvents();
            worked |= Stack.Poll(NowUs) > 0;
            worked |= TakeEvents();
            while (_neighborQuestions.TryDequeue(out byte[]? question))
            {
                AnswerNeighbor(question);
                worked = true;
            }

            if (!worked && Stack.NextDeadlineUs > NowUs && !Stack.HasPendingOutput)
            {
                return;
            }
        }

        throw new InvalidOperationException("the stack under test finds no rest: it has something to do at the same instant for ever");
    }

    public bool TryTransmit(in TxFrame frame)
    {
        TxPosted++;
        byte[] bytes = new byte[frame.Length];
        frame.Headers.CopyTo(bytes);
        int at = frame.Headers.Length;
        foreach (TxChunk chunk in frame.Payload)
        {
            chunk.Span.CopyTo(bytes.AsSpan(at));
            at += chunk.Length;
        }

        if (IsNeighborQuestion(bytes))
        {
            _neighborQuestions.Enqueue(bytes);
        }
        else if (OutboundPacket.Parse(bytes, ElapsedUs) is { } packet)
        {
            _sent.Enqueue(packet);
        }

        return true;
    }

    public void Dispose() => NativeMemory.AlignedFree(_memory);

    private static bool IsNeighborQuestion(byte[] frame) => EthernetView.TryParse(frame, out EthernetView view) && view.EtherType == EtherType.Arp;

    private bool TakeEvents()
    {
        bool any = false;
        while (Stack.TryTakeEvent(out TcpConnection connection, out TcpEvents events))
        {
            any = true;
            OnEvent?.Invoke(connection, events);
        }

        return any;
    }

    private void AnswerNeighbor(byte[] question)
    {
        if (!ArpView.TryParse(question.AsSpan(EthernetHeader.Length), out ArpView arp) || arp.Operation != ArpOperation.Request || arp.SenderProtocol == arp.TargetProtocol)
        {
            return;
        }

        byte[] frame = new byte[EthernetHeader.MinFrameLength];
        EthernetHeader.Write(frame, FrameBuilder.LocalHardware, FrameBuilder.PeerHardware, EtherType.Arp);
        ArpPacket.Write(frame.AsSpan(EthernetHeader.Length), ArpOperation.Reply, FrameBuilder.PeerHardware, arp.TargetProtocol, arp.SenderHardware, arp.SenderProtocol);
        Deliver(new InboundFrame(frame, []));
    }

    private void Deliver(in InboundFrame frame)
    {
        int head = PagePool.NoFragment, tail = PagePool.NoFragment;
        ReadOnlySpan<byte> payload = frame.Payload;
        while (payload.Length > 0)
        {
            if (!_pool.TryPost(out int page))
            {
                throw new InvalidOperationException("the page pool is used up: the script sends more than it lets the application read");
            }

            int length = Math.Min(payload.Length, PageSize);
            int slot = _pool.AddFragment(page, 0, length);
            _pool.EndPosting(page);
            payload[..length].CopyTo(_pool.Payload(slot));
            payload = payload[length..];
            if (head == PagePool.NoFragment)
            {
                head = slot;
            }
            else
            {
                _pool[tail].Next = slot;
            }

            tail = slot;
        }

        Stack.Receive(new RxFrame(frame.Headers, head, frame.Payload.Length, RxChecksum.None), NowUs);
    }
}
