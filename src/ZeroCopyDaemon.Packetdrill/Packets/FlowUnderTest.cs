using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;

namespace ZeroCopyDaemon.Packetdrill.Packets;

/// <summary>
/// The connection that a script's packets belong to: who its ends are, and how the script's numbers become those on the wire. The peer's sequence numbers are the script's own; the stack's are its own,
/// learned from its SYN. The same goes for its timestamps.
/// </summary>
internal sealed class FlowUnderTest(IpEndpoint local, IpEndpoint remote)
{
    private readonly Dictionary<uint, uint> _timestamps = [];
    private uint _timestampOffset;
    private bool _timestampsKnown;
    private uint? _peerSyn;
    private bool _mayBeginAnew = true;

    public IpEndpoint Local { get; } = local;

    public IpEndpoint Remote { get; } = remote;

    /// <summary>Added to the script's numbers of the stack's sequence space. 0 as long as the stack has sent no SYN.</summary>
    public uint LocalOffset { get; private set; }

    /// <summary>The script's number of the first byte that the stack sends.</summary>
    public uint LocalFirst { get; private set; } = 1;

    /// <summary>The script's number of the first byte that the peer sends.</summary>
    public uint RemoteFirst { get; private set; } = 1;

    public uint RelativeSeq(uint seq) => unchecked(seq - LocalOffset);

    public bool Owns(OutboundPacket packet) => packet.Destination.Address == Remote.Address && (!packet.IsTcp || (packet.Source == Local && packet.Destination == Remote));

    /// <summary>The peer's segment may end what was there: the next SYN of the stack's may come with numbers of its own.</summary>
    public void OnInbound(TcpFlags flags, uint seq)
    {
        if ((flags & TcpFlags.Rst) != 0)
        {
            _mayBeginAnew = true;
        }
        else if ((flags & TcpFlags.Syn) != 0)
        {
            _mayBeginAnew |= _peerSyn != seq;
            _peerSyn = seq;
            RemoteFirst = unchecked(seq + 1);
        }
    }

    /// <summary>The stack's SYN: from here on its numbers are known. One sent again must have the same ones.</summary>
    public void OnOutboundSyn(uint scriptSeq, uint seq)
    {
        if (_mayBeginAnew)
        {
            LocalOffset = unchecked(seq - scriptSeq);
            LocalFirst = unchecked(scriptSeq + 1);
            _mayBeginAnew = false;
        }
    }

    /// <summary>What the stack sent as the script's value. Returns the ticks between the two since the first.</summary>
    public int OnTimestamp(uint script, uint live)
    {
        if (!_timestampsKnown)
        {
            _timestampsKnown = true;
            _timestampOffset = unchecked(live - script);
        }

        _timestamps[script] = live;
        return unchecked((int)(live - script - _timestampOffset));
    }

    /// <summary>What the peer echoes: the value that the stack sent when the script said so.</summary>
    public uint Echo(uint script) => _timestamps.TryGetValue(script, out uint live) ? live : script == 0 || !_timestampsKnown ? script : unchecked(script + _timestampOffset);
}
