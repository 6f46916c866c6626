using System.CommandLine;
using System.Text.Json;
using Spectre.Console;
using ZeroCopyDaemon.Cli.Control;
using ZeroCopyDaemon.Cli.Hosting;
using ZeroCopyDaemon.Cli.Inspect;
using ZeroCopyDaemon.Cli.Settings;
using ZeroCopyDaemon.Cli.Output;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.Cli.Commands;

/// <summary><c>zcd status</c>: who runs, and where clients can connect.</summary>
internal static class StatusCommand
{
    public static Command Create()
    {
        Command command = new("status", "Show a daemon's processes and the addresses that clients can connect to.");
        SettingOptions settings = new(command, SettingsTable.Name, SettingsTable.RunDirectory);
        Option<bool> json = CommonOptions.Json();
        command.Add(json);
        command.SetAction(async parsed =>
        {
            using StopSignals signals = new();
            using ControlConnection control = ControlConnection.To(CommonOptions.Locate(settings, parsed));
            StatusReply status = await control.GetStatusAsync(signals.Token);
            if (parsed.GetValue(json))
            {
                Console.Out.WriteLine(ProtoJson.Document(writer => WriteJson(writer, status), indented: true));
            }
            else
            {
                Print(status);
            }
        });
        return command;
    }

    /// <summary>The reply's own fields, and in front of them the two things that scripts ask for: processes with their roles, and addresses.</summary>
    internal static void WriteJson(Utf8JsonWriter json, StatusReply status)
    {
        json.WriteStartObject();
        json.WriteStartArray("processes");
        json.WriteStartObject();
        json.WriteNumber("pid", status.Pid);
        json.WriteString("role", "kernel");
        json.WriteString("state", status.State);
        json.WriteEndObject();
        foreach (WorkerInfo worker in status.Workers.Where(IsPresent))
        {
            json.WriteStartObject();
            json.WriteNumber("pid", worker.Pid);
            json.WriteString("role", "worker");
            json.WriteString("state", worker.State);
            json.WriteNumber("worker", worker.Id);
            json.WriteString("name", worker.Name);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("addresses");
        foreach (ListenAddress listener in status.Listeners)
        {
            json.WriteStringValue(listener.Address);
            if (listener.Address6.Length > 0)
            {
                json.WriteStringValue(listener.Address6);
            }
        }

        json.WriteEndArray();
        ProtoJson.WriteFields(json, status);
        json.WriteEndObject();
    }

    private static bool IsPresent(WorkerInfo worker) => worker.Pid > 0 && worker.State != "detached";

    private static void Print(StatusReply status)
    {
        IAnsiConsole console = Terminal.Out;
        TimeSpan up = TimeSpan.FromSeconds(Math.Round(status.UptimeS));
        console.WriteLine($"zcd '{status.Name}' {status.Version}: {status.State}, kernel host pid {status.Pid}, up {up:c}");
        console.WriteLine($"wire {status.Wire}, placement {status.Placement}, checksum offload {(status.ChecksumOffload ? "on" : "off")}, MTU {status.Mtu}, pool {ByteSize.Format((long)status.PoolBytes)} in pages of {status.PageBytes} bytes");
        if (status.WireDetail.Length > 0)
        {
            console.WriteLine(status.WireDetail);
        }

        foreach (ListenAddress listener in status.Listeners)
        {
            console.WriteLine($"clients connect to {listener.Address}{(listener.Address6.Length > 0 ? $" or {listener.Address6}" : "")} ({listener.Workers} workers, app {status.App}, strategy {status.Strategy})");
        }

        console.Write(WorkersView.Render(status.Workers.Where(IsPresent), console.Profile.Width));
        foreach (string note in status.Notes)
        {
            console.WriteLine("note: " + note);
        }
    }
}
