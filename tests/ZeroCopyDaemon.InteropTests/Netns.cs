using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace ZeroCopyDaemon.InteropTests;

/// <summary>
/// A network namespace of its own, with loopback up: the place where Linux is the peer. Disposing removes it, and with it every device in it. Any thread.
/// </summary>
internal sealed partial class Netns : IDisposable
{
    private const int CloneNewNet = 0x40000000;
    private const int ProgramSeconds = 30;

    private Netns(string name) => Name = name;

    public string Name { get; }

    public static Netns Create()
    {
        Netns made = new("zcdt" + Guid.NewGuid().ToString("N")[..8]);
        Ip("netns", "add", made.Name);
        try
        {
            made.Ip("link set lo up");
            return made;
        }
        catch
        {
            made.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Calls a function on a thread that is in the namespace. Sockets made there stay there, whichever thread uses them afterwards; files under /proc/sys/net and /proc/thread-self/net are the
    /// namespace's.
    /// </summary>
    public T Do<T>(Func<T> function)
    {
        T result = default!;
        Exception? failure = null;

        // A thread of its own that ends: one of the pool would stay in the namespace.
        Thread thread = new(() =>
        {
            try
            {
                Enter();
                result = function();
            }
            catch (Exception e)
            {
                failure = e;
            }
        });
        thread.Start();
        thread.Join();
        return failure is null ? result : throw new InvalidOperationException($"in namespace {Name}: {failure.Message}", failure);
    }

    /// <summary>A TCP socket in the namespace.</summary>
    public Socket TcpSocket(IpFamily family) => Do(() => new Socket(family.Sockets(), SocketType.Stream, ProtocolType.Tcp) { NoDelay = true });

    public Socket UdpSocket(IpFamily family) => Do(() => new Socket(family.Sockets(), SocketType.Dgram, ProtocolType.Udp));

    /// <summary>A TCP connection of Linux in the namespace.</summary>
    /// <param name="to">Whom to connect to.</param>
    /// <param name="configure">What is to be set before it connects.</param>
    public async Task<Socket> ConnectAsync(IPEndPoint to, Action<Socket>? configure = null)
    {
        Socket socket = TcpSocket(IpFamilies.Of(to.Address));
        try
        {
            configure?.Invoke(socket);
            using CancellationTokenSource patience = new(TimeSpan.FromSeconds(ProgramSeconds));
            await socket.ConnectAsync(to, patience.Token);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Reads a setting such as <c>net.ipv4.tcp_sack</c>.</summary>
    public string ReadSysctl(string name) => Do(() => File.ReadAllText(SysctlPath(name)).Trim());

    public void WriteSysctl(string name, string value) => Do(() =>
    {
        File.WriteAllText(SysctlPath(name), value);
        return 0;
    });

    /// <summary>Gives a setting another value until what is returned is disposed.</summary>
    public IDisposable ChangeSysctl(string name, string value)
    {
        string before = ReadSysctl(name);
        WriteSysctl(name, value);
        return new Restoring(() => WriteSysctl(name, before));
    }

    /// <summary>Starts a program in the namespace, with all its streams taken.</summary>
    public Process Start(string program, params string[] arguments) => Programs.StartSystem("ip", ["netns", "exec", Name, program, .. arguments]);

    /// <summary>Runs a program in the namespace to its end.</summary>
    public Task<ProgramResult> RunAsync(string program, int seconds, params string[] arguments) => Programs.RunSystemAsync("ip", seconds, ["netns", "exec", Name, program, .. arguments]);

    /// <summary>Runs <c>ip</c> on the namespace's devices; it must succeed. Returns what it printed.</summary>
    public string Ip(string arguments) => Ip(["-n", Name, .. arguments.Split(' ')]);

    /// <summary>The devices of the namespace, loopback aside.</summary>
    public string[] Devices() => Do(static () => File.ReadLines("/proc/thread-self/net/dev").Skip(2).Select(line => line[..line.IndexOf(':', StringComparison.Ordinal)].Trim()).Where(name => name != "lo").ToArray());

    public void Dispose() => Ip("netns", "del", Name);

    private static string Ip(params string[] arguments)
    {
        ProgramResult result = Programs.RunSystemAsync("ip", ProgramSeconds, arguments).GetAwaiter().GetResult();
        return result.ExitCode == 0 ? result.Output : throw new InvalidOperationException($"'ip {string.Join(' ', arguments)}' ended with {result.ExitCode}: {result.All}");
    }

    private static string SysctlPath(string name) => "/proc/sys/" + name.Replace('.', '/');

    private void Enter()
    {
        using SafeFileHandle handle = File.OpenHandle("/run/netns/" + Name, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        if (setns(handle, CloneNewNet) != 0)
        {
            throw new IOException($"setns: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int setns(SafeFileHandle handle, int type);

    private sealed class Restoring(Action restore) : IDisposable
    {
        public void Dispose() => restore();
    }
}
