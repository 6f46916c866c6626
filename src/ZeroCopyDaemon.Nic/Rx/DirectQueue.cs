using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.Nic.Rx;

/// <summary>A piece of memory to read into; laid out as Linux's struct iovec.</summary>
public unsafe struct BufferSegment
{
    public byte* Address;

    public nuint Length;
}

/// <summary>
/// One RX queue as a wire uses it that writes frames into posted buffers by itself (see <see cref="NicOptions.DirectReceive"/>): <see cref="Prepare"/> says where the next frame is to go,
/// <see cref="Complete"/> says that it is there.
/// <para>Such a wire places a frame before anybody has parsed it, so where headers end is a guess, one for the queue: that of the last TCP segments with payload. When it is right, headers
/// are in a header buffer and payload begins at a page's start. When it is wrong no payload moves: what of it is in the header buffer stays there as a fragment of its own; what of the headers is in the page is copied behind the
/// others (headers, not payload), and payload begins behind it. Both are counted in <c>rx.split_fixup_bytes</c>.</para>
/// Single-threaded, on the loop's thread; the buffers are the driver's.
/// </summary>
public sealed unsafe class DirectQueue
{
    private const int LineBytes = 64;

    // Ethernet, IPv4 and TCP with timestamps, as nearly all peers send them.
    private const int FirstGuess = 66;
    private const int LeastGuess = EthernetHeader.Length + Ipv4Header.MinLength;

    private readonly NicModel _nic;
    private readonly RxQueue _queue;
    private readonly int _headroom;
    private readonly int _usableBytes;
    private readonly bool _splits;
    private readonly bool _packs;
    private int _guess;
    private int _lastMiss;
    private int _openPage = -1;
    private int _openOffset;
    private byte* _openAddress;

    internal DirectQueue(NicModel nic, RxQueue queue, Placement placement, PoolGeometry geometry)
    {
        _nic = nic;
        _queue = queue;
        _headroom = nic.Options.FirstByte(geometry);
        _usableBytes = geometry.PageSize - _headroom;
        _splits = placement != Placement.None;
        _packs = placement == Placement.Packed;
        _guess = _splits ? FirstGuess : 0;
    }

    /// <summary>Most segments that <see cref="Prepare"/> asks for, whatever the MTU may become.</summary>
    public int MostSegments => PagesFor(_nic.Options.MaxFrameBytesAt(Ipv4Header.MaxTotalLength)) + 2;

    /// <summary>The header length that the next frame is expected to have; 0 = headers and payload are not split.</summary>
    public int GuessedHeaderLength => _guess;

    /// <summary>Payload bytes written into pages (by the OS).</summary>
    internal long DataBytes { get; private set; }

    /// <summary>Header bytes written into header buffers (by the OS).</summary>
    internal long HeaderBytes { get; private set; }

    /// <summary>Frames whose headers went to a header buffer.</summary>
    internal long HeaderSplits { get; private set; }

    /// <summary>Bytes that were on the wrong side of the split.</summary>
    internal long FixupBytes { get; private set; }

    /// <summary>Frames with payload whose header length was guessed wrong.</summary>
    internal long FixupFrames { get; private set; }

    /// <summary>
    /// Says where the longest frame would go, in order: at most <see cref="MostSegments"/> places of <paramref name="segments"/>. Returns how many; 0 = too few buffers are posted, so the
    /// frame should wait where it is. Takes nothing: asked again without a <see cref="Complete"/>, it says the same.
    /// </summary>
    public int Prepare(BufferSegment* segments)
    {
        int pages = PagesFor(_nic.MaxRxFrameBytes - _guess);
        if (_queue.Pages.Count < pages || (_splits && _queue.HeaderBuffers.Count == 0) || _queue.Completions.Free < pages + 3)
        {
            return 0;
        }

        int count = 0;
        if (_splits)
        {
            segments[count++] = new BufferSegment { Address = _queue.HeaderAddress(_queue.HeaderBuffers[0]), Length = (nuint)_guess };
        }

        if (_openPage >= 0)
        {
            segments[count++] = new BufferSegment { Address = _openAddress + _openOffset, Length = (nuint)(_headroom + _usableBytes - _openOffset) };
        }

        for (int page = 0; page < pages; page++)
        {
            segments[count++] = new BufferSegment { Address = _queue.Pages[page].Address + _headroom, Length = (nuint)_usableBytes };
        }

        return count;
    }

