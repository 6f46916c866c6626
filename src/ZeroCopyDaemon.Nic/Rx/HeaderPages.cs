using ZeroCopyDaemon.Memory;
using ZeroCopyDaemon.Memory.Pages;

namespace ZeroCopyDaemon.Nic.Rx;

/// <summary>
/// Header buffers that are pieces of pool pages, for a NIC whose wire writes a frame before anybody has parsed it: where the guess at the header length was too long, payload lies in
/// the header buffer, and stays there as a fragment like any other. Such a buffer is not used again; when all buffers of a page are, the page leaves the NIC and is free with its last fragment.
/// The pages are the driver's, who posts them and takes them back. Single-threaded.
/// </summary>
internal sealed unsafe class HeaderPages
{
    private const int Vacant = -1;

    private readonly int _perPage;
    private readonly int _headroom;
    private readonly int[] _pages;
    private readonly int[] _kept;
    private readonly PinnedMemory<nint> _addresses;

    /// <param name="buffers">Header buffers; the last page may have more than are used.</param>
    /// <param name="geometry">The pool's.</param>
    public HeaderPages(int buffers, PoolGeometry geometry)
    {
        _perPage = Math.Min((geometry.PageSize - geometry.Headroom) / RxQueue.HeaderBufferBytes, buffers);
        _headroom = geometry.Headroom;
        _pages = new int[(buffers + _perPage - 1) / _perPage];
        _kept = new int[_pages.Length];
        _addresses = new PinnedMemory<nint>(_pages.Length);
        Buffers = buffers;
        Array.Fill(_pages, Vacant);
    }

    /// <summary>Header buffers when every place has its page.</summary>
    public int Buffers { get; }

    /// <summary>Places without a page.</summary>
    public int Missing { get; private set; }

    /// <summary>Places for pages.</summary>
    public int Places => _pages.Length;

    /// <summary>The page at a place, or -1.</summary>
    public int PageAt(int place) => _pages[place];

    /// <summary>Gives a vacant place a page. Its buffers are the numbers from <paramref name="first"/> on.</summary>
    public void Fill(int place, int page, byte* address, out int first, out int count)
    {
        Invariant.That(_pages[place] == Vacant, "a page is put where there is none");
        _pages[place] = page;
        _kept[place] = 0;
        _addresses.Pointer[place] = (nint)address;
        first = place * _perPage;
        count = Math.Min(_perPage, Buffers - first);
    }

    /// <summary>First byte of a buffer.</summary>
    public byte* Address(int buffer) => (byte*)_addresses.Pointer[buffer / _perPage] + OffsetInPage(buffer);

    /// <summary>The pool page that a buffer lies in, and where.</summary>
    public (int Page, int Offset) Locate(int buffer) => (_pages[buffer / _perPage], OffsetInPage(buffer));

    /// <summary>A buffer holds payload and is not used again. True, with the page, if it was the page's last one: the place is vacant then.</summary>
    public bool Keep(int buffer, out int page)
    {
        int place = buffer / _perPage;
        page = _pages[place];
        if (++_kept[place] < Math.Min(_perPage, Buffers - (place * _perPage)))
        {
            return false;
        }

        _pages[place] = Vacant;
        Missing++;
        return true;
    }

    /// <summary>A vacant place, if there is one; the caller fills it.</summary>
    public bool TryTakeVacant(out int place)
    {
        place = Missing == 0 ? Vacant : Array.IndexOf(_pages, Vacant);
        Missing -= place == Vacant ? 0 : 1;
        return place != Vacant;
    }

    /// <summary>Every place is vacant again; the caller has taken the pages.</summary>
    public void Clear()
    {
        Array.Fill(_pages, Vacant);
        Missing = 0;
    }

    private int OffsetInPage(int buffer) => _headroom + (buffer % _perPage * RxQueue.HeaderBufferBytes);
}
