using System.Buffers.Binary;
using ZeroCopyDaemon.Memory.Mapping;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.Benchmarks;

/// <summary>A host with a NIC, its driver, a stack, and a pool in a shared region: all that a segment passes on its way, and nothing besides.</summary>
internal sealed unsafe class ReceivePathHost : IWirePort, IDisposable
{
    private readonly SharedRegion _memory;
    private readonly byte[] _lastHeaders = new byte[TxFrame.MaxHeaderBytes];

    public ReceivePathHost(string address, NicOptions options, int pages)
    {
        var geometry = new PoolGeometry(4096, pages);
        _memory = SharedRegion.Create("zcd-bench-pool", geometry.TotalBytes, Path.GetTempPath(), prefault: true);
        Pool = new PagePool(_memory.Address, geometry);
        Nic = new NicModel(options, geometry) { Wire = this };
        Driver = new NicDriver(Nic, Pool);
        IpAddress own = IpAddress.Parse(address);
        Stack = new NetStack(new NetStackOptions { Address = own, EthernetAddress = EthernetAddress.ForHost(own), Secret = 1 }, Pool, Driver);
        Address = own;
    }

    public IpAddress Address { get; }

    public PagePool Pool { get; }

    public NicModel Nic { get; }

    public NicDriver Driver { get; }

    public NetStack Stack { get; }

    /// <summary>Where this host's frames go; null: nowhere.</summary>
    public ReceivePathHost? Peer { get; set; }

    /// <summary>Frames that this host sent.</summary>
    public long FramesSent { get; private set; }

    /// <summary>All headers of the last frame that this host sent.</summary>
    public ReadOnlySpan<byte> LastHeaders => _lastHeaders.AsSpan(0, LastHeadersLength);

    private int LastHeadersLength { get; set; }

    public bool TryCarry(in TxFrame frame, long nowUs)
    {
        FramesSent++;
        if (Peer is not null)
        {
            LastHeadersLength = frame.Headers.Length;
            frame.Headers.CopyTo(_lastHeaders);
            Peer.Nic.ReceiveFromWire(frame, nowUs);
        }

        return true;
    }

    /// <summary>One round of the loop.</summary>
    public void Turn(long nowUs)
    {
        Driver.Poll(nowUs, budget: 64, Stack);
        Stack.Poll(nowUs);
        Nic.ProcessTx(nowUs);
    }

    public void Dispose()
    {
        Driver.Dispose();
        _memory.Dispose();
    }
}

/// <summary>
/// The far end of one established connection, reduced to what can be prepared: segments of one size whose sequence number and checksum alone change from one to the next.
/// The handshake before is a real one.
/// </summary>
internal sealed unsafe class PreparedSender
{
    /// <summary>Segments that differ; the wire's side of them stays in the cache.</summary>
    public const int Segments = 64;

    private readonly byte[] _headers;
    private readonly byte[] _payload;
    private readonly ushort[] _checksums = new ushort[Segments];
    private readonly int _tcpOffset;
    private uint _sequence;

    /// <param name="template">Headers of a segment of the connection, from Ethernet on.</param>
    /// <param name="sequence">Of the first byte to be sent.</param>
    /// <param name="payloadBytes">Of each segment.</param>
    public PreparedSender(ReadOnlySpan<byte> template, uint sequence, int payloadBytes)
    {
        _headers = GC.AllocateArray<byte>(template.Length, pinned: true);
        template.CopyTo(_headers);
        _payload = GC.AllocateArray<byte>(Segments * payloadBytes, pinned: true);
        new Random(1).NextBytes(_payload);
        _sequence = sequence;
        PayloadBytes = payloadBytes;
        _tcpOffset = EthernetHeader.Length + Ipv4Header.MinLength;
        Span<byte> ip = _headers.AsSpan(EthernetHeader.Length, Ipv4Header.MinLength);
        Span<byte> tcp = _headers.AsSpan(_tcpOffset);
        int tcpLength = tcp.Length + payloadBytes;
        BinaryPrimitives.WriteUInt16BigEndian(ip[Ipv4Header.TotalLengthOffset..], (ushort)(Ipv4Header.MinLength + tcpLength));
        BinaryPrimitives.WriteUInt16BigEndian(ip[Ipv4Header.ChecksumOffset..], 0);
        BinaryPrimitives.WriteUInt16BigEndian(ip[Ipv4Header.ChecksumOffset..], InternetChecksum.Compute(ip));
        tcp[TcpHeader.SequenceOffset..TcpHeader.AcknowledgmentOffset].Clear();
        tcp[TcpHeader.ChecksumOffset..TcpHeader.UrgentPointerOffset].Clear();
        ulong pseudo = InternetChecksum.PseudoHeader(IpAddress.Read(ip.Slice(Ipv4Header.SourceOffset, 4)), IpAddress.Read(ip.Slice(Ipv4Header.DestinationOffset, 4)), IpProtocol.Tcp, tcpLength);
        for (int i = 0; i < Segments; i++)
        {
            var sum = new ChecksumAccumulator(pseudo);
            sum.Add(tcp);
            sum.Add(_payload.AsSpan(i * payloadBytes, payloadBytes));
            _checksums[i] = sum.Finish();
        }
    }

    public int PayloadBytes { get; }

    public ReadOnlySpan<byte> Headers => _headers;

    public ReadOnlySpan<byte> Payload(int segment) => _payload.AsSpan(segment * PayloadBytes, PayloadBytes);

    /// <summary>Puts the next segment on the wire before a NIC. False: dropped.</summary>
    public bool Send(int segment, NicModel nic, long nowUs)
    {
        Span<byte> tcp = _headers.AsSpan(_tcpOffset);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[TcpHeader.SequenceOffset..], _sequence);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[TcpHeader.ChecksumOffset..], InternetChecksum.Update(_checksums[segment], 0u, _sequence));
        _sequence += (uint)PayloadBytes;
        fixed (byte* payload = &_payload[segment * PayloadBytes])
        {
            var chunk = new TxChunk(payload, PayloadBytes);
            return nic.ReceiveFromWire(new TxFrame(_headers, new ReadOnlySpan<TxChunk>(in chunk), PayloadBytes), nowUs);
        }
    }
}