    /// <summary>
    /// A frame of so many bytes was written as <see cref="Prepare"/> said last. False = it was dropped, and counted by reason; its buffers are used for the next one.
    /// </summary>
    /// <param name="length">Bytes from the Ethernet header on.</param>
    /// <param name="checksum">What the wire knows of its checksums.</param>
    /// <param name="nowUs">The time.</param>
    public bool Complete(int length, RxChecksum checksum, long nowUs)
    {
        if (!_nic.Admit(length))
        {
            return false;
        }

        if (_splits)
        {
            CompleteSplit(length, checksum);
        }
        else
        {
            DataBytes += length;
            PublishPages(length, 0, written: 0, checksum);
        }

        _queue.Packets++;
        _queue.Bytes += length;
        _queue.Interrupt.OnFrame(nowUs);
        _nic.OnDirect(_queue, checksum);
        return true;
    }

    /// <summary>Takes the page that is filled from several frames away, when the driver takes everything back.</summary>
    internal bool TryTakeOpenPage(out int page)
    {
        page = _openPage;
        _openPage = -1;
        return page >= 0;
    }

    private int PagesFor(int bytes) => (int)((uint)(bytes + _usableBytes - 1) / (uint)_usableBytes);

    private void CompleteSplit(int length, RxChecksum checksum)
    {
        int buffer = _queue.HeaderBuffers[0];
        byte* headers = _queue.HeaderAddress(buffer);
        int inBuffer = Math.Min(length, _guess);
        FrameDissection found = HeaderDissector.Dissect(new ReadOnlySpan<byte>(headers, inBuffer));
        int headerLength = found.FullHeaderLength;
        if (headerLength == 0 || headerLength > length)
        {
            // What is in the header buffer doesn't tell. Rare: options, IPv6 while IPv4 was guessed, or something that isn't IP at all.
            int window = Math.Min(length, HeaderDissector.MaxHeaderBytes);
            CopyHeaderTail(headers, inBuffer, window - inBuffer);
            found = HeaderDissector.Dissect(new ReadOnlySpan<byte>(headers, window));
            headerLength = found.FullHeaderLength is > 0 and int full && full <= length ? full : found.HeaderLength;
        }

        // Padding stays behind. A datagram that says it is longer than its frame is the stack's to drop.
        int end = found.IsIp ? Math.Max(Math.Min(length, found.L3Offset + found.IpTotalLength), headerLength) : length;
        int tail = Math.Max(headerLength - inBuffer, 0);
        int displaced = Math.Max(Math.Min(end, inBuffer) - headerLength, 0);
        int payload = end - headerLength;
        if (tail > 0)
        {
            CopyHeaderTail(headers, inBuffer, tail);
        }

        if (payload > 0 && headerLength != _guess)
        {
            FixupBytes += tail + displaced;
            FixupFrames++;
        }

        Learn(found, headerLength, payload);
        HeaderBytes += headerLength;
        DataBytes += payload;
        HeaderSplits++;
        _queue.HeaderBuffers.Skip(1);
        _queue.Completions.Reserve(0) = new RxCompletion { Buffer = buffer, Length = headerLength, Flags = RxCompletionFlags.HeaderBuffer };
        int written = 1;
        if (displaced > 0)
        {
            _queue.Completions.Reserve(written++) = new RxCompletion { Buffer = buffer, Offset = headerLength, Length = displaced, Flags = RxCompletionFlags.HeaderPayload };
        }

        PublishPages(payload - displaced, tail, written, checksum);
    }

