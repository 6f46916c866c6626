using ZeroCopyDaemon.Net.Devices;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>A device that keeps what is transmitted. Completes at once, unless told to hold completions back.</summary>
internal sealed class RecordingDevice : IFrameDevice
{
    private long _completed;

    public List<byte[]> Frames { get; } = [];

    public List<(int Mss, bool ChecksumPartial, int Chunks)> Details { get; } = [];

    /// <summary>Frames that still fit on the ring.</summary>
    public int Room { get; set; } = int.MaxValue;

    public bool HoldCompletions { get; set; }

    /// <summary>False to keep counts only, for long runs.</summary>
    public bool Keep { get; set; } = true;

    public int Mtu { get; set; } = 1500;

    public bool TxChecksumOffload { get; set; }

    public int MaxTsoBytes { get; set; }

    public int MaxChunks { get; set; } = 18;

    public long TxPosted { get; private set; }

    public long TxCompleted => HoldCompletions ? _completed : TxPosted;

    public void CompleteAll() => _completed = TxPosted;

    public bool TryTransmit(in TxFrame frame)
    {
        if (Room == 0)
        {
            return false;
        }

        Room--;
        TxPosted++;
        if (!Keep)
        {
            return true;
        }

        int payload = 0;
        foreach (TxChunk chunk in frame.Payload)
        {
            payload += chunk.Length;
        }

        Assert.Equal(frame.PayloadLength, payload);
        Assert.True(frame.Payload.Length <= MaxChunks);
        Assert.True(frame.Headers.Length <= TxFrame.MaxHeaderBytes);
        byte[] bytes = new byte[frame.Length];
        frame.Headers.CopyTo(bytes);
        int at = frame.Headers.Length;
        foreach (TxChunk chunk in frame.Payload)
        {
            chunk.Span.CopyTo(bytes.AsSpan(at));
            at += chunk.Length;
        }

        Frames.Add(bytes);
        Details.Add((frame.Mss, frame.ChecksumPartial, frame.Payload.Length));
        return true;
    }

    /// <summary>The one frame transmitted since the last call.</summary>
    public byte[] TakeOne()
    {
        byte[] frame = Assert.Single(Frames);
        Frames.Clear();
        Details.Clear();
        return frame;
    }

    /// <summary>All frames transmitted since the last call.</summary>
    public byte[][] TakeAll()
    {
        byte[][] frames = [.. Frames];
        Frames.Clear();
        Details.Clear();
        return frames;
    }
}
