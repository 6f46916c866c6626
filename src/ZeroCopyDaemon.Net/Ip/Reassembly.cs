using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Net.Ip;

/// <summary>A part of a datagram, of either family.</summary>
internal readonly ref struct IpFragment
{
    public IpAddress Source { get; init; }

    public IpAddress Destination { get; init; }

    /// <summary>Tells datagrams apart in IPv4; <see cref="IpProtocol.None"/> in IPv6.</summary>
    public IpProtocol Protocol { get; init; }

    public uint Identification { get; init; }

    /// <summary>In bytes.</summary>
    public int Offset { get; init; }

    public bool More { get; init; }

    /// <summary>What is kept of the first fragment's headers: at most <see cref="Ipv4Header.MaxLength"/> bytes.</summary>
    public ReadOnlySpan<byte> Header { get; init; }

    /// <summary>Bytes of the header that count for the longest that a datagram can be: all of them in IPv4, none in IPv6.</summary>
    public int CountedHeaderLength { get; init; }
}

/// <summary>Told of a datagram whose time is over and whose first fragment had come.</summary>
internal delegate void ReassemblyTimeout(in IpDatagram about, long nowUs);

/// <summary>
/// Reassembly for one IP family (RFC 791 section 3.2, RFC 815; RFC 8200 section 4.5) without touching payload: a datagram under way is a chain of page fragments in order of their offset, held aside
/// (<see cref="FragmentState.OutOfOrder"/>, connection -1). Of the first fragment's headers a private copy of at most 60 bytes is kept.
/// <para>Bounded in datagrams, in truesize and in time. At a limit the oldest datagram goes, so that junk can't shut out what comes after it. A datagram with
/// overlapping fragments is dropped as a whole, and so is what else comes of it until its time is over (RFC 5722, and its rule for IPv4 too).</para>
/// </summary>
internal sealed class Reassembly
{
    /// <summary>IPv4: from a datagram's first fragment on (RFC 1122 section 3.3.2 leaves it between 60 s and less; Linux's value).</summary>
    public const long TimeoutUs = 30_000_000;

    /// <summary>IPv6: from a datagram's first fragment on (RFC 8200 section 4.5).</summary>
    public const long Ipv6TimeoutUs = 60_000_000;

    private const int MaxLength = 65535;

    private const int None = -1;

    /// <summary>Marks the fragment slot that a frame's payload starts with, so that a repeated frame can be told from an overlapping one.</summary>
    private const byte FrameStart = 1;

    private readonly PagePool _pool;
    private readonly DropCounters _drops;
    private readonly ReassemblyTimeout _onTimeout;
    private readonly long _timeoutUs;
    private readonly int _maxBytes;
    private readonly Entry[] _entries;
    private readonly byte[] _headers;
    private readonly Dictionary<Key, int> _index;
    private int _free;
    private int _oldest = None, _newest = None;
    private int _heldBytes;

    private readonly record struct Key(IpAddress Source, IpAddress Destination, uint Identification, IpProtocol Protocol);

    private struct Entry
    {
        public Key Key;
        public long DeadlineUs;

        /// <summary>Chain of what is there, in order of offset (kept in <see cref="Fragment.Sequence"/>).</summary>
        public int Head, Tail;
        public int HeldLength;
        public int HeldBytes;

        /// <summary>Length after the IP header, known once the last fragment is there; -1 before.</summary>
        public int TotalLength;
        public int Frames;

        /// <summary>0 until the first fragment is there.</summary>
        public int HeaderLength;

        /// <summary>Of the first fragment.</summary>
        public int CountedHeaderLength, FirstLength;

        /// <summary>Set once the datagram was given up: why whatever else comes of it is dropped.</summary>
        public DropReason? Dead;
        public int Older, Newer;
    }

    public Reassembly(NetStackOptions options, long timeoutUs, PagePool pool, DropCounters drops, ReassemblyTimeout onTimeout)
    {
        _pool = pool;
        _drops = drops;
        _onTimeout = onTimeout;
        _timeoutUs = timeoutUs;
        _maxBytes = options.MaxReassemblyBytes;
        _entries = new Entry[options.MaxReassemblies];
        _headers = new byte[options.MaxReassemblies * Ipv4Header.MaxLength];
        _index = new Dictionary<Key, int>(options.MaxReassemblies);
        for (int entry = 0; entry < _entries.Length; entry++)
        {
            _entries[entry].Newer = entry + 1 < _entries.Length ? entry + 1 : None;
        }

        _free = _entries.Length > 0 ? 0 : None;
    }

    /// <summary>Datagrams under way, given up ones that are still remembered included.</summary>
    public int Count => _index.Count;

    /// <summary>Truesize bytes held.</summary>
    public int HeldBytes => _heldBytes;

    /// <summary>Frames whose payload is held.</summary>
    public int HeldFrames { get; private set; }

    /// <summary>Fragments taken in.</summary>
    public long Requests { get; private set; }

    /// <summary>Datagrams completed.</summary>
    public long Completed { get; private set; }

    /// <summary>Datagrams given up, for whatever reason.</summary>
    public long Failed { get; private set; }

