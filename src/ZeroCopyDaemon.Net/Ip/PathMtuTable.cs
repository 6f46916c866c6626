using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>
/// What "packet too big" messages said of paths (RFC 8201), for what isn't TCP: a connection keeps its own, since it can tell by sequence numbers whether a message is genuine. One who forges messages can
/// make us cut echo replies into pieces of 1280 bytes, no more. A fixed number of places; destinations that share one drive each other out.
/// </summary>
internal sealed class PathMtuTable
{
    private const int Places = 256;

    // RFC 8201 section 5.3: not before 5 minutes, recommended 10.
    private const long LifetimeUs = 600_000_000;

    private readonly Entry[] _entries = new Entry[Places];

    private struct Entry
    {
        public IpAddress Destination;
        public int Mtu;
        public long UntilUs;
    }

    /// <summary>Notes a message's MTU, at least <see cref="Ipv6Header.MinMtu"/>.</summary>
    public void Learn(IpAddress destination, int mtu, long nowUs)
    {
        ref Entry entry = ref EntryOf(destination);
        int known = entry.Destination == destination && nowUs < entry.UntilUs ? entry.Mtu : int.MaxValue;
        entry = new Entry { Destination = destination, Mtu = Math.Min(mtu, known), UntilUs = nowUs + LifetimeUs };
    }

    /// <summary>The longest packet for a destination, as far as is known; no more than <paramref name="linkMtu"/>.</summary>
    public int MtuTo(IpAddress destination, int linkMtu, long nowUs)
    {
        ref readonly Entry entry = ref EntryOf(destination);
        return entry.Destination == destination && nowUs < entry.UntilUs ? Math.Min(entry.Mtu, linkMtu) : linkMtu;
    }

    private ref Entry EntryOf(IpAddress destination) =>
        ref _entries[((destination.High ^ destination.Low ^ (destination.Low >> 32)) * 0x9E37_79B9_7F4A_7C15) >> 56];
}
