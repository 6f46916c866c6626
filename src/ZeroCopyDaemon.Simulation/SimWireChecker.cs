using ZeroCopyDaemon.Net.Packets;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Wires.Impaired;
using ZeroCopyDaemon.Wires.Sim;

namespace ZeroCopyDaemon.Simulation;

/// <summary>What one end of a connection may put on the wire.</summary>
internal sealed record SimStream(SimPattern Pattern, long Bytes);

/// <summary>
/// Looks at every frame as it leaves a NIC, before the wire harms it: sizes and checksums, payload against the stream it belongs to, what may be sent and what may be acknowledged,
/// and that no window shrinks.
/// </summary>
internal sealed class SimWireChecker(int mtu, Func<ushort, bool, SimStream?> streamOf) : ISimWireObserver
{
    private readonly Dictionary<(ushort A, ushort B, bool FromA), Direction> _directions = [];

    /// <summary>Traces each frame too.</summary>
    public SimTrace? Trace { get; init; }

    /// <summary>Depends on every bit of every frame, its time and its fate.</summary>
    public ulong Hash { get; private set; }

    /// <summary>Segments whose payload had been sent before.</summary>
    public long Repeated { get; private set; }

    /// <summary>Directions of connections whose sequence numbers went through 0.</summary>
    public int Wrapped
    {
        get
        {
            int wrapped = 0;
            foreach (Direction direction in _directions.Values)
            {
                wrapped += direction.Initial is { } initial && direction.Sent.Value < initial.Value ? 1 : 0;
            }

            return wrapped;
        }
    }

    public void OnFrame(int fromPort, ReadOnlySpan<byte> frame, FrameFate fate, long nowUs)
    {
        var view = new SimFrame(frame);
        Trace?.Frame(fromPort, view, fate, nowUs);
        Mix(frame, ((ulong)nowUs << 8) | ((ulong)fromPort << 7) | (ulong)fate);
        SimFailureException.Unless(view.IsArp || view.IsIp, "every frame is ARP or well-formed IP");
        if (!view.IsIp)
        {
            return;
        }

        SimFailureException.Unless(view.IpTotalLength <= mtu, $"an IP packet of {view.IpTotalLength} bytes leaves a NIC of MTU {mtu}");
        SimFailureException.Unless(view.IpChecksumRight, "every IPv4 header leaves with the right checksum");
        if (view.Protocol != 6)
        {
            SimFailureException.Unless(!view.IsIpv6 || (view.IsNeighborDiscovery && view.TransportChecksumRight), "all else over IPv6 is neighbour discovery, with the right checksum");
            return;
        }

        SimFailureException.Unless(view.IsTcp && view.IpTotalLength + 14 == frame.Length, "every TCP segment leaves well-formed and without bytes behind it");
        SimFailureException.Unless(view.TransportChecksumRight, "every TCP segment leaves with the right checksum");
        Check(view, fromA: fromPort == 0);
    }

    private void Check(in SimFrame frame, bool fromA)
    {
        (ushort a, ushort b) = fromA ? (frame.SourcePort, frame.DestinationPort) : (frame.DestinationPort, frame.SourcePort);
        Direction sender = Of(a, b, fromA);
        Direction receiver = Of(a, b, !fromA);
        bool syn = (frame.Flags & TcpFlags.Syn) != 0;
        if ((frame.Flags & TcpFlags.Rst) != 0)
        {
            return;
        }

        if (syn && (sender.Initial is not { } known || known != frame.Seq))
        {
            // A new connection, or a new attempt at it.
            sender.Begin(frame.Seq, frame.WindowScale, TcpOptionReader.Parse(frame.Options).SackPermitted);
            receiver.ForgetEdge();
        }

        if (sender.Initial is not { } initial)
        {
            return;
        }

        CheckPayload(frame, sender, receiver, initial, streamOf(b, fromA));
        if ((frame.Flags & TcpFlags.Ack) != 0 && receiver.Initial is not null)
        {
            SimFailureException.Unless(
                frame.Ack <= receiver.Sent,
                $"{Name(fromA)} acknowledges {frame.Ack - receiver.Initial.Value} of the stream, which was sent up to {receiver.Sent - receiver.Initial.Value}");
            CheckSack(frame, sender, receiver, Name(fromA));

            // What is offered to an end that has sent everything up to its FIN, and had it acknowledged, is of no meaning; TIME-WAIT does not keep track of it.
            if (!receiver.Ended || frame.Ack != receiver.Sent)
            {
                sender.Advertise(frame, receiver, syn, Name(fromA));
            }
        }
    }

