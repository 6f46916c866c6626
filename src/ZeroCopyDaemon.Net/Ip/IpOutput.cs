using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>What TCP sends by: the family of a segment's addresses decides on the way it goes.</summary>
internal sealed class IpOutput(AddressPlan addresses, Ipv4Output output, Ipv6Layer? ipv6, IpCounters counters) : IIpOutput
{
    /// <inheritdoc/>
    public IpSendResult SendTcp(in TcpHeaderToSend header, ReadOnlySpan<TxChunk> payload, int payloadLength, int mss, long nowUs)
    {
        bool isV4 = header.Source.Address.IsV4;
        if (isV4 != header.Destination.Address.IsV4 || (!isV4 && ipv6 is null))
        {
            counters.IpOutNoRoutes++;
            return IpSendResult.Unreachable;
        }

        return isV4
            ? output.SendTcp(header, payload, payloadLength, mss, nowUs)
            : ipv6!.Output.SendTcp(header, payload, payloadLength, mss, nowUs);
    }

    /// <inheritdoc/>
    public bool IsLocal(IpAddress address) => address.IsV4 ? addresses.IsLocal(address) : ipv6?.Addresses.IsLocal(address) ?? false;

    /// <inheritdoc/>
    public IpAddress SourceFor(IpAddress remote) => remote.IsV4 ? addresses.SourceFor(remote) : ipv6?.Addresses.SourceFor(remote) ?? IpAddress.Any;
}
