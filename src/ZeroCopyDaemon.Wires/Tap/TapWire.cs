using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Nic.Rx;
using static ZeroCopyDaemon.Wires.Tap.TapNative;

namespace ZeroCopyDaemon.Wires.Tap;

/// <summary>
/// A real network device whose other end is Linux's own TCP/IP stack. Linux writes each frame straight into the NIC's posted buffers (<c>readv</c> into a header buffer and pool pages), and reads
/// what is sent from where the stack and the workers left it (<c>writev</c>). With offloads frames of up to 64 KB cross it, with partial checksums, both ways (virtio_net_hdr).
/// <para>The NIC must have <see cref="NicOptions.DirectReceive"/>, and as many RX queues as the device. Every call comes from the loop's thread. Owns the device.</para>
/// </summary>
public sealed unsafe class TapWire : IWire
{
    private const int FramesPerTurn = 64;

    // What the cache holds while the stack looks at it, and no more.
    private const long BytesPerTurn = 256 << 10;
    private const long BuffersRetryUs = 1_000;
    private const long UnwatchedPollUs = 1_000;

    private readonly TapDevice _device;
    private readonly Queue[] _queues;
    private readonly BufferSegment* _txSegments;
    private readonly VnetHeader* _txHeader;
    private NicModel? _nic;
    private PollSet? _poll;
    private int _firstToken;
    private bool _hasNews;
    private bool _gone;
    private bool _disposed;
    private bool _awaitsBuffers;
    private bool _mtuRefusalTold;
    private long _nowUs;
    private long _txCalls;
    private long _txBlocked;
    private long _txErrors;
    private long _txCarrierErrors;
    private long _txGsoPackets;

    private struct Queue
    {
        public DirectQueue Direct;
        public BufferSegment* Segments;
        public VnetHeader* Header;
        public int Fd;
        public bool Ready;
        public long Calls;
        public long EmptyCalls;
        public long GsoPackets;
        public long PartialChecksums;
        public long OutOfBuffers;
    }

    public TapWire(TapDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        _device = device;
        _queues = new Queue[device.Queues];
        _txSegments = (BufferSegment*)NativeMemory.AllocZeroed(MaxTxSegments, (nuint)sizeof(BufferSegment));
        _txHeader = (VnetHeader*)NativeMemory.AllocZeroed((nuint)sizeof(VnetHeader));
    }

    /// <inheritdoc/>
    public string Name => "tap";

    /// <inheritdoc/>
    public Action<string>? Notice { get; set; }

    /// <inheritdoc/>
    public WireOffloads TxOffloads => (_device.ChecksumOffload ? WireOffloads.Checksum : WireOffloads.None) | (_device.Tso ? WireOffloads.Tso : WireOffloads.None);

    /// <inheritdoc/>
    public long NextDeadlineUs => _awaitsBuffers ? _nowUs + BuffersRetryUs : _poll is null ? _nowUs + UnwatchedPollUs : long.MaxValue;

    /// <inheritdoc/>
    public bool NeedsPoll
    {
        get
        {
            if (_hasNews)
            {
                return true;
            }

            foreach (ref Queue queue in _queues.AsSpan())
            {
                if (queue.Ready && !_awaitsBuffers)
                {
                    return true;
                }
            }

            return false;
        }
    }

    // Vnet header, headers, and as many chunks as a frame can have.
    private static nuint MaxTxSegments => 2 + 64;