    private void CheckPayload(in SimFrame frame, Direction sender, Direction receiver, SeqNumber initial, SimStream? stream)
    {
        int length = frame.Payload.Length;
        SeqNumber end = frame.Seq + length + ((frame.Flags & TcpFlags.Syn) != 0 ? 1 : 0) + ((frame.Flags & TcpFlags.Fin) != 0 ? 1 : 0);
        if (length > 0)
        {
            // Positions count from the SYN, and no stream here is longer than 2^31.
            long position = (long)(frame.Seq - initial) - 1;
            SimFailureException.Unless(stream is not null && position >= 0 && position + length <= stream.Bytes, $"a segment carries {length} bytes at {position}, outside of its stream");
            int wrong = stream.Pattern.FindMismatch(frame.Payload, position);
            SimFailureException.Unless(wrong < 0, $"a segment is sent with byte {position + wrong} of the stream wrong");
            Repeated += frame.Seq < sender.Sent ? 1 : 0;

            // One byte beyond the window is a probe (RFC 9293 section 3.8.6.1).
            SimFailureException.Unless(
                receiver.RightEdge is not { } edge || frame.Seq + length <= edge + 1,
                $"a segment is sent {(receiver.RightEdge is { } e ? frame.Seq + length - e : 0)} bytes beyond the window that was ever offered");
        }

        if ((frame.Flags & TcpFlags.Fin) != 0)
        {
            long position = (long)(frame.Seq - initial) - 1 + length;
            SimFailureException.Unless(stream is not null && position == stream.Bytes, $"a FIN is sent at {position} of a stream of {stream?.Bytes} bytes");
        }

        sender.Sent = SeqNumber.Max(sender.Sent, end);
        sender.Ended |= (frame.Flags & TcpFlags.Fin) != 0;
    }

    /// <summary>Blocks tell of what was sent and, the first one excepted (RFC 2883), is not acknowledged yet.</summary>
    private static void CheckSack(in SimFrame frame, Direction sender, Direction receiver, string name)
    {
        SackBlocks sack = TcpOptionReader.Parse(frame.Options).Sack;
        SimFailureException.Unless(sack.Count == 0 || (sender.SackPermitted && receiver.SackPermitted), $"{name} sends SACK blocks, which were not agreed on");
        for (int i = 0; i < sack.Count; i++)
        {
            SimFailureException.Unless(
                sack.Left(i) < sack.Right(i) && sack.Right(i) <= receiver.Sent && (i == 0 || sack.Left(i) > frame.Ack),
                $"{name} acknowledges {sack.Left(i) - receiver.Initial!.Value} to {sack.Right(i) - receiver.Initial.Value} in block {i} beside {frame.Ack - receiver.Initial.Value}; sent was up to {receiver.Sent - receiver.Initial.Value}");
        }
    }

    private static string Name(bool fromA) => fromA ? "A" : "B";

    private Direction Of(ushort a, ushort b, bool fromA)
    {
        if (!_directions.TryGetValue((a, b, fromA), out Direction? direction))
        {
            _directions.Add((a, b, fromA), direction = new Direction());
        }

        return direction;
    }

    private void Mix(ReadOnlySpan<byte> bytes, ulong seed)
    {
        ulong hash = SimRandom.Mix(Hash ^ seed);
        while (bytes.Length >= 8)
        {
            hash = (hash ^ BitConverter.ToUInt64(bytes)) * 0x9E37_79B9_7F4A_7C15;
            hash ^= hash >> 29;
            bytes = bytes[8..];
        }

        foreach (byte value in bytes)
        {
            hash = (hash ^ value) * 0x0000_0100_0000_01B3;
        }

        Hash = SimRandom.Mix(hash);
    }

    /// <summary>What one end has sent and offered.</summary>
    private sealed class Direction
    {
        public SeqNumber? Initial { get; private set; }

        /// <summary>Its FIN was sent.</summary>
        public bool Ended { get; set; }

        /// <summary>One past the last sequence number sent.</summary>
        public SeqNumber Sent { get; set; }

        /// <summary>One past the last sequence number that this end has offered to take.</summary>
        public SeqNumber? RightEdge { get; private set; }

        private int _scale;

        public bool SackPermitted { get; private set; }

        public void Begin(SeqNumber initial, int scale, bool sackPermitted)
        {
            SackPermitted = sackPermitted;
            Initial = initial;
            Sent = initial + 1;
            RightEdge = null;
            Ended = false;
            _scale = scale;
        }

        /// <summary>What it had offered was to another attempt.</summary>
        public void ForgetEdge() => RightEdge = null;

        public void Advertise(in SimFrame frame, Direction other, bool syn, string name)
        {
            // Scaling is on when both SYNs offer it (RFC 7323 section 2.2); a SYN's own window never is scaled.
            int scale = syn || _scale < 0 || other._scale < 0 ? 0 : _scale;
            SeqNumber edge = frame.Ack + (frame.Window << scale);

            // The offered edge is rounded down to the scale's granularity, which RFC 7323 section 2.4 allows to look like shrinking.
            SimFailureException.Unless(
                RightEdge is not { } before || edge + (1 << scale) > before,
                $"{name} shrinks its window by {(RightEdge is { } b ? b - edge : 0)} bytes");
            RightEdge = RightEdge is { } last ? SeqNumber.Max(last, edge) : edge;
        }
    }
}
