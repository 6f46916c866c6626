using BenchmarkDotNet.Attributes;
using ZeroCopyDaemon.Memory.Mapping;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.Benchmarks;

/// <summary>
/// The TCP receive path on one core, without a wire: in-order segments of one connection through DMA, driver, IP, TCP, the receive queue, the application's release of the pages, and the acknowledgments
/// down to the TX ring. One operation is one segment, so Op/s is segments per second. The baseline is what nobody can leave out: the DMA's copy into as many pages, and one checksum over it.
/// </summary>
[MemoryDiagnoser]
public unsafe class TcpReceiveBenchmarks
{
    private const int RingPages = 1024;
    private const int PageBytes = 4096;

    // A poll's batch lasts so long on the virtual clock: timers run as they would at a few GB/s.
    private const long BatchUs = 50;

    private ReceivePathHost _host = null!;
    private PreparedSender _sender = null!;
    private SharedRegion _plainPages = null!;
    private int _plainPage;
    private long _nowUs = 1_000_000;

    /// <summary>Ethernet's, and jumbo frames (three pages each).</summary>
    [Params(1500, 9000)]
    public int Mtu { get; set; }

    /// <summary>Who verifies: the (modelled) NIC or the stack. The same core does it either way.</summary>
    [Params(true, false)]
    public bool ChecksumOffload { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        var options = new NicOptions { Mtu = Mtu, RxChecksumOffload = ChecksumOffload, RxRingSize = RingPages, RxUsecs = 0, RxFrames = 0 };
        _host = new ReceivePathHost("10.0.0.1", options, pages: 4 * RingPages);
        using var peer = new ReceivePathHost("10.0.0.2", options with { RxRingSize = 64 }, pages: 256);
        _host.Peer = peer;
        peer.Peer = _host;
        TcpListener listener = _host.Stack.Listen(new IpEndpoint(_host.Address, 80), backlog: 8);
        TcpConnection client = peer.Stack.Connect(new IpEndpoint(IpAddress.Any, 0), new IpEndpoint(_host.Address, 80), _nowUs)
            ?? throw new InvalidOperationException("The peer can't connect.");
        TcpConnection? accepted = null;
        for (int turn = 0; accepted is null && turn < 1000; turn++)
        {
            _nowUs += BatchUs;
            peer.Turn(_nowUs);
            _host.Turn(_nowUs);
            if (_host.Stack.TryTakeEvent(out TcpConnection connection, out TcpEvents events) && (events & TcpEvents.Accepted) != 0)
            {
                accepted = connection;
                listener.MarkAccepted(connection);
            }
        }

        if (accepted is null)
        {
            throw new InvalidOperationException("The handshake did not end.");
        }

        // The peer's last frame is the handshake's acknowledgment: with its addresses, ports, options, what every later segment begins with.
        int payloadBytes = Mtu - (peer.LastHeaders.Length - EthernetHeader.Length);
        _sender = new PreparedSender(peer.LastHeaders, client.GetInfo(_nowUs).SndNxt, payloadBytes);
        _host.Peer = null;
        _plainPages = SharedRegion.Create("zcd-bench-plain", (long)RingPages * PageBytes, Path.GetTempPath(), prefault: true);
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _host.Pool.CheckInvariants();
        if (_host.Pool.PagesInUse != 0)
        {
            throw new InvalidOperationException("Pages were lost while it was measured.");
        }

        _host.Dispose();
        _plainPages.Dispose();
    }

    [Benchmark(Baseline = true, Description = "DMA and checksum alone", OperationsPerInvoke = PreparedSender.Segments)]
    public uint CopyAndChecksum()
    {
        uint sums = 0;
        for (int segment = 0; segment < PreparedSender.Segments; segment++)
        {
            ReadOnlySpan<byte> payload = _sender.Payload(segment);
            var sum = default(ChecksumAccumulator);
            sum.Add(_sender.Headers);
            while (!payload.IsEmpty)
            {
                ReadOnlySpan<byte> piece = payload[..Math.Min(PageBytes, payload.Length)];
                payload = payload[piece.Length..];
                var page = new Span<byte>(_plainPages.Address + ((long)_plainPage * PageBytes), piece.Length);
                _plainPage = (_plainPage + 1) % RingPages;
                piece.CopyTo(page);
                sum.Add(page);
            }

            sums += sum.Finish();
        }

        return sums;
    }

    [Benchmark(Description = "receive path", OperationsPerInvoke = PreparedSender.Segments)]
    public long ReceivePath()
    {
        _nowUs += BatchUs;
        for (int segment = 0; segment < PreparedSender.Segments; segment++)
        {
            _sender.Send(segment, _host.Nic, _nowUs);
        }

        _host.Turn(_nowUs);
        long received = 0;
        while (_host.Stack.TryTakeEvent(out TcpConnection connection, out _))
        {
            received += connection.Receive(int.MaxValue, int.MaxValue, out int head);
            _host.Pool.ReleaseChain(head);
        }

        // A dropped segment would make all that follow cheap, and wrong.
        if (received != (long)PreparedSender.Segments * _sender.PayloadBytes)
        {
            throw new InvalidOperationException($"{received} bytes came through of {PreparedSender.Segments} segments of {_sender.PayloadBytes}.");
        }

        return received;
    }
}
