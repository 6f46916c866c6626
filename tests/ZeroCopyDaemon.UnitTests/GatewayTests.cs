using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Tcp;
using ZeroCopyDaemon.Wires;
using ZeroCopyDaemon.Wires.Gateway;

namespace ZeroCopyDaemon.UnitTests;

public sealed class GatewayTests
{
    private static Socket Connect(IPEndPoint server)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true, ReceiveTimeout = 20_000, SendTimeout = 20_000 };
        socket.Connect(server);
        return socket;
    }

    private static byte[] Pattern(int seed, int bytes)
    {
        byte[] pattern = new byte[bytes];
        new Random(seed).NextBytes(pattern);
        return pattern;
    }

    private static byte[] ReadToEnd(Socket socket)
    {
        using var all = new MemoryStream();
        byte[] buffer = new byte[64 << 10];
        for (int n; (n = socket.Receive(buffer)) > 0;)
        {
            all.Write(buffer, 0, n);
        }

        return all.ToArray();
    }

    /// <summary>Sends all of it from another thread while reading, ends its direction, and returns what came back.</summary>
    private static byte[] Exchange(IPEndPoint server, byte[] bytes)
    {
        using Socket socket = Connect(server);
        Task sender = Task.Run(() =>
        {
            for (int sent = 0; sent < bytes.Length;)
            {
                sent += socket.Send(bytes.AsSpan(sent));
            }

            socket.Shutdown(SocketShutdown.Send);
        });
        byte[] echoed = ReadToEnd(socket);
        sender.GetAwaiter().GetResult();
        return echoed;
    }

    [Theory]
    [InlineData(576, true)]
    [InlineData(1500, true)]
    [InlineData(9000, true)]
    [InlineData(1500, false)]
    public void Bytes_go_both_ways_whole(int mtu, bool watched)
    {
        var app = new EchoApp();
        using var kernel = new GatewayKernel(app, mtu: mtu, watched: watched);
        IPEndPoint server = kernel.Listen();
        byte[] bytes = Pattern(mtu, 4 << 20);
        byte[] echoed = kernel.RunUntil(Task.Run(() => Exchange(server, bytes)));
        Assert.True(bytes.AsSpan().SequenceEqual(echoed));
        Assert.Equal(bytes.Length, app.Echoed);
        kernel.RunUntilEmpty();
        IReadOnlyDictionary<string, long> counters = kernel.Counters();
        Assert.Equal((1, 0), (counters["gateway.accepted"], counters["gateway.clients"]));
        Assert.Equal((bytes.Length, bytes.Length), (counters["gateway.bytes_in"], counters["gateway.bytes_out"]));
        Assert.Equal(0, counters["gateway.resets"]);
        Assert.True(counters["gateway.syscalls"] > 0);
        Assert.All(counters.Keys, name => Assert.StartsWith("gateway.", name, StringComparison.Ordinal));
    }

    [Fact]
    public void Two_hundred_clients_at_once_each_get_their_own_bytes_and_their_own_host()
    {
        var app = new EchoApp();
        using var kernel = new GatewayKernel(app);
        IPEndPoint server = kernel.Listen();
        const int clients = 200;
        int atOnce = 0;
        Task[] tasks = [.. Enumerable.Range(0, clients).Select(i => Task.Factory.StartNew(
            () =>
            {
                byte[] bytes = Pattern(i, 16 << 10);
                using Socket socket = Connect(server);
                Interlocked.Increment(ref atOnce);
                SpinWait.SpinUntil(() => Volatile.Read(ref atOnce) == clients, 20_000);
                socket.Send(bytes);
                socket.Shutdown(SocketShutdown.Send);
                Assert.True(bytes.AsSpan().SequenceEqual(ReadToEnd(socket)));
            },
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default))];
        int most = 0;
        var hosts = new HashSet<IpAddress>();
        Task all = Task.WhenAll(tasks);
        kernel.RunUntil(() =>
        {
            if (kernel.Wire.OpenClients > most)
            {
                most = kernel.Wire.OpenClients;
                hosts.UnionWith(kernel.Stack.Connections.Select(connection => connection.Remote.Address));
            }

            return all.IsCompleted;
        });
        kernel.RunUntil(all);
        Assert.Equal((clients, clients), (most, app.Connections));
        Assert.Equal(clients, hosts.Count);
        kernel.RunUntilEmpty();
    }

    [Fact]
    public void A_client_that_ends_its_direction_still_gets_the_answer()
    {
        using var app = new ManualApp();
        using var kernel = new GatewayKernel(app);
        IPEndPoint server = kernel.Listen();
        using Socket socket = Connect(server);
        socket.Send("question"u8);
        socket.Shutdown(SocketShutdown.Send);
        kernel.RunUntil(() => (app.Seen & TcpEvents.PeerClosed) != 0);
        Assert.Equal("question"u8.ToArray(), app.Received);
        Assert.Equal(TcpState.CloseWait, app.Connection!.State);
        app.ToSend = 1 << 20;
        app.ShutdownAfterSend = true;
        app.Work(kernel);
        Assert.Equal(1 << 20, kernel.RunUntil(Task.Run(() => ReadToEnd(socket))).Length);
        kernel.RunUntil(() => app.Connection is null);
        Assert.Equal(TcpError.None, app.Error);
        kernel.RunUntilEmpty();
    }

    [Fact]
    public void A_kernel_that_ends_its_direction_still_gets_the_clients_bytes()
    {
        using var app = new ManualApp { ToSend = 5, ShutdownAfterSend = true };
        using var kernel = new GatewayKernel(app);
        using Socket socket = Connect(kernel.Listen());
        Assert.Equal(new byte[5], kernel.RunUntil(Task.Run(() => ReadToEnd(socket))));
        byte[] bytes = Pattern(1, 1 << 20);
        kernel.RunUntil(Task.Run(() =>
        {
            for (int sent = 0; sent < bytes.Length;)
            {
                sent += socket.Send(bytes.AsSpan(sent));
            }

            socket.Shutdown(SocketShutdown.Send);
        }));
        kernel.RunUntil(() => (app.Seen & TcpEvents.PeerClosed) != 0 && app.Received.Count == bytes.Length);
        Assert.True(bytes.AsSpan().SequenceEqual(CollectionsMarshal.AsSpan(app.Received)));
        kernel.RunUntil(() => kernel.Wire.OpenClients == 0);
        Assert.Equal(TcpError.None, app.Error);
    }

    [Fact]
    public void A_clients_reset_reaches_the_kernel()
    {
        using var app = new ManualApp();
        using var kernel = new GatewayKernel(app);
        using (Socket socket = Connect(kernel.Listen()))
        {
            socket.Send("x"u8);
            kernel.RunUntil(() => app.Received.Count == 1);
            socket.LingerState = new LingerOption(true, 0);
        }

        kernel.RunUntil(() => (app.Seen & TcpEvents.Closed) != 0);
        Assert.Equal(TcpError.ConnectionReset, app.Error);
        kernel.RunUntilEmpty();
    }

    [Fact]
    public void A_clients_reset_reaches_the_kernel_even_while_nobody_takes_its_bytes()
    {
        using var app = new ManualApp { Reading = false };
        using var kernel = new GatewayKernel(app);
        using (Socket socket = Connect(kernel.Listen()))
        {
            socket.Blocking = false;
            byte[] chunk = new byte[64 << 10];
            long until = GatewayKernel.NowUs + 500_000;
            kernel.RunUntil(() =>
            {
                socket.Send(chunk, SocketFlags.None, out SocketError error);
                until = error == SocketError.Success ? GatewayKernel.NowUs + 300_000 : until;
                return GatewayKernel.NowUs > until;
            });
            socket.LingerState = new LingerOption(true, 0);
        }

        kernel.RunUntil(() => (app.Seen & TcpEvents.Closed) != 0);
        Assert.Equal(TcpError.ConnectionReset, app.Error);
        kernel.RunUntilEmpty();
    }

    [Fact]
    public void The_kernels_reset_reaches_the_client()
    {
        using var app = new ManualApp();
        using var kernel = new GatewayKernel(app);
        using Socket socket = Connect(kernel.Listen());
        socket.Send("x"u8);
        kernel.RunUntil(() => app.Received.Count == 1);
        app.Connection!.Abort(GatewayKernel.NowUs);
        SocketException reset = Assert.Throws<SocketException>(() => kernel.RunUntil(Task.Run(() => ReadToEnd(socket))));
        Assert.Equal(SocketError.ConnectionReset, reset.SocketErrorCode);
        kernel.RunUntilEmpty();
        Assert.Equal(1, kernel.Counters()["gateway.resets"]);
    }

    [Fact]
    public void A_port_that_the_kernel_does_not_listen_on_resets_its_clients()
    {
        using var app = new ManualApp();
        using var kernel = new GatewayKernel(app);
        using Socket socket = Connect(kernel.Expose(81));
        SocketException reset = Assert.Throws<SocketException>(() => kernel.RunUntil(Task.Run(() => ReadToEnd(socket))));
        Assert.Equal(SocketError.ConnectionReset, reset.SocketErrorCode);
        Assert.Equal(TcpEvents.None, app.Seen);
        kernel.RunUntilEmpty();
    }

    [Fact]
    public void A_client_that_reads_slowly_holds_the_kernel_back_and_loses_nothing()
    {
        using var app = new ManualApp { ToSend = 64 << 20, ShutdownAfterSend = true };
        using var kernel = new GatewayKernel(app);
        IPEndPoint server = kernel.Listen();
        using Socket socket = Connect(server);
        long last = -1, since = GatewayKernel.NowUs;
        kernel.RunUntil(() =>
        {
            if (app.Sent != last)
            {
                (last, since) = (app.Sent, GatewayKernel.NowUs);
            }

            return GatewayKernel.NowUs - since > 700_000;
        });
        Assert.InRange(app.Sent, 1, 32 << 20);
        Assert.Equal(64 << 20, kernel.RunUntil(Task.Run(() => ReadToEnd(socket))).Length);
        kernel.RunUntil(() => app.Sent == 64 << 20);
        socket.Shutdown(SocketShutdown.Send);
        kernel.RunUntilEmpty();
    }

    [Fact]
    public void A_kernel_that_does_not_receive_holds_its_client_back_and_no_other()
    {
        using var stuck = new ManualApp { Reading = false };
        var echo = new EchoApp();
        using var kernel = new GatewayKernel(new SplitApp(first: stuck, others: echo));
        IPEndPoint server = kernel.Listen();
        using Socket slow = Connect(server);
        kernel.RunUntil(() => stuck.Connection is not null);
        byte[] bytes = Pattern(7, 32 << 20);
        int sent = 0;
        Task sender = Task.Run(() =>
        {
            while (sent < bytes.Length)
            {
                sent += slow.Send(bytes.AsSpan(sent, Math.Min(64 << 10, bytes.Length - sent)));
            }

            slow.Shutdown(SocketShutdown.Send);
        });
        byte[] other = Pattern(8, 4 << 20);
        Assert.True(other.AsSpan().SequenceEqual(kernel.RunUntil(Task.Run(() => Exchange(server, other)))));
        Assert.False(sender.IsCompleted);
        Assert.InRange(sent, 1, 24 << 20);
        stuck.Reading = true;
        stuck.Work(kernel);
        kernel.RunUntil(sender);
        kernel.RunUntil(() => stuck.Received.Count == bytes.Length);
        Assert.True(bytes.AsSpan().SequenceEqual(CollectionsMarshal.AsSpan(stuck.Received)));
        stuck.Connection!.ShutdownSend();
        kernel.RunUntilEmpty();
    }

    [Fact]
    public void Beyond_the_limit_clients_wait_until_another_has_left()
    {
        var app = new EchoApp();
        using var kernel = new GatewayKernel(app, new GatewayOptions { MaxClients = 2 });
        IPEndPoint server = kernel.Listen();
        using Socket first = Connect(server);
        using Socket second = Connect(server);
        using Socket third = Connect(server);
        third.Send("third"u8);
        third.Shutdown(SocketShutdown.Send);
        long end = GatewayKernel.NowUs + 200_000;
        kernel.RunUntil(() => GatewayKernel.NowUs > end);
        Assert.Equal((2, 2), (kernel.Wire.OpenClients, app.Connections));
        first.Shutdown(SocketShutdown.Send);
        Assert.Equal("third"u8.ToArray(), kernel.RunUntil(Task.Run(() => ReadToEnd(third))));
    }

    [Fact]
    public void The_inspector_learns_who_is_behind_a_modelled_host()
    {
        using var app = new ManualApp();
        using var kernel = new GatewayKernel(app);
        using Socket socket = Connect(kernel.Listen());
        kernel.RunUntil(() => app.Connection is not null);
        IpEndpoint modelled = app.Connection!.Remote;
        Assert.True(modelled.Address.SharesPrefix(IpAddress.FromV4(10, 64, 0, 0), 10), modelled.ToString());
        Assert.True(kernel.Wire.TryGetClient(modelled, out string real));
        Assert.Equal(socket.LocalEndPoint!.ToString(), real);
        Assert.False(kernel.Wire.TryGetClient(modelled with { Port = 1 }, out _));
    }

    [Fact]
    public void A_port_in_use_is_one_clear_message_that_says_what_to_change()
    {
        var app = new EchoApp();
        using var kernel = new GatewayKernel(app);
        using var other = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        other.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        other.Listen();
        var taken = (IPEndPoint)other.LocalEndPoint!;
        WireException e = Assert.Throws<WireException>(() => kernel.Wire.Expose(80, taken));
        Assert.Contains($"port {taken.Port} is in use", e.Message, StringComparison.Ordinal);
        Assert.Contains("--listen PORT", e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', e.Message);
        WireException foreign = Assert.Throws<WireException>(() => kernel.Wire.Expose(80, new IPEndPoint(IPAddress.Parse("192.0.2.1"), 0)));
        Assert.Contains("192.0.2.1 is not an address of this machine", foreign.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void After_it_stops_accepting_clients_are_refused_and_those_that_are_there_are_served()
    {
        var app = new EchoApp();
        using var kernel = new GatewayKernel(app);
        IPEndPoint server = kernel.Listen();
        using Socket socket = Connect(server);
        kernel.RunUntil(() => kernel.Wire.OpenClients == 1);
        kernel.Wire.StopAccepting();
        Assert.Equal(SocketError.ConnectionRefused, Assert.Throws<SocketException>(() => Connect(server)).SocketErrorCode);
        socket.Send("still here"u8);
        socket.Shutdown(SocketShutdown.Send);
        Assert.Equal("still here"u8.ToArray(), kernel.RunUntil(Task.Run(() => ReadToEnd(socket))));
        kernel.RunUntilEmpty();

        // The port can be taken again at once.
        kernel.Wire.Expose(80, server);
        kernel.Wire.Unexpose(80);
        Assert.Throws<SocketException>(() => Connect(server));
    }

    [Fact]
    public void Moving_bytes_allocates_nothing()
    {
        var app = new EchoApp();
        using var kernel = new GatewayKernel(app);
        using Socket socket = Connect(kernel.Listen());
        socket.Blocking = false;
        byte[] chunk = new byte[256 << 10];
        long echoed = 0;
        void Pump(long until)
        {
            while (echoed < until)
            {
                socket.Send(chunk, SocketFlags.None, out _);
                kernel.Turn(sleepUs: 0);
                for (int n; (n = socket.Receive(chunk, SocketFlags.None, out SocketError error)) > 0 && error == SocketError.Success;)
                {
                    echoed += n;
                }
            }
        }

        Pump(16 << 20);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Pump(80 << 20);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(allocated < 4096, $"{allocated} bytes allocated while 64 MiB were echoed");
    }

    [Theory]
    [InlineData("kernel among the hosts")]
    [InlineData("host prefix elsewhere")]
    [InlineData("no clients")]
    public void Settings_that_cannot_work_are_refused(string what)
    {
        GatewayOptions options = what switch
        {
            "kernel among the hosts" => new GatewayOptions { KernelAddress = IpAddress.FromV4(10, 64, 0, 1) },
            "host prefix elsewhere" => new GatewayOptions { HostPrefix = IpAddress.FromV4(11, 64, 0, 0) },
            _ => new GatewayOptions { MaxClients = 0 },
        };
        Assert.Throws<ArgumentException>(() => new GatewayWire(options));
    }

    /// <summary>The first connection is one app's, all later ones another's.</summary>
    private sealed class SplitApp(ManualApp first, IKernelApp others) : IKernelApp
    {
        private TcpConnection? _first;

        public void OnEvents(GatewayKernel kernel, TcpConnection connection, TcpEvents events, long nowUs)
        {
            _first ??= connection;
            (connection == _first ? first : others).OnEvents(kernel, connection, events, nowUs);
        }
    }
}