    /// <summary>Of these, those whose time was over.</summary>
    public long TimedOut { get; private set; }

    /// <summary>When the oldest datagram's time is over.</summary>
    public long NextDeadlineUs => _oldest == None ? long.MaxValue : _entries[_oldest].DeadlineUs;

    /// <summary>
    /// Takes in a fragment (and its chain, without padding, over). True if it completes its datagram: the caller then has the datagram's chain, and what was kept of its first fragment's headers
    /// in <paramref name="header"/>, which has room for <see cref="Ipv4Header.MaxLength"/> bytes.
    /// </summary>
    public bool TryComplete(
        scoped in IpFragment part, int chain, int length, long nowUs, Span<byte> header, out int headerLength, out int datagram, out int datagramLength, out int frames)
    {
        (headerLength, datagram, datagramLength, frames) = (0, PagePool.NoFragment, 0, 0);
        Requests++;
        int offset = part.Offset, end = offset + length;

        // All but the last are multiples of eight bytes, and nothing may end beyond the longest datagram.
        if (length == 0 || (part.More && length % 8 != 0) || end + part.CountedHeaderLength > MaxLength)
        {
            Drop(DropReason.FRAG_INVALID, chain);
            return false;
        }

        var key = new Key(part.Source, part.Destination, part.Identification, part.Protocol);
        if (!_index.TryGetValue(key, out int index) && !TryOpen(key, nowUs, out index))
        {
            Drop(DropReason.FRAG_LIMIT, chain);
            return false;
        }

        ref Entry entry = ref _entries[index];
        if (entry.Dead is { } dead)
        {
            Drop(dead, chain);
            return false;
        }

        int bytes = (int)_pool.ChargeFor(chain, connection: -1);
        MakeRoom(bytes, index);
        if (_heldBytes + bytes > _maxBytes)
        {
            Drop(DropReason.FRAG_LIMIT, chain);
            Kill(index, DropReason.FRAG_LIMIT);
            return false;
        }

        bool isLast = !part.More;
        bool contradicts = isLast
            ? (entry.TotalLength >= 0 && entry.TotalLength != end) || HeldEnd(entry) > end
            : entry.TotalLength >= 0 && end > entry.TotalLength;
        Placement placement = Place(entry, offset, end, out int before);
        if (!contradicts && placement == Placement.Repeated)
        {
            Drop(DropReason.DUP_FRAG, chain);
            return false;
        }

        if (contradicts || placement == Placement.Overlapping)
        {
            Drop(DropReason.FRAG_INVALID, chain);
            Kill(index, DropReason.FRAG_INVALID);
            return false;
        }

        Insert(ref entry, before, chain, offset);
        entry.HeldLength += length;
        entry.HeldBytes += bytes;
        entry.Frames++;
        _heldBytes += bytes;
        HeldFrames++;
        if (isLast)
        {
            entry.TotalLength = end;
        }

        if (offset == 0)
        {
            entry.HeaderLength = part.Header.Length;
            entry.CountedHeaderLength = part.CountedHeaderLength;
            entry.FirstLength = length;
            part.Header.CopyTo(_headers.AsSpan(index * Ipv4Header.MaxLength));
        }

        // Nothing overlaps, so that as many bytes as the datagram has are all of them.
        if (entry.HeldLength != entry.TotalLength)
        {
            return false;
        }

        // A longer header on the first fragment than on the last can make a datagram that's too long after all.
        if (entry.TotalLength + entry.CountedHeaderLength > MaxLength)
        {
            Kill(index, DropReason.FRAG_INVALID);
            return false;
        }

        headerLength = entry.HeaderLength;
        HeaderOf(index).CopyTo(header);
        datagram = entry.Head;
        datagramLength = entry.TotalLength;
        frames = entry.Frames;
        for (int slot = datagram; slot != PagePool.NoFragment; slot = _pool[slot].Next)
        {
            ref Fragment fragment = ref _pool[slot];
            fragment.State = FragmentState.Received;
            fragment.Sequence = 0;
            fragment.Flags = 0;
        }

        Completed++;
        Forget(ref entry);
        Close(index);
        return true;
    }

    /// <summary>Gives up datagrams whose time is over; the sender of one whose first fragment came is told (RFC 792, RFC 8200 section 4.5).</summary>
    public void RunTimers(long nowUs)
    {
        while (NextDeadlineUs <= nowUs)
        {
            int index = _oldest;
            ref Entry entry = ref _entries[index];
            if (entry.Dead is null)
            {
                TimedOut++;
                if (entry.HeaderLength > 0)
                {
                    var about = new IpDatagram
                    {
                        Source = entry.Key.Source,
                        Destination = entry.Key.Destination,
                        Protocol = entry.Key.Protocol,
                        IpHeader = HeaderOf(index),
                        Payload = entry.Head,
                        PayloadLength = entry.FirstLength,
                        Frames = entry.Frames,
                    };
                    _onTimeout(about, nowUs);
                }

                Kill(index, DropReason.FRAG_REASM_TIMEOUT);
            }

            Close(index);
        }
    }

    private enum Placement
    {
        Free,

