using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace ZeroCopyDaemon.Memory.Native;

/// <summary>
/// The Linux system calls that .NET has no door to. Descriptors are <see cref="SafeFileHandle"/>s wherever another thread could dispose them meanwhile: the number can't be reused under a call.
/// </summary>
internal static unsafe partial class Linux
{
    public const int OpenReadOnly = 0;
    public const int OpenWriteOnly = 1;
    public const int OpenReadWrite = 2;
    public const int OpenCreate = 0x40;
    public const int OpenExclusive = 0x80;
    public const int OpenNoControllingTerminal = 0x100;
    public const int OpenNonBlocking = 0x800;
    public const int OpenCloseOnExec = 0x80000;

    /// <summary>Mode 0600: this user alone.</summary>
    public const uint UserReadWrite = 0b110_000_000;

    public const uint MemfdCloseOnExec = 1;
    public const uint MemfdAllowSealing = 2;
    public const uint MemfdNoExecSeal = 8;

    public const int AddSealsCommand = 1033;
    public const int GetSealsCommand = 1034;
    public const int SealSeal = 1;
    public const int SealShrink = 2;
    public const int SealGrow = 4;
    public const int SealFutureWrite = 16;

    public const int AdvicePopulateWrite = 23;

    public const int ProtectRead = 1;
    public const int ProtectWrite = 2;

    public const int LockExclusive = 2;
    public const int LockNonBlocking = 4;

    public const int EventfdNonBlocking = 0x800;
    public const int EventfdCloseOnExec = 0x80000;

    public const int EpollCloseOnExec = 0x80000;
    public const int EpollControlAdd = 1;
    public const int EpollControlDelete = 2;
    public const int EpollControlModify = 3;
    public const uint EpollIn = 1;
    public const uint EpollOut = 4;
    public const uint EpollError = 8;
    public const uint EpollHangUp = 16;
    public const uint EpollEdge = 1u << 31;

    public const short PollHangUp = 16;

    private const int FutexWaitOperation = 0;
    private const int FutexWakeOperation = 1;
    private const int ClockMonotonic = 1;
    private const int EpollPwait2Number = 441;
    private const int FutexWaitvNumber = 449;

    /// <summary>The numbers below are right for these machines; on others the portable ways are taken.</summary>
    public static bool IsSupported { get; } = OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture is Architecture.X64 or Architecture.Arm64;

    /// <summary>Whether <see cref="FutexWaitMany"/> is there and no sandbox refuses it: asked to wait on nothing, it then complains of its argument.</summary>
    public static bool HasFutexWaitMany { get; } = IsSupported && FutexWaitMany(null, 0, null) < 0 && Errno == Native.Errno.Invalid;

    /// <summary>Whether <see cref="EpollWaitNanoseconds"/> is there and no sandbox refuses it: asked about a closed descriptor, it then complains of that.</summary>
    public static bool HasEpollPwait2 { get; } = IsSupported && Syscall(EpollPwait2Number, (void*)-1, 0, 1, null, null, 0) < 0 && Errno is Native.Errno.BadDescriptor or Native.Errno.Fault;

    /// <summary>Bytes of struct epoll_event: packed on x64 alone.</summary>
    public static int EpollEventBytes { get; } = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 12 : 16;

    /// <summary>Where the caller's 64 bits lie in struct epoll_event.</summary>
    public static int EpollDataOffset { get; } = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 4 : 8;

    private static nint FutexNumber { get; } = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 202 : 98;

    /// <summary>The last call's errno.</summary>
    public static int Errno => Marshal.GetLastPInvokeError();

