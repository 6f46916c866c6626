using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;

namespace ZeroCopyDaemon.Net.Packets;

/// <summary>
/// What can be done to a chain of fragments (linked by <see cref="Fragment.Next"/>) without touching payload. The caller holds the chain; fragments that
/// become empty are released here.
/// </summary>
internal static class FragmentChain
{
    /// <summary>Payload bytes of the chain.</summary>
    public static int Length(PagePool pool, int head)
    {
        int bytes = 0;
        for (; head != PagePool.NoFragment; head = pool[head].Next)
        {
            bytes += pool[head].Length;
        }

        return bytes;
    }

    /// <summary>Number of fragments.</summary>
    public static int Count(PagePool pool, int head)
    {
        int count = 0;
        for (; head != PagePool.NoFragment; head = pool[head].Next)
        {
            count++;
        }

        return count;
    }

    /// <summary>The last fragment, or <see cref="PagePool.NoFragment"/> of an empty chain.</summary>
    public static int Tail(PagePool pool, int head)
    {
        int tail = head;
        for (; head != PagePool.NoFragment; head = pool[head].Next)
        {
            tail = head;
        }

        return tail;
    }

    /// <summary>Drops the first <paramref name="bytes"/> by moving offsets; sequence numbers and stream offsets move along. The chain has at least that many.</summary>
    public static void TrimFront(PagePool pool, ref int head, int bytes)
    {
        while (bytes > 0)
        {
            Invariant.That(head != PagePool.NoFragment, "no more is trimmed off a chain than it has");
            ref Fragment fragment = ref pool[head];
            if (fragment.Length > bytes)
            {
                fragment.Offset += bytes;
                fragment.Length -= bytes;
                fragment.Sequence += (uint)bytes;
                fragment.StreamOffset += bytes;
                return;
            }

            bytes -= fragment.Length;
            int emptied = head;
            head = fragment.Next;
            if (!Faults.IsOn(Fault.FragmentLeaked))
            {
                pool.Release(emptied);
            }
        }
    }

    /// <summary>Drops everything after the first <paramref name="keep"/> bytes. A chain that is no longer than that stays as it is.</summary>
    public static void TrimBack(PagePool pool, ref int head, int keep)
    {
        int rest = head;
        if (keep == 0)
        {
            head = PagePool.NoFragment;
        }
        else
        {
            while (rest != PagePool.NoFragment)
            {
                ref Fragment fragment = ref pool[rest];
                if (fragment.Length < keep)
                {
                    keep -= fragment.Length;
                    rest = fragment.Next;
                    continue;
                }

                fragment.Length = keep;
                rest = fragment.Next;
                fragment.Next = PagePool.NoFragment;
                break;
            }
        }

        if (!Faults.IsOn(Fault.FragmentLeaked))
        {
            pool.ReleaseChain(rest);
        }
    }

    /// <summary>Copies the chain's first bytes out, for headers that lie in pages and for quotes; never for payload. Returns the bytes copied.</summary>
    public static int CopyHeader(PagePool pool, int head, Span<byte> destination)
    {
        int copied = 0;
        for (; head != PagePool.NoFragment && copied < destination.Length; head = pool[head].Next)
        {
            ReadOnlySpan<byte> bytes = pool.Payload(head);
            bytes = bytes[..Math.Min(bytes.Length, destination.Length - copied)];
            bytes.CopyTo(destination[copied..]);
            copied += bytes.Length;
        }

        return copied;
    }

    /// <summary>Adds the chain's bytes to a checksum.</summary>
    public static void AddTo(ref ChecksumAccumulator sum, PagePool pool, int head)
    {
        for (; head != PagePool.NoFragment; head = pool[head].Next)
        {
            sum.Add(pool.Payload(head));
        }
    }

    /// <summary>Gives every fragment of the chain a state.</summary>
    public static void SetState(PagePool pool, int head, FragmentState state)
    {
        for (; head != PagePool.NoFragment; head = pool[head].Next)
        {
            pool[head].State = state;
        }
    }
}
