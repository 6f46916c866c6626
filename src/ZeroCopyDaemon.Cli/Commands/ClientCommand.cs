using System.CommandLine;
using System.Globalization;
using System.Net;
using System.Text.Json;
using Spectre.Console;
using ZeroCopyDaemon.Cli.Control;
using ZeroCopyDaemon.Cli.Hosting;
using ZeroCopyDaemon.Cli.Settings;
using ZeroCopyDaemon.Cli.TestClient;
using ZeroCopyDaemon.Cli.Output;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.Cli.Commands;

/// <summary><c>zcd client</c>: sends a pattern over ordinary sockets and checks what comes back.</summary>
internal static class ClientCommand
{
    public static Command Create()
    {
        Command command = new("client", "Send a pattern over ordinary TCP connections and check what comes back.");
        Option<string?> connect = new("--connect") { Description = "Server to connect to [where the daemon listens]", HelpName = "HOST:PORT" };
        Option<int> connections = CommonOptions.Number("--connections", "Connections at once", "N", 1, 1, 10_000);
        Option<long> bytes = CommonOptions.Size("--bytes", "Bytes in all, split over the connections", 64L << 20);
        Option<ulong> pattern = new("--pattern")
        {
            Description = "Seed of the pattern",
            HelpName = "SEED",
            DefaultValueFactory = _ => 1,
            CustomParser = result =>
            {
                if (!ulong.TryParse(result.Tokens[0].Value, NumberStyles.None, CultureInfo.InvariantCulture, out ulong seed))
                {
                    result.AddError($"--pattern must be a whole number from 0 on, not '{result.Tokens[0].Value}'");
                }

                return seed;
            },
        };
        Option<bool> verify = new("--verify") { Description = "Check every byte that comes back" };
        Option<string> mode = new("--mode") { Description = "What the server does: echo or sink", HelpName = "MODE", DefaultValueFactory = _ => "echo" };
        mode.AcceptOnlyFromAmong("echo", "sink");
        Option<int> timeout = CommonOptions.Number("--timeout", "Seconds without progress after which a connection has failed", "SECONDS", 30, 1, 3600);
        Option<bool> json = CommonOptions.Json();
        foreach (Option option in (Option[])[connect, connections, bytes, pattern, verify, mode, timeout, json])
        {
            command.Add(option);
        }

        SettingOptions settings = new(command, SettingsTable.Name, SettingsTable.RunDirectory);
        command.SetAction(async parsed =>
        {
            using StopSignals signals = new();
            ClientOptions options = new()
            {
                Server = parsed.GetValue(connect) is { } address ? await ResolveAsync(address, signals.Token) : await DaemonAddressAsync(CommonOptions.Locate(settings, parsed), signals.Token),
                Connections = parsed.GetValue(connections),
                Bytes = parsed.GetValue(bytes),
                Seed = parsed.GetValue(pattern),
                Verify = parsed.GetValue(verify),
                Mode = parsed.GetValue(mode) == "sink" ? ClientMode.Sink : ClientMode.Echo,
                Timeout = TimeSpan.FromSeconds(parsed.GetValue(timeout)),
            };
            return await RunAsync(options, parsed.GetValue(json), signals.Token);
        });
        return command;
    }