    /// <inheritdoc/>
    public void Attach(NicModel nic, PollSet? poll, int firstToken)
    {
        ArgumentNullException.ThrowIfNull(nic);
        Invariant.That(_nic is null && nic.Wire is null, "a wire is attached once, to a NIC without one");
        Invariant.That(nic.DirectQueues.Length == _queues.Length, "a direct wire's NIC has its number of queues");
        _nic = nic;
        _poll = poll;
        _firstToken = firstToken;
        for (int i = 0; i < _queues.Length; i++)
        {
            DirectQueue direct = nic.DirectQueues[i];

            // The MTU may grow while we run: room for the longest frame there can be.
            nuint segments = (nuint)direct.MostSegments + 1;
            _queues[i] = new Queue
            {
                Direct = direct,
                Fd = _device.QueueFd(i),
                Segments = (BufferSegment*)NativeMemory.AllocZeroed(segments, (nuint)sizeof(BufferSegment)),
                Header = (VnetHeader*)NativeMemory.AllocZeroed((nuint)sizeof(VnetHeader)),
                Ready = true,
            };
            _queues[i].Segments[0] = new BufferSegment { Address = (byte*)_queues[i].Header, Length = VnetHeaderBytes };
            poll?.Add(_queues[i].Fd, firstToken + i, read: true, write: false, edge: true);
        }

        poll?.Add(_device.EventsFd, firstToken + _queues.Length, read: true, write: false, edge: true);
        nic.Wire = this;
        nic.LinkUp = _device.IsUp;
        _hasNews = true;
    }

    /// <inheritdoc/>
    public string Expose(int kernelPort) => string.Create(CultureInfo.InvariantCulture, $"{_device.Address}:{kernelPort}");

    /// <inheritdoc/>
    public string AlsoAt(int kernelPort) => _device.Ipv6.IsOn ? string.Create(CultureInfo.InvariantCulture, $"[{_device.Ipv6.Address}]:{kernelPort}") : "";

    /// <summary>Nothing is open on Linux's side: a port without a listener answers with a reset.</summary>
    public void Unexpose(int kernelPort)
    {
    }

    /// <summary>Nothing is open on Linux's side: a port without a listener answers with a reset.</summary>
    public void StopAccepting()
    {
    }

    /// <inheritdoc/>
    public void OnReady(in PollEvent e)
    {
        int slot = e.Token - _firstToken;
        if (slot == _queues.Length)
        {
            _hasNews = true;
        }
        else
        {
            _queues[slot].Ready = true;
        }
    }

    /// <inheritdoc/>
    public int Poll(long nowUs)
    {
        _nowUs = nowUs;
        if (_hasNews)
        {
            _hasNews = false;
            TakeNews();
        }

        if (_gone)
        {
            throw new WireException($"The device {_device.Name} was removed by somebody else, and with it everything that could reach this daemon: start it again.");
        }

        int frames = 0;
        _awaitsBuffers = false;
        foreach (ref Queue queue in _queues.AsSpan())
        {
            if (queue.Ready || _poll is null)
            {
                frames += Receive(ref queue, nowUs);
            }
        }

        return frames;
    }

    /// <inheritdoc/>
    public bool TryCarry(in TxFrame frame, long nowUs)
    {
        Invariant.That(frame.Payload.Length + 2 <= (int)MaxTxSegments, "a frame's chunks fit the wire's segments");
        WriteVnetHeader(frame);
        fixed (byte* headers = frame.Headers)
        {
            _txSegments[0] = new BufferSegment { Address = (byte*)_txHeader, Length = VnetHeaderBytes };
            _txSegments[1] = new BufferSegment { Address = headers, Length = (nuint)frame.Headers.Length };
            for (int i = 0; i < frame.Payload.Length; i++)
            {
                _txSegments[i + 2] = new BufferSegment { Address = frame.Payload[i].Pointer, Length = (nuint)frame.Payload[i].Length };
            }

            int fd = _queues.Length == 1 ? _queues[0].Fd : _queues[QueueFor(frame.Headers)].Fd;
            while (true)
            {
                _txCalls++;
                if (WriteVector(fd, _txSegments, frame.Payload.Length + 2) >= 0)
                {
                    return true;
                }

                switch (Errno)
                {
                    case InterruptedError:
                        continue;
                    case TryAgainError or NoBuffersError:
                        _txBlocked++;
                        return false;
                    case IoError:
                        // The device is down, and we have not heard of it yet.
                        _txCarrierErrors++;
                        _hasNews = true;
                        return true;
                    case BadDescriptorStateError or FaultError:
                        _gone = true;
                        _hasNews = true;
                        return true;
                    default:
                        _txErrors++;
                        return true;
                }
            }
        }
    }