        /// <summary>A frame with just these bytes is there.</summary>
        Repeated,
        Overlapping,
    }

    /// <summary>Where a range goes: behind <paramref name="before"/> (<see cref="None"/>: at the front), if it is free.</summary>
    private Placement Place(in Entry entry, int offset, int end, out int before)
    {
        before = None;
        if (entry.Head == PagePool.NoFragment)
        {
            return Placement.Free;
        }

        // Nearly always in order.
        if (End(entry.Tail) <= offset)
        {
            before = entry.Tail;
            return Placement.Free;
        }

        int next = entry.Head;
        while (End(next) <= offset)
        {
            before = next;
            next = _pool[next].Next;
        }

        ref Fragment first = ref _pool[next];
        if (first.Sequence >= (uint)end)
        {
            return Placement.Free;
        }

        if (first.Sequence != (uint)offset || first.Flags != FrameStart)
        {
            return Placement.Overlapping;
        }

        // The same start: repeated if the frame there has the same end.
        int last = next;
        while (_pool[last].Next != PagePool.NoFragment && _pool[_pool[last].Next].Flags != FrameStart)
        {
            last = _pool[last].Next;
        }

        return End(last) == end ? Placement.Repeated : Placement.Overlapping;
    }

    private int End(int slot) => (int)_pool[slot].Sequence + _pool[slot].Length;

    private int HeldEnd(in Entry entry) => entry.Tail == PagePool.NoFragment ? 0 : End(entry.Tail);

    private void Insert(ref Entry entry, int before, int chain, int offset)
    {
        int tail = chain;
        _pool[chain].Flags = FrameStart;
        for (int slot = chain; slot != PagePool.NoFragment; slot = _pool[slot].Next)
        {
            ref Fragment fragment = ref _pool[slot];
            fragment.State = FragmentState.OutOfOrder;
            fragment.Sequence = (uint)offset;
            offset += fragment.Length;
            tail = slot;
        }

        if (before == None)
        {
            _pool[tail].Next = entry.Head;
            entry.Head = chain;
        }
        else
        {
            _pool[tail].Next = _pool[before].Next;
            _pool[before].Next = chain;
        }

        if (_pool[tail].Next == PagePool.NoFragment)
        {
            entry.Tail = tail;
        }
    }

    private bool TryOpen(in Key key, long nowUs, out int index)
    {
        if (_free == None && _oldest != None)
        {
            Kill(_oldest, DropReason.FRAG_LIMIT);
            Close(_oldest);
        }

        index = _free;
        if (index == None)
        {
            return false;
        }

        _free = _entries[index].Newer;
        _entries[index] = new Entry
        {
            Key = key,
            DeadlineUs = nowUs + _timeoutUs,
            Head = PagePool.NoFragment,
            Tail = PagePool.NoFragment,
            TotalLength = -1,
            Older = _newest,
            Newer = None,
        };
        if (_newest == None)
        {
            _oldest = index;
        }
        else
        {
            _entries[_newest].Newer = index;
        }

        _newest = index;
        _index.Add(key, index);
        return true;
    }

    /// <summary>Gives up the oldest datagrams, but not <paramref name="except"/>, until so many bytes fit.</summary>
    private void MakeRoom(int bytes, int except)
    {
        int index = _oldest;
        while (_heldBytes + bytes > _maxBytes && index != None)
        {
            if (index != except)
            {
                Kill(index, DropReason.FRAG_LIMIT);
            }

            index = _entries[index].Newer;
        }
    }

    /// <summary>Gives a datagram up: its pages are released, the entry stays to remember why.</summary>
    private void Kill(int index, DropReason reason)
    {
        ref Entry entry = ref _entries[index];
        if (entry.Dead is not null)
        {
            return;
        }

        entry.Dead = reason;
        Failed++;
        _drops.Count(reason, entry.Frames);
        _pool.ReleaseChain(entry.Head);
        Forget(ref entry);
    }

    private void Forget(ref Entry entry)
    {
        _heldBytes -= entry.HeldBytes;
        HeldFrames -= entry.Frames;
        (entry.Head, entry.Tail, entry.HeldBytes, entry.HeldLength, entry.Frames) = (PagePool.NoFragment, PagePool.NoFragment, 0, 0, 0);
    }

    private void Close(int index)
    {
        ref Entry entry = ref _entries[index];
        Invariant.That(entry.Head == PagePool.NoFragment, "a datagram that is forgotten holds no pages");
        if (entry.Older == None)
        {
            _oldest = entry.Newer;
        }
        else
        {
            _entries[entry.Older].Newer = entry.Newer;
        }

        if (entry.Newer == None)
        {
            _newest = entry.Older;
        }
        else
        {
            _entries[entry.Newer].Older = entry.Older;
        }

        _index.Remove(entry.Key);
        entry.Newer = _free;
        _free = index;
    }

    private ReadOnlySpan<byte> HeaderOf(int index) => _headers.AsSpan(index * Ipv4Header.MaxLength, _entries[index].HeaderLength);

    private void Drop(DropReason reason, int chain)
    {
        _drops.Count(reason);
        _pool.ReleaseChain(chain);
    }
}
