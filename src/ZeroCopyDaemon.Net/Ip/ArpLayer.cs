using System.Runtime.CompilerServices;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>ARP (RFC 826): answers for our addresses, and finds the neighbours'.</summary>
internal sealed class ArpLayer(AddressPlan addresses, int capacity, IFrameDevice device, IpCounters counters, DropCounters drops) : NeighborResolver(capacity, "arp")
{
    /// <summary>Takes in an ARP packet (what follows the Ethernet header).</summary>
    public void Receive(ReadOnlySpan<byte> bytes, long nowUs)
    {
        if (!ArpView.TryParse(bytes, out ArpView arp) || arp.Operation is not (ArpOperation.Request or ArpOperation.Reply))
        {
            drops.Count(DropReason.ARP_IGNORED);
            return;
        }

        IpAddress sender = arp.SenderProtocol, target = arp.TargetProtocol;
        EthernetAddress hardware = arp.SenderHardware;
        bool isRequest = arp.Operation == ArpOperation.Request;
        bool isForUs = addresses.IsLocal(target);

        // A probe for a duplicate (RFC 5227) has no sender address: answered, not learned from.
        bool isProbe = isRequest && sender.IsAny;
        if (addresses.IsLocal(sender))
        {
            counters.ArpConflicts++;
            LastConflict = hardware;
            drops.Count(DropReason.ARP_IGNORED);
            if (MayDefend(nowUs))
            {
                Announce();
            }

            return;
        }

        if (hardware.IsGroup || hardware.Value == 0 || (!isProbe && !addresses.IsSingleHost(sender)))
        {
            drops.Count(DropReason.ARP_IGNORED);
            return;
        }

        // Who asks for us will be talked to: a new entry. Anything else, a gratuitous ARP too, only refreshes what is there.
        int entry = isProbe ? NeighborTable.None : Table.Find(sender, nowUs);
        if (entry == NeighborTable.None && !(isRequest && isForUs))
        {
            drops.Count(DropReason.ARP_IGNORED);
            return;
        }

        if (isRequest)
        {
            counters.ArpInRequests++;
        }
        else
        {
            counters.ArpInReplies++;
        }

        if (isRequest && isForUs && !Transmit(ArpOperation.Reply, hardware, target, hardware, sender))
        {
            drops.Count(DropReason.FULL_RING);
        }
        else
        {
            counters.FramesDelivered++;
        }

        if (!isProbe)
        {
            Learn(entry, sender, hardware, NeighborState.Reachable, nowUs);
        }
    }

    /// <summary>Says who has our address to everybody on the link (RFC 5227 section 2.3). A stack that has many addresses says nothing.</summary>
    public void Announce()
    {
        if (addresses.SingleAddress is { } address)
        {
            _ = Transmit(ArpOperation.Request, EthernetAddress.Broadcast, address, default, address);
        }
    }

    // With the TX ring full this question is lost; the timer asks again.
    protected override void Ask(in Neighbor neighbor, EthernetAddress? hardware) =>
        _ = Transmit(ArpOperation.Request, hardware ?? EthernetAddress.Broadcast, neighbor.AskedBy, default, neighbor.Address);

    [SkipLocalsInit]
    private bool Transmit(ArpOperation operation, EthernetAddress destination, IpAddress local, EthernetAddress targetHardware, IpAddress target)
    {
        EthernetAddress source = addresses.HardwareOf(local);
        Span<byte> frame = stackalloc byte[EthernetHeader.Length + ArpPacket.Length];
        EthernetHeader.Write(frame, destination, source, EtherType.Arp);
        ArpPacket.Write(frame[EthernetHeader.Length..], operation, source, local, targetHardware, target);
        if (!device.TryTransmit(new TxFrame(frame, default, 0)))
        {
            return false;
        }

        if (operation == ArpOperation.Request)
        {
            counters.ArpOutRequests++;
        }
        else
        {
            counters.ArpOutReplies++;
        }

        return true;
    }
}