    /// <inheritdoc/>
    public void VisitCounters(ICounterVisitor visitor)
    {
        long calls = 0, empty = 0, gso = 0, partial = 0, outOfBuffers = 0;
        foreach (ref Queue queue in _queues.AsSpan())
        {
            calls += queue.Calls;
            empty += queue.EmptyCalls;
            gso += queue.GsoPackets;
            partial += queue.PartialChecksums;
            outOfBuffers += queue.OutOfBuffers;
        }

        visitor.Counter("tap.rx_syscalls", calls);
        visitor.Counter("tap.rx_syscalls_empty", empty);
        visitor.Counter("tap.rx_gso_packets", gso);
        visitor.Counter("tap.rx_csum_partial", partial);
        visitor.Counter("tap.rx_waits_for_buffers", outOfBuffers);
        visitor.Counter("tap.tx_syscalls", _txCalls);
        visitor.Counter("tap.tx_gso_packets", _txGsoPackets);
        visitor.Counter("tap.tx_busy", _txBlocked);
        visitor.Counter("tap.tx_carrier_errors", _txCarrierErrors);
        visitor.Counter("tap.tx_errors", _txErrors);
    }

    /// <summary>Closes the device: one that was made for this wire is gone afterwards.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        foreach (ref Queue queue in _queues.AsSpan())
        {
            if (queue.Segments is not null)
            {
                _poll?.Remove(queue.Fd);
                NativeMemory.Free(queue.Segments);
                NativeMemory.Free(queue.Header);
            }
        }

        NativeMemory.Free(_txSegments);
        NativeMemory.Free(_txHeader);
        if (_nic is not null)
        {
            _poll?.Remove(_device.EventsFd);
            _nic.Wire = null;
        }

