using System.Net;
using System.Net.Sockets;

namespace ZeroCopyDaemon.Wires.Gateway;

/// <summary>A real listening socket that stands for one of the kernel's ports.</summary>
internal sealed class GatewayListener : IDisposable
{
    private readonly Socket _socket;

    private GatewayListener(Socket socket, int kernelPort)
    {
        _socket = socket;
        KernelPort = kernelPort;
        Descriptor = (int)socket.Handle;
        PublicAddress = socket.LocalEndPoint!.ToString()!;
    }

    public int KernelPort { get; }

    public int Descriptor { get; }

    /// <summary>What clients connect to.</summary>
    public string PublicAddress { get; }

    /// <summary>Its place among the wire's tokens.</summary>
    public int Token { get; set; }

    /// <summary>Somebody may be waiting.</summary>
    public bool Ready { get; set; } = true;

    /// <summary>Opens it; throws <see cref="WireException"/> with what to change.</summary>
    public static GatewayListener Open(int kernelPort, IPEndPoint bind, int backlog)
    {
        Socket? socket = null;
        try
        {
            socket = new Socket(bind.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { Blocking = false };
            if (bind.Address.Equals(IPAddress.IPv6Any))
            {
                socket.DualMode = true;
            }

            socket.Bind(bind);
            socket.Listen(backlog);
            return new GatewayListener(socket, kernelPort);
        }
        catch (SocketException e)
        {
            socket?.Dispose();
            throw new WireException(Explain(e.SocketErrorCode, bind), e);
        }
    }

    /// <summary>Takes a waiting client, if there is one. Asking first costs a system call and spares an exception for each burst of clients.</summary>
    public Socket? Accept()
    {
        Ready = _socket.Poll(0, SelectMode.SelectRead);
        return Ready ? _socket.Accept() : null;
    }

    public void Dispose() => _socket.Dispose();

    private static string Explain(SocketError error, IPEndPoint bind) => error switch
    {
        SocketError.AddressAlreadyInUse =>
            $"Can't listen on {bind}: port {bind.Port} is in use by another program. Choose another port (--listen PORT), or stop that program.",
        SocketError.AccessDenied =>
            $"Can't listen on {bind}: ports below 1024 need privilege on this system. Choose a port from 1024 to 65535 (--listen PORT).",
        SocketError.AddressNotAvailable =>
            $"Can't listen on {bind}: {bind.Address} is not an address of this machine. Choose one that is, such as 127.0.0.1 or 0.0.0.0.",
        SocketError.AddressFamilyNotSupported =>
            $"Can't listen on {bind}: this machine has no {(bind.AddressFamily == AddressFamily.InterNetworkV6 ? "IPv6" : "IPv4")}. Choose an address of the other family.",
        _ => $"Can't listen on {bind}: {new SocketException((int)error).Message}.",
    };
}
