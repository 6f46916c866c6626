using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>The far end of a NIC's TX ring: copies out what it carries, and holds back on demand.</summary>
internal sealed class NicWire : IWirePort
{
    public List<byte[]> Carried { get; } = [];

    /// <summary>Frames it takes before it holds back.</summary>
    public int Credit { get; set; } = int.MaxValue;

    /// <summary>Is called for each frame that it takes.</summary>
    public Action? OnCarry { get; set; }

    public bool TryCarry(in TxFrame frame, long nowUs)
    {
        if (Credit == 0)
        {
            return false;
        }

        Credit--;
        Assert.Equal((0, false), (frame.Mss, frame.ChecksumPartial));
        var bytes = new List<byte>(frame.Length);
        bytes.AddRange(frame.Headers);
        foreach (TxChunk chunk in frame.Payload)
        {
            Assert.True(chunk.Length > 0);
            bytes.AddRange(chunk.Span);
        }

        Assert.Equal(frame.Length, bytes.Count);
        Carried.Add([.. bytes]);
        OnCarry?.Invoke();
        return true;
    }
}
