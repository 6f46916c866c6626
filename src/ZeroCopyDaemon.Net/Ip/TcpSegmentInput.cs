using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>
/// Makes validated segments of datagrams: header, options, checksum. A header that lies in pages (the datagram came in fragments) is copied
/// out, 60 bytes at most; the payload stays where it is.
/// </summary>
internal sealed class TcpSegmentInput(PagePool pool, IpCounters counters)
{
    /// <summary>Says why a datagram is no valid segment, or null and hands it to TCP. The chain is taken over only then.</summary>
    [SkipLocalsInit]
    public DropReason? Receive(in IpDatagram datagram, ITcpInput tcp, long nowUs)
    {
        Span<byte> scratch = stackalloc byte[TcpHeader.MaxLength];
        scoped TcpView view;
        if (!TcpView.TryParse(datagram.Head, out view) && !TcpView.TryParse(datagram.FirstBytes(pool, scratch), out view))
        {
            counters.TcpInErrs++;
            return DropReason.TCP_FLAGS;
        }

        int headerInPages = view.HeaderLength - datagram.Head.Length;
        Invariant.That(headerInPages >= 0, "the device puts payload into pages, not into the header buffer");
        int payloadLength = datagram.PayloadLength - headerInPages;
        if (datagram.Checksum != RxChecksum.Unnecessary && !IsChecksumRight(datagram, view) && !Faults.IsOn(Fault.ChecksumNotVerified))
        {
            counters.TcpInErrs++;
            counters.TcpInCsumErrors++;
            return DropReason.TCP_CSUM;
        }

        TcpSegmentOptions options = TcpOptionReader.Parse(view.Options);
        int payload = datagram.Payload;
        FragmentChain.TrimFront(pool, ref payload, headerInPages);
        counters.FramesDelivered += datagram.Frames;
        tcp.OnSegment(
            new TcpSegment
            {
                Source = new IpEndpoint(datagram.Source, view.SourcePort),
                Destination = new IpEndpoint(datagram.Destination, view.DestinationPort),
                Seq = view.Seq,
                Ack = view.Ack,
                Flags = view.Flags,
                Window = view.Window,
                UrgentPointer = view.UrgentPointer,
                Options = options,
                Payload = payload,
                PayloadLength = payloadLength,
            },
            nowUs);
        return null;
    }

    private bool IsChecksumRight(in IpDatagram datagram, scoped in TcpView view)
    {
        counters.RxChecksumSoftwareBytes += datagram.Length;
        var sum = new ChecksumAccumulator(InternetChecksum.PseudoHeader(datagram.Source, datagram.Destination, IpProtocol.Tcp, datagram.Length));

        // As received: what of the header lies in the header buffer, then all of the chain.
        sum.Add(datagram.Head);
        FragmentChain.AddTo(ref sum, pool, datagram.Payload);
        return sum.Fold() == 0xFFFF;
    }
}