    /// <summary>One object with everything: the sums, and each connection's part.</summary>
    internal static void WriteJson(Utf8JsonWriter json, ClientResult result)
    {
        json.WriteStartObject();
        json.WriteNumber("connections", result.Connections.Count);
        json.WriteNumber("bytes", result.Bytes);
        json.WriteNumber("bytes_sent", result.BytesSent);
        json.WriteNumber("bytes_received", result.BytesReceived);
        json.WriteNumber("seconds", Math.Round(result.Seconds, 6));
        json.WriteNumber("gb_per_s", Math.Round(result.GigabytesPerSecond, 6));
        json.WriteBoolean("verified", result.Verified);
        json.WriteNumber("errors", result.Errors);
        json.WriteString("first_error", result.FirstError);
        json.WriteStartArray("results");
        foreach (ConnectionResult connection in result.Connections)
        {
            json.WriteStartObject();
            json.WriteNumber("connection", connection.Connection);
            json.WriteNumber("bytes", connection.Bytes);
            json.WriteNumber("bytes_sent", connection.BytesSent);
            json.WriteNumber("bytes_received", connection.BytesReceived);
            json.WriteString("outcome", connection.Outcome.ToString().ToLowerInvariant());
            json.WriteString("error", connection.Error);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static async Task<int> RunAsync(ClientOptions options, bool json, CancellationToken cancel)
    {
        bool bar = !json && !Console.IsErrorRedirected && Terminal.Error.Profile.Capabilities.Ansi;
        ClientResult result = bar ? await RunWithBarAsync(options, cancel) : await Client.RunAsync(options, null, cancel);
        if (json)
        {
            Console.Out.WriteLine(ProtoJson.Document(writer => WriteJson(writer, result), indented: true));
        }
        else
        {
            string answer = options.Mode == ClientMode.Sink ? string.Empty : $", {result.BytesReceived} back{(options.Verify && result.Errors == 0 ? " and every byte right" : string.Empty)}";
            string connections = result.Connections.Count == 1 ? "1 connection" : $"{result.Connections.Count} connections";
            Console.Out.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{result.BytesSent} bytes sent over {connections}{answer}, in {result.Seconds:0.000} s: {result.GigabytesPerSecond:0.000} GB/s"));
        }

        if (result.Errors > 0)
        {
            string others = result.Errors == 1 ? string.Empty : $" ({result.Errors} of {result.Connections.Count} connections failed)";
            throw new CliException(result.FirstError + others);
        }

        return ExitCode.Ok;
    }

    private static Task<ClientResult> RunWithBarAsync(ClientOptions options, CancellationToken cancel) =>
        Terminal.Error.Progress()
            .AutoClear(true)
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new TransferSpeedColumn(), new RemainingTimeColumn())
            .StartAsync(async context =>
            {
                ProgressTask task = context.AddTask(options.Mode == ClientMode.Echo ? "echo" : "send", maxValue: Math.Max(1, options.Bytes));
                return await Client.RunAsync(options, new Bar(task, options.Mode), cancel);
            });

    private static async Task<EndPoint> ResolveAsync(string address, CancellationToken cancel)
    {
        int colon = address.LastIndexOf(':');
        string host = colon > 0 ? address[..colon].Trim('[', ']') : string.Empty;
        if (host.Length == 0 || !int.TryParse(address[(colon + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out int port) || port is < 1 or > 65535)
        {
            throw new UsageException($"--connect {address}: name a server as HOST:PORT, such as 127.0.0.1:8080");
        }

        if (IPAddress.TryParse(host, out IPAddress? ip))
        {
            return new IPEndPoint(ip, port);
        }

        try
        {
            IPAddress[] found = await Dns.GetHostAddressesAsync(host, cancel);
            return new IPEndPoint(found[0], port);
        }
        catch (System.Net.Sockets.SocketException)
        {
            throw new CliException($"--connect {address}: no host '{host}' is known");
        }
    }

    private static async Task<EndPoint> DaemonAddressAsync(RunDirectory directory, CancellationToken cancel)
    {
        using ControlConnection control = ControlConnection.To(directory);
        StatusReply status;
        try
        {
            status = await control.GetStatusAsync(cancel);
        }
        catch (DaemonNotRunningException nobody)
        {
            throw new CliException($"{nobody.Message}, or name another server with --connect HOST:PORT");
        }

        if (status.Listeners.Count == 0 || !IPEndPoint.TryParse(status.Listeners[0].Address, out IPEndPoint? endPoint))
        {
            throw new CliException($"the daemon '{directory.Name}' listens nowhere: it has no workers");
        }

        if (endPoint.Address.Equals(IPAddress.Any))
        {
            endPoint.Address = IPAddress.Loopback;
        }
        else if (endPoint.Address.Equals(IPAddress.IPv6Any))
        {
            endPoint.Address = IPAddress.IPv6Loopback;
        }

        return endPoint;
    }

    private sealed class Bar(ProgressTask task, ClientMode mode) : IProgress<(long Sent, long Received)>
    {
        public void Report((long Sent, long Received) value) => task.Value = mode == ClientMode.Echo ? value.Received : value.Sent;
    }
}
