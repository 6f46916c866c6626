using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory.Pages;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>A page pool over plain native memory, for tests that need no shared mapping.</summary>
internal sealed unsafe class NativePool : IDisposable
{
    private byte* _memory;

    public NativePool(int pages = 256, int pageSize = 4096, int headroom = 0, int fragments = 0)
    {
        var geometry = new PoolGeometry(pageSize, pages, headroom);
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)geometry.TotalBytes, 4096);
        Pool = new PagePool(_memory, geometry, fragments);
    }

    public PagePool Pool { get; }

    public void Dispose()
    {
        NativeMemory.AlignedFree(_memory);
        _memory = null;
    }
}
