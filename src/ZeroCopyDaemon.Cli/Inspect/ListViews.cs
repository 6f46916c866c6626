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
        return new((_, rows) => Render(reply, rows), json =>
        {
            json.WriteStartArray();
            foreach (ConnectionInfo connection in reply.Connections)
            {
                ProtoJson.Write(json, connection);
            }

            json.WriteEndArray();
        });
    }

    private static IRenderable Render(ConnectionsReply reply, int rows)
    {
        if (reply.Connections.Count == 0)
        {
            return new Text("no connections" + Environment.NewLine);
        }

        Table table = Tables.New("id", "client", "state", "worker", "received", "queue", "leased", "charged", "sent+acked", "send queue", "rtt us", "cwnd", "rcv wnd", "retrans");
        int shown = Console.IsOutputRedirected ? reply.Connections.Count : Math.Max(4, rows - 6);
        foreach (ConnectionInfo c in reply.Connections.Take(shown))
        {
            table.AddRow(
                Tables.Number(c.Id),
                Markup.Escape(c.Client.Length > 0 ? c.Client : c.Remote),
                Markup.Escape(c.State),
                c.Worker == 0 ? (c.Orphan ? "orphan" : "-") : Tables.Number(c.Worker),
                Tables.Number(c.BytesReceived),
                Tables.Number(c.ReceiveQueue),
                Tables.Number(c.Leased),
                Tables.Number(c.Charged),
                Tables.Number(c.BytesAcked),
                Tables.Number(c.SendQueue),
                Tables.Number(c.RttUs),
                Tables.Number(c.Cwnd),
                Tables.Number(c.RcvWnd),
                Tables.Number(c.Retrans));
        }

        int hidden = reply.Connections.Count - shown;
        return hidden > 0 ? new Rows(table, new Text($"and {hidden} more (--json lists all)")) : table;
    }
}

/// <summary>The workers, those that left lately too.</summary>
internal sealed class WorkersView : InspectView
{
    public override async Task<InspectSnapshot> TakeAsync(ControlConnection control, CancellationToken cancel)
    {
        WorkersReply reply = await control.GetWorkersAsync(cancel);
        return new((_, _) => Render(reply.Workers), json =>
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
    public static IRenderable Render(IEnumerable<WorkerInfo> workers)
    {
        Table table = Tables.New("worker", "pid", "name", "state", "connections", "accepted", "leases", "pages held", "charged", "delivered", "sent", "up s");
        foreach (WorkerInfo w in workers)
        {
            table.AddRow(
                Tables.Number(w.Id),
                w.Pid.ToString(System.Globalization.CultureInfo.InvariantCulture),
                Markup.Escape(w.Name),
                Markup.Escape(w.Reason.Length > 0 ? $"{w.State} ({w.Reason})" : w.State),
                Tables.Number(w.Connections),
                Tables.Number(w.Accepted),
                Tables.Number(w.Leases),
                Tables.Number(w.PagesHeld),
                ByteSize.Format((long)w.Charged),
                ByteSize.Format((long)w.DeliveredBytes),
                ByteSize.Format((long)w.SentBytes),
                Tables.Number(Math.Round(w.AttachedS, 1)));
        }

        return table.Rows.Count > 0 ? table : new Text("no workers" + Environment.NewLine);
    }
}
