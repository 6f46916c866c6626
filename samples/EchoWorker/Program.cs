using ZeroCopyDaemon.Worker;

const int Port = 7000;
try
{
    await using KernelClient client = await KernelClient.AttachAsync(new WorkerOptions { AppName = "EchoWorker" });
    await using Listener listener = await client.ListenAsync(Port);
    Console.WriteLine($"Worker {client.WorkerId} echoes at {listener.PublicAddress}");

    using var stop = CancellationTokenSource.CreateLinkedTokenSource(client.Draining);
    Console.CancelKeyPress += (_, pressed) =>
    {
        pressed.Cancel = true;
        stop.Cancel();
    };
    try
    {
        while (true)
        {
            _ = EchoAsync(await listener.AcceptAsync(stop.Token));
        }
    }
    catch (OperationCanceledException)
    {
        return 0;
    }
}
catch (IOException e)
{
    Console.Error.WriteLine(e.Message);
    return 1;
}

static async Task EchoAsync(Connection connection)
{
    await using (connection)
    {
        try
        {
            while (true)
            {
                // Leases on the pages that the NIC wrote. Sent back, those pages are what it reads: no byte is copied.
                Received received = await connection.ReceiveAsync();
                if (received.IsEnd)
                {
                    return;
                }

                await connection.SendAsync(received);
            }
        }
        catch (IOException e)
        {
            Console.Error.WriteLine($"{connection.RemoteEndPoint}: {e.Message}");
        }
    }
}