    /// <summary>The last call's error as people read it.</summary>
    public static string ErrorText(int errno) => $"{Marshal.GetPInvokeErrorMessage(errno)} (errno {errno})";

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int MemfdCreate(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    public static partial int Fcntl(SafeFileHandle fd, int command, int argument);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    public static partial int Ftruncate(SafeFileHandle fd, long length);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    public static partial int Fallocate(SafeFileHandle fd, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    public static partial int Madvise(void* address, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    public static partial int Mprotect(void* address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "mkfifo", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Mkfifo(string path, uint mode);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Open(string path, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    public static partial nint Read(SafeFileHandle fd, void* buffer, nuint length);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    public static partial nint Write(SafeFileHandle fd, void* buffer, nuint length);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    public static partial int Flock(SafeFileHandle fd, int operation);

    [LibraryImport("libc", EntryPoint = "eventfd", SetLastError = true)]
    public static partial int Eventfd(uint initial, int flags);

    [LibraryImport("libc", EntryPoint = "epoll_create1", SetLastError = true)]
    public static partial int EpollCreate(int flags);

    [LibraryImport("libc", EntryPoint = "epoll_ctl", SetLastError = true)]
    public static partial int EpollControl(SafeFileHandle epoll, int operation, int fd, void* epollEvent);

    [LibraryImport("libc", EntryPoint = "epoll_wait", SetLastError = true)]
    public static partial int EpollWait(SafeFileHandle epoll, void* events, int count, int timeoutMs);

    [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
    public static partial int Poll(PollDescriptor* descriptors, nuint count, int timeoutMs);

    /// <summary>As epoll_wait, with nanoseconds (Linux 5.11). A negative timeout waits for ever.</summary>
    public static int EpollWaitNanoseconds(SafeFileHandle epoll, void* events, int count, long timeoutUs)
    {
        Timespec timeout = Timespec.FromMicroseconds(timeoutUs);
        return (int)SyscallOnDescriptor(EpollPwait2Number, epoll, events, count, timeoutUs < 0 ? null : &timeout, null, 0);
    }

    /// <summary>Sleeps while *word == expected, at most so long (negative: for ever). Not private: the word may be in memory that other processes wake; read-only memory will do.</summary>
    public static int FutexWait(uint* word, uint expected, long timeoutUs)
    {
        Timespec timeout = Timespec.FromMicroseconds(timeoutUs);
        return (int)Syscall(FutexNumber, word, FutexWaitOperation, (nint)expected, timeoutUs < 0 ? null : &timeout, null, 0);
    }

    /// <summary>Wakes everybody who sleeps on the word. Returns how many there were.</summary>
    public static int FutexWake(uint* word) => (int)Syscall(FutexNumber, word, FutexWakeOperation, int.MaxValue, null, null, 0);

    /// <summary>Sleeps on several words at once (Linux 5.16): until one differs from what was expected of it or is woken, or until the deadline on the monotonic clock.</summary>
    public static int FutexWaitMany(FutexWaiter* waiters, int count, Timespec* deadline) =>
        (int)Syscall(FutexWaitvNumber, waiters, count, 0, deadline, (void*)ClockMonotonic, 0);

    /// <summary>So many microseconds from now on the monotonic clock.</summary>
    public static Timespec MonotonicAfter(long microseconds)
    {
        Timespec now;
        _ = ClockGetTime(ClockMonotonic, &now);
        Timespec wait = Timespec.FromMicroseconds(microseconds);
        long nanoseconds = now.Nanoseconds + wait.Nanoseconds;
        return new Timespec { Seconds = now.Seconds + wait.Seconds + (nanoseconds / 1_000_000_000), Nanoseconds = nanoseconds % 1_000_000_000 };
    }

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    private static partial int ClockGetTime(int clock, Timespec* time);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint Syscall(nint number, void* first, nint second, nint third, void* fourth, void* fifth, nint sixth);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint SyscallOnDescriptor(nint number, SafeFileHandle fd, void* second, nint third, void* fourth, void* fifth, nint sixth);

    /// <summary>struct timespec of 64-bit Linux.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Timespec
    {
        public long Seconds;
        public long Nanoseconds;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Timespec FromMicroseconds(long microseconds)
        {
            long positive = Math.Max(microseconds, 0);
            return new Timespec { Seconds = positive / 1_000_000, Nanoseconds = positive % 1_000_000 * 1000 };
        }
    }

    /// <summary>struct futex_waitv.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct FutexWaiter
    {
        public const uint Size32 = 2;

        public ulong Expected;
        public ulong Address;
        public uint Flags;
        public uint Reserved;
    }

    /// <summary>struct pollfd.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct PollDescriptor
    {
        public int Fd;
        public short Events;
        public short Returned;
    }
}