        _device.Dispose();
    }

    private int Receive(ref Queue queue, long nowUs)
    {
        int frames = 0;
        long bytes = 0;
        while (frames < FramesPerTurn && bytes < BytesPerTurn)
        {
            int segments = queue.Direct.Prepare(queue.Segments + 1);
            if (segments == 0)
            {
                // Frames wait in the device, where Linux drops what comes on top, as a NIC without buffers would.
                queue.OutOfBuffers++;
                _awaitsBuffers = true;
                break;
            }

            queue.Calls++;
            nint length = ReadVector(queue.Fd, queue.Segments, segments + 1);
            if (length < 0)
            {
                queue.EmptyCalls++;
                int errno = Errno;
                if (errno == InterruptedError)
                {
                    continue;
                }

                queue.Ready = false;
                if (errno != TryAgainError)
                {
                    _gone = errno is BadDescriptorStateError or FaultError;
                    _hasNews = true;
                }

                break;
            }

            length -= VnetHeaderBytes;
            bytes += length;
            frames++;
            if (length > 0)
            {
                queue.GsoPackets += queue.Header->GsoType != 0 ? 1 : 0;
                queue.PartialChecksums += queue.Header->Flags & VnetHeader.NeedsChecksum;

                // A partial checksum is right by definition: the frame has never left this machine.
                bool valid = (queue.Header->Flags & (VnetHeader.NeedsChecksum | VnetHeader.DataValid)) != 0;
                queue.Direct.Complete((int)length, valid ? RxChecksum.Unnecessary : RxChecksum.None, nowUs);
            }
        }

        return frames;
    }

    private void WriteVnetHeader(in TxFrame frame)
    {
        *_txHeader = default;
        if (!frame.ChecksumPartial)
        {
            return;
        }

        FrameDissection found = HeaderDissector.Dissect(frame.Headers);
        _txHeader->Flags = VnetHeader.NeedsChecksum;
        _txHeader->ChecksumStart = (ushort)found.L4Offset;
        _txHeader->ChecksumOffset = (ushort)(found.Protocol == IpProtocol.Udp ? 6 : TcpHeader.ChecksumOffset);
        if (frame.Mss > 0)
        {
            const byte FlagCwr = 0x80;
            bool cwr = (frame.Headers[found.L4Offset + TcpHeader.FlagsOffset] & FlagCwr) != 0;
            _txHeader->GsoType = (byte)((found.IsIpv6 ? VnetHeader.GsoTcp6 : VnetHeader.GsoTcp4) | (cwr ? VnetHeader.GsoEcn : 0));
            _txHeader->GsoSize = (ushort)frame.Mss;
            _txHeader->HeaderLength = (ushort)frame.Headers.Length;
            _txGsoPackets++;
        }
    }

    /// <summary>The same queue for all frames of a connection: Linux then sends its frames to that queue.</summary>
    private int QueueFor(ReadOnlySpan<byte> headers)
    {
        FrameDissection found = HeaderDissector.Dissect(headers);
        uint ports = found.HasPorts ? BinaryPrimitives.ReadUInt32BigEndian(headers[found.L4Offset..]) : 0;
        return (int)((ports * 2654435761u) >> 16) % _queues.Length;
    }

    /// <summary>Something about Linux's devices has changed: tells what of it concerns us.</summary>
    private void TakeNews()
    {
        NicModel nic = _nic!;
        bool wasUp = nic.LinkUp, hadAddress = _device.HasHostAddress, hadAddress6 = _device.HasHostAddress6;
        string name = _device.Name;
        if (!_device.Refresh())
        {
            _gone = true;
            return;
        }

        if (!string.Equals(name, _device.Name, StringComparison.Ordinal))
        {
            Notice?.Invoke($"the device {name} is called {_device.Name} now");
        }

        if (wasUp != _device.IsUp)
        {
            nic.LinkUp = _device.IsUp;
            Notice?.Invoke(_device.IsUp
                ? $"the link of {_device.Name} is up again"
                : $"the link of {_device.Name} is down: connections wait until it is up again (ip link set {_device.Name} up)");
        }

        if (hadAddress != _device.HasHostAddress)
        {
            TellAddress(_device.HasHostAddress, $"{_device.HostAddress}", $"ip addr add {_device.HostAddress}/{_device.PrefixLength} dev {_device.Name}");
        }

        if (hadAddress6 != _device.HasHostAddress6)
        {
            TapIpv6 ipv6 = _device.Ipv6;
            TellAddress(_device.HasHostAddress6, $"{ipv6.HostAddress}", $"ip -6 addr add {ipv6.HostAddress}/{ipv6.PrefixLength} dev {_device.Name} nodad");
        }

        if (nic.Mtu != _device.Mtu && _device.Mtu > 0)
        {
            ChangeMtu(nic);
        }
    }

    private void TellAddress(bool isThere, string address, string remedy) => Notice?.Invoke(isThere
        ? $"{_device.Name} has its address {address} again"
        : $"{_device.Name} has lost its address {address}: clients on this host can't reach the daemon there until it is back ({remedy})");

    private void ChangeMtu(NicModel nic)
    {
        int before = nic.Mtu;
        try
        {
            nic.SetMtu(_device.Mtu);
            Notice?.Invoke($"the MTU of {_device.Name} is {_device.Mtu} now, it was {before}");
        }
        catch (ArgumentException e)
        {
            if (!_mtuRefusalTold)
            {
                _mtuRefusalTold = true;
                Notice?.Invoke($"the MTU of {_device.Name} is {_device.Mtu} now, but {before} is kept here: {e.Message}");
            }
        }
    }
}