    /// <summary>Header bytes that went to pages, to where the others are.</summary>
    private void CopyHeaderTail(byte* headers, int inBuffer, int length)
    {
        int first = _openPage >= 0 ? Math.Min(length, _headroom + _usableBytes - _openOffset) : 0;
        if (first > 0)
        {
            new ReadOnlySpan<byte>(_openAddress + _openOffset, first).CopyTo(new Span<byte>(headers + inBuffer, first));
        }

        if (length > first)
        {
            new ReadOnlySpan<byte>(_queue.Pages[0].Address + _headroom, length - first).CopyTo(new Span<byte>(headers + inBuffer + first, length - first));
        }
    }

    /// <summary>One frame that differs is an exception; two alike in a row are a peer with other options.</summary>
    private void Learn(in FrameDissection found, int headerLength, int payload)
    {
        if (payload == 0 || found.Protocol != IpProtocol.Tcp || found.IsFragment)
        {
            return;
        }

        if (headerLength == _guess)
        {
            _lastMiss = 0;
        }
        else if (headerLength == _lastMiss)
        {
            _guess = Math.Clamp(headerLength, LeastGuess, HeaderDissector.MaxHeaderBytes);
            _lastMiss = 0;
        }
        else
        {
            _lastMiss = headerLength;
        }
    }

    /// <summary>Takes the pages that <paramref name="length"/> bytes of payload lie in, behind <paramref name="skip"/> bytes that are none, and publishes the frame's completions.</summary>
    private void PublishPages(int length, int skip, int written, RxChecksum checksum)
    {
        if (_packs && length > 0)
        {
            written = PackPages(length, skip, written);
            length = 0;
        }

        for (int offset = _headroom + skip; length > 0; offset = _headroom)
        {
            int here = Math.Min(length, _headroom + _usableBytes - offset);
            _queue.Completions.Reserve(written++) = new RxCompletion
            {
                Buffer = _queue.Pages.Pop().Page,
                Offset = offset,
                Length = here,
                Flags = RxCompletionFlags.PageFinished | (offset > _headroom ? RxCompletionFlags.PageBegun : RxCompletionFlags.None),
            };
            length -= here;
        }

        ref RxCompletion last = ref _queue.Completions.Reserve(written - 1);
        last.Flags |= RxCompletionFlags.EndOfPacket;
        last.Checksum = checksum;
        _queue.Completions.Publish(written);
    }

    /// <summary>As <see cref="PublishPages"/>, but beginning in the open page, and leaving the last one open if the next frame's payload can begin there.</summary>
    private int PackPages(int length, int skip, int written)
    {
        int end = _headroom + _usableBytes;
        while (true)
        {
            if (_openPage < 0)
            {
                RxDescriptor descriptor = _queue.Pages.Pop();
                _openPage = descriptor.Page;
                _openAddress = descriptor.Address;
                _openOffset = _headroom;
            }

            int skipped = Math.Min(skip, end - _openOffset);
            bool begun = _openOffset == _headroom && skipped > 0;
            skip -= skipped;
            _openOffset += skipped;
            int here = Math.Min(length, end - _openOffset);
            int offset = _openOffset;
            length -= here;
            _openOffset = length > 0 ? end : (_openOffset + here + LineBytes - 1) & ~(LineBytes - 1);
            bool finished = _openOffset >= end;
            _queue.Completions.Reserve(written++) = new RxCompletion
            {
                Buffer = _openPage,
                Offset = offset,
                Length = here,
                Flags = (finished ? RxCompletionFlags.PageFinished : RxCompletionFlags.None) | (begun ? RxCompletionFlags.PageBegun : RxCompletionFlags.None),
            };
            if (finished)
            {
                _openPage = -1;
            }

            if (length == 0 && here > 0)
            {
                return written;
            }
        }
    }
}
