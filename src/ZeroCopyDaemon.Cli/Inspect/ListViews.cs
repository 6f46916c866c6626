using System.Globalization;
using Spectre.Console;
using Spectre.Console.Rendering;
using ZeroCopyDaemon.Cli.Control;
using ZeroCopyDaemon.Cli.Output;
using ZeroCopyDaemon.Protocol.Control;

namespace ZeroCopyDaemon.Cli.Inspect;

/// <summary>The TCP connections, with the figures that <c>ss -i</c> gives.</summary>
internal sealed class ConnectionsView : InspectView
{
    public override async Task<InspectSnapshot> TakeAsync(ControlConnection control, CancellationToken cancel)
    {
        ConnectionsReply reply = await control.GetConnectionsAsync(cancel);
        return new((width, rows) => Render(reply, width, rows), json =>
        {
            json.WriteStartArray();
            foreach (ConnectionInfo connection in reply.Connections)
            {
                ProtoJson.Write(json, connection);
            }

            json.WriteEndArray();
        });
    }

    private static IRenderable Render(ConnectionsReply reply, int width, int rows)
    {
        if (reply.Connections.Count == 0)
        {
            return new Text("no connections" + Environment.NewLine);
        }

        TextTable table = new("id", "client", "state", "worker", "received", "queue", "leased", "charged-", "acked", "send queue", "rtt us-", "cwnd-", "rcv wnd", "retrans-");
        int shown = Console.IsOutputRedirected ? reply.Connections.Count : Math.Max(4, rows - 6);
        foreach (ConnectionInfo c in reply.Connections.Take(shown))
        {
            table.AddRow(
                c.Id.ToString(CultureInfo.InvariantCulture),
                c.Client.Length > 0 ? c.Client : c.Remote,
                c.State,
                c.Worker == 0 ? (c.Orphan ? "orphan" : "-") : TextTable.Number(c.Worker),
                TextTable.Number(c.BytesReceived),
                TextTable.Number(c.ReceiveQueue),
                TextTable.Number(c.Leased),
                TextTable.Number(c.Charged),
                TextTable.Number(c.BytesAcked),
                TextTable.Number(c.SendQueue),
                TextTable.Number(c.RttUs),
                TextTable.Number(c.Cwnd),
                TextTable.Number(c.RcvWnd),
                TextTable.Number(c.Retrans));
        }

        int hidden = reply.Connections.Count - shown;
        return hidden > 0 ? new Rows(table.Render(width), new Text($"and {hidden} more (--json lists all)")) : table.Render(width);
    }
}

/// <summary>The workers, those that left lately too.</summary>
internal sealed class WorkersView : InspectView
{
    public override async Task<InspectSnapshot> TakeAsync(ControlConnection control, CancellationToken cancel)
    {
        WorkersReply reply = await control.GetWorkersAsync(cancel);
        return new((width, _) => Render(reply.Workers, width), json =>
        {
            json.WriteStartArray();
            foreach (WorkerInfo worker in reply.Workers)
            {
                ProtoJson.Write(json, worker);
            }

            json.WriteEndArray();
        });
    }

    /// <summary>The table, which <c>status</c> shows too.</summary>
    public static IRenderable Render(IEnumerable<WorkerInfo> workers, int width)
    {
        TextTable table = new("worker", "pid", "name-", "state", "connections", "accepted", "leases", "pages held", "charged-", "delivered", "sent", "up s-");
        foreach (WorkerInfo w in workers.OrderBy(w => w.Id))
        {
            table.AddRow(
                TextTable.Number(w.Id),
                w.Pid.ToString(CultureInfo.InvariantCulture),
                w.Name,
                w.Reason.Length > 0 ? $"{w.State} ({w.Reason})" : w.State,
                TextTable.Number(w.Connections),
                TextTable.Number(w.Accepted),
                TextTable.Number(w.Leases),
                TextTable.Number(w.PagesHeld),
                ByteSize.Format((long)w.Charged),
                ByteSize.Format((long)w.DeliveredBytes),
                ByteSize.Format((long)w.SentBytes),
                TextTable.Number(Math.Round(w.AttachedS, 1)));
        }

        return table.RowCount > 0 ? table.Render(width) : new Text("no workers" + Environment.NewLine);
    }
}
