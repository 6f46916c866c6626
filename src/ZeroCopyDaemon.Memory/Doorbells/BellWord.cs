namespace ZeroCopyDaemon.Memory.Doorbells;

internal static unsafe class BellWord
{
    /// <summary>Futexes, and loads that can't be torn, want alignment.</summary>
    public static uint* Check(byte* word)
    {
        if (word is null || ((nuint)word & 3) != 0)
        {
            throw new ArgumentException("A doorbell's words must be there and aligned to 4 bytes.", nameof(word));
        }

        return (uint*)word;
    }
}
