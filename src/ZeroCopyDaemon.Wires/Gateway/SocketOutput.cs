using System.Net.Sockets;
using System.Runtime.InteropServices;
using ZeroCopyDaemon.Memory.Pages;

namespace ZeroCopyDaemon.Wires.Gateway;

/// <summary>
/// Writes a queue of fragments to a real, non-blocking socket, straight from their pages. On Linux many fragments leave by one system call (<see cref="Socket"/> can only gather from a
/// list of arrays, which allocates); elsewhere one by one.
/// </summary>
internal static unsafe class SocketOutput
{
    private const int MaxVectors = 64;
    private const int MessageNoSignal = 0x4000;

    /// <summary>Writes what fits, at most <paramref name="maxBytes"/> but for the last fragment's rest. Returns the bytes written; 0 with an error otherwise.</summary>
    public static int Write(Socket socket, int descriptor, PagePool pool, int head, int maxBytes, out SocketError error)
    {
        if (!OperatingSystem.IsLinux() || !Environment.Is64BitProcess)
        {
            return socket.Send(pool.Payload(head), SocketFlags.None, out error);
        }

        IoVector* vectors = stackalloc IoVector[MaxVectors];
        int count = 0, bytes = 0;
        for (int slot = head; slot != PagePool.NoFragment && count < MaxVectors && bytes < maxBytes; slot = pool[slot].Next)
        {
            vectors[count++] = new IoVector { Base = pool.PayloadAddress(slot), Length = (nuint)pool[slot].Length };
            bytes += pool[slot].Length;
        }

        var message = new MessageHeader { Vectors = vectors, VectorCount = (nuint)count };
        while (true)
        {
            nint written = SendMessage(descriptor, &message, MessageNoSignal);
            if (written >= 0)
            {
                error = SocketError.Success;
                return (int)written;
            }

            const int interrupted = 4, tryAgain = 11;
            int errno = Marshal.GetLastPInvokeError();
            if (errno != interrupted)
            {
                error = errno == tryAgain ? SocketError.WouldBlock : SocketError.ConnectionReset;
                return 0;
            }
        }
    }

    [DllImport("libc", EntryPoint = "sendmsg", SetLastError = true)]
    private static extern nint SendMessage(int descriptor, MessageHeader* message, int flags);

    [StructLayout(LayoutKind.Sequential)]
    private struct IoVector
    {
        public byte* Base;
        public nuint Length;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct MessageHeader
    {
        public void* Name;
        public uint NameLength;
        public IoVector* Vectors;
        public nuint VectorCount;
        public void* Control;
        public nuint ControlLength;
        public int Flags;
    }
}
