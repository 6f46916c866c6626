using ZeroCopyDaemon.Worker;

// Worker processes that misbehave or end in a particular way, for the end-to-end tests.
// usage: TestWorker MODE PORT [BYTES]     the daemon is named by ZCD_NAME and ZCD_RUN_DIR
string mode = args[0];
int port = int.Parse(args[1]);
int bytes = args.Length > 2 ? int.Parse(args[2]) : 0;
try
{
    KernelClient kernel = await KernelClient.AttachAsync(new WorkerOptions { AppName = "test-" + mode });
    Listener listener = await kernel.ListenAsync(port);
    Console.WriteLine($"ready {kernel.WorkerId}");
    Connection connection = await listener.AcceptAsync();
    switch (mode)
    {
        case "send-close-exit":
            // Sends, closes and is gone the next moment.
            for (int sent = 0; sent < bytes;)
            {
                TxBuffer buffer = await connection.RentTxAsync(65536);
                int length = Math.Min(buffer.Length, bytes - sent);
                for (int i = 0; i < length; i++)
                {
                    buffer.Span[i] = (byte)((sent + i) * 31 >> 3);
                }

                await connection.SendAsync(buffer, length);
                sent += length;
            }

            await connection.DisposeAsync();
            Environment.Exit(0);
            return 0;
        case "echo":
            while (true)
            {
                Received received = await connection.ReceiveAsync();
                if (received.IsEnd)
                {
                    await connection.CloseAsync();
                    connection = await listener.AcceptAsync();
                    continue;
                }

                await connection.SendAsync(received);
            }

        default:
            Console.Error.WriteLine($"no mode '{mode}'");
            return 2;
    }
}
catch (KernelLostException e)
{
    Console.Error.WriteLine($"kernel lost: {e.Message}");
    return 3;
}
