using System.Runtime.ExceptionServices;
using Microsoft.Win32.SafeHandles;

namespace ZeroCopyDaemon.Wires.Tap;

/// <summary>Running something inside a named network namespace. Devices and sockets made there belong to it for good, whichever thread uses them later.</summary>
internal static class NetworkNamespace
{
    private const string Folder = "/run/netns/";

    /// <summary>Runs a function inside a namespace on a thread of its own, which ends afterwards; with an empty name right here. Throws <see cref="WireException"/> if there is no such namespace.</summary>
    public static T Run<T>(string name, Func<T> function)
    {
        if (name.Length == 0)
        {
            return function();
        }

        T result = default!;
        ExceptionDispatchInfo? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                Enter(name);
                result = function();
            }
            catch (Exception e)
            {
                failure = ExceptionDispatchInfo.Capture(e);
            }
        })
        {
            Name = "zcd-netns",
        };
        thread.Start();
        thread.Join();
        failure?.Throw();
        return result;
    }

    private static void Enter(string name)
    {
        int fd = TapNative.Open(Folder + name, TapNative.OpenReadOnlyCloseOnExec);
        if (fd < 0)
        {
            throw new WireException($"There is no network namespace '{name}': make it with `ip netns add {name}`, or leave --netns away.");
        }

        using var handle = new SafeFileHandle(fd, ownsHandle: true);
        if (TapNative.SetNamespace(handle, TapNative.NewNetworkNamespace) < 0)
        {
            int errno = TapNative.Errno;
            throw new WireException(
                errno == TapNative.NotPermittedError
                    ? $"Entering the network namespace '{name}' needs root (CAP_SYS_ADMIN): run this with sudo, or leave --netns away."
                    : $"The network namespace '{name}' can't be entered: {TapNative.ErrorText(errno)}.");
        }
    }
}
