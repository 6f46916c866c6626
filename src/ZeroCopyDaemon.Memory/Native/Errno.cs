namespace ZeroCopyDaemon.Memory.Native;

/// <summary>Linux error numbers that are acted upon.</summary>
internal static class Errno
{
    public const int Permission = 1;
    public const int NoEntry = 2;
    public const int Interrupted = 4;
    public const int NoDeviceOrAddress = 6;
    public const int BadDescriptor = 9;
    public const int TryAgain = 11;
    public const int NoMemory = 12;
    public const int Access = 13;
    public const int Fault = 14;
    public const int Exists = 17;
    public const int Invalid = 22;
    public const int NoSpace = 28;
    public const int BrokenPipe = 32;
    public const int NotImplemented = 38;
    public const int TimedOut = 110;
}
