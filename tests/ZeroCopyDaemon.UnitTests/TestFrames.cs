using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Net.Packets;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>Puts test bytes into pages as a NIC would, and frames into a receiver.</summary>
internal static class TestFrames
{
    /// <summary>A chain with the given bytes, cut into pieces of the given lengths, each in a page of its own.</summary>
    public static int Chain(PagePool pool, ReadOnlySpan<byte> bytes, ReadOnlySpan<int> lengths, int offset = 0)
    {
        int head = PagePool.NoFragment, tail = PagePool.NoFragment;
        foreach (int length in lengths)
        {
            if (!pool.TryPost(out int page))
            {
                throw new InvalidOperationException("the test's pool is empty");
            }

            int slot = pool.AddFragment(page, offset, length);
            pool.EndPosting(page);
            bytes[..length].CopyTo(pool.Payload(slot));
            bytes = bytes[length..];
            if (head == PagePool.NoFragment)
            {
                head = slot;
            }
            else
            {
                pool[tail].Next = slot;
            }

            tail = slot;
        }

        return head;
    }

    /// <summary>A chain with the given bytes in as few pages as hold them; <see cref="PagePool.NoFragment"/> for none.</summary>
    public static int Chain(PagePool pool, ReadOnlySpan<byte> bytes)
    {
        int room = pool.Geometry.PageSize - pool.Geometry.Headroom;
        Span<int> lengths = stackalloc int[(bytes.Length + room - 1) / room];
        for (int i = 0, left = bytes.Length; i < lengths.Length; i++, left -= room)
        {
            lengths[i] = Math.Min(left, room);
        }

        return Chain(pool, bytes, lengths, pool.Geometry.Headroom);
    }

    /// <summary>The bytes of a chain.</summary>
    public static byte[] Bytes(PagePool pool, int head)
    {
        var bytes = new List<byte>();
        for (; head != PagePool.NoFragment; head = pool[head].Next)
        {
            bytes.AddRange(pool.Payload(head));
        }

        return [.. bytes];
    }

    /// <summary>Receives a frame with its headers split off, as the NIC model hands it up.</summary>
    public static void Receive(IFrameReceiver receiver, PagePool pool, ReadOnlySpan<byte> frame, long nowUs, RxChecksum checksum = RxChecksum.None)
    {
        int headerLength = HeaderDissector.Dissect(frame).HeaderLength;
        int payload = Chain(pool, frame[headerLength..]);
        receiver.Receive(new RxFrame(frame[..headerLength], payload, frame.Length - headerLength, checksum), nowUs);
    }
}
