namespace ZeroCopyDaemon.Packetdrill.Packets;

/// <summary>The bytes of either direction, by their place in the stream: what comes out wrong, or in the wrong place, shows.</summary>
internal static class PayloadPattern
{
    /// <summary>The byte at a position, counted from the first one after the SYN.</summary>
    public static byte At(uint position) => (byte)((position * 31) ^ (position >> 8) ^ (position >> 16));

    public static byte[] Range(uint position, int length)
    {
        byte[] bytes = new byte[length];
        for (int i = 0; i < length; i++)
        {
            bytes[i] = At(unchecked(position + (uint)i));
        }

        return bytes;
    }
}
