using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using ZeroCopyDaemon.Cli.Commands;
using ZeroCopyDaemon.Cli.Output;
using ZeroCopyDaemon.Cli.TestClient;

namespace ZeroCopyDaemon.UnitTests;

public sealed class CliClientTests
{
    [Fact]
    public async Task An_honest_echo_passes()
    {
        ClientResult result = await RunAsync(new() { Server = Any, Connections = 5, Bytes = 3_000_001, Verify = true }, (bytes, _) => bytes);
        Assert.Equal((0, 3_000_001, 3_000_001), (result.Errors, result.BytesSent, result.BytesReceived));
        Assert.Equal([600_001L, 600_000, 600_000, 600_000, 600_000], result.Connections.Select(c => c.Bytes));
        Assert.True(result.Seconds > 0);
    }

    [Fact]
    public async Task Fewer_bytes_than_connections_pass_too()
    {
        ClientResult result = await RunAsync(new() { Server = Any, Connections = 3, Bytes = 1, Verify = true }, (bytes, _) => bytes);
        Assert.Equal((0, 1), (result.Errors, result.BytesReceived));
    }

    [Fact]
    public async Task A_wrong_byte_is_named_with_its_place()
    {
        const int Wrong = 77_777;
        ClientResult result = await RunAsync(new() { Server = Any, Bytes = 200_000, Verify = true }, (bytes, position) =>
        {
            if (position <= Wrong && Wrong < position + bytes.Length)
            {
                bytes[(int)(Wrong - position)] ^= 0xff;
            }

            return bytes;
        });
        ConnectionResult connection = Assert.Single(result.Connections);
        Assert.Equal(ConnectionOutcome.Mismatch, connection.Outcome);
        Assert.Matches($"^connection 0: at offset {Wrong} expected 0x[0-9a-f]{{2}}, got 0x[0-9a-f]{{2}}$", connection.Error);
    }

    [Fact]
    public async Task A_missing_end_is_named()
    {
        ClientResult result = await RunAsync(new() { Server = Any, Bytes = 1000, Verify = true }, (bytes, position) => position + bytes.Length == 1000 ? bytes[..^1] : bytes);
        Assert.Equal((ConnectionOutcome.Truncated, "connection 0: the server closed after 999 of 1000 bytes"), (result.Connections[0].Outcome, result.FirstError));
    }

    [Fact]
    public async Task More_than_was_sent_is_named()
    {
        ClientResult result = await RunAsync(new() { Server = Any, Bytes = 1000 }, (bytes, _) => [.. bytes, 0]);
        Assert.Equal(ConnectionOutcome.Excess, result.Connections[0].Outcome);
    }

    [Fact]
    public async Task A_sink_that_answers_nothing_passes()
    {
        ClientResult result = await RunAsync(new() { Server = Any, Bytes = 500_000, Connections = 2, Mode = ClientMode.Sink }, (_, _) => []);
        Assert.Equal((0, 500_000, 0), (result.Errors, result.BytesSent, result.BytesReceived));
    }

    [Fact]
    public async Task A_server_that_does_nothing_is_given_up_on()
    {
        using TcpListener silent = new(IPAddress.Loopback, 0);
        silent.Start();
        ClientResult result = await Client.RunAsync(new() { Server = silent.LocalEndpoint, Bytes = 10, Timeout = TimeSpan.FromMilliseconds(300) }, null, CancellationToken.None);
        Assert.Equal(ConnectionOutcome.Stalled, result.Connections[0].Outcome);
    }

    [Fact]
    public async Task Nobody_there_is_named()
    {
        using Socket probe = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        probe.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        ClientResult result = await Client.RunAsync(new() { Server = probe.LocalEndPoint!, Bytes = 10 }, null, CancellationToken.None);
        Assert.Equal(ConnectionOutcome.Refused, result.Connections[0].Outcome);
    }

    [Fact]
    public async Task A_reset_hurts_only_its_connection_and_the_json_says_whose()
    {
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        Task server = Task.Run(async () =>
        {
            List<Task> serving = [];
            for (int i = 0; i < 3; i++)
            {
                Socket client = await listener.AcceptSocketAsync();
                if (i == 1)
                {
                    await client.ReceiveAsync(new byte[10]);
                    client.LingerState = new LingerOption(true, 0);
                    client.Dispose();
                }
                else
                {
                    serving.Add(EchoAsync(client, (bytes, _) => bytes));
                }
            }

            await Task.WhenAll(serving);
        });
        ClientResult result = await Client.RunAsync(new() { Server = listener.LocalEndpoint, Connections = 3, Bytes = 3_000_000, Verify = true }, null, CancellationToken.None);
        await server;
        Assert.Equal(1, result.Errors);
        Assert.Single(result.Connections, c => c.Outcome == ConnectionOutcome.Reset);
        JsonElement json = JsonDocument.Parse(ProtoJson.Document(writer => ClientCommand.WriteJson(writer, result), indented: true)).RootElement;
        Assert.Equal(1, json.GetProperty("errors").GetInt32());
        Assert.Equal(3, json.GetProperty("connections").GetInt32());
        Assert.Single(json.GetProperty("results").EnumerateArray(), r => r.GetProperty("outcome").GetString() == "reset");
    }

    private static IPEndPoint Any { get; } = new(IPAddress.Loopback, 0);

    private static async Task<ClientResult> RunAsync(ClientOptions options, Func<byte[], long, byte[]> answer)
    {
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        Task server = Task.Run(async () =>
        {
            Task[] serving = new Task[options.Connections];
            for (int i = 0; i < serving.Length; i++)
            {
                serving[i] = EchoAsync(await listener.AcceptSocketAsync(), answer);
            }

            await Task.WhenAll(serving);
        });
        ClientResult result = await Client.RunAsync(options with { Server = listener.LocalEndpoint }, null, CancellationToken.None);
        await server.WaitAsync(TimeSpan.FromSeconds(30));
        return result;
    }

    private static async Task EchoAsync(Socket client, Func<byte[], long, byte[]> answer)
    {
        using (client)
        {
            byte[] buffer = new byte[65536];
            long position = 0;
            try
            {
                while (await client.ReceiveAsync(buffer) is > 0 and int length)
                {
                    byte[] reply = answer(buffer[..length], position);
                    position += length;
                    if (reply.Length > 0)
                    {
                        await client.SendAsync(reply);
                    }
                }

                client.Shutdown(SocketShutdown.Both);
            }
            catch (SocketException)
            {
                // The client under test hung up, as it should when the answer is wrong.
            }
        }
    }
}
