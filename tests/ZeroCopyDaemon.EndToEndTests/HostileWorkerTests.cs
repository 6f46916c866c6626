using System.Collections.Concurrent;
using System.Net.Sockets;
using Grpc.Core;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Protocol.Control;
using ZeroCopyDaemon.Worker;
using ZeroCopyDaemon.Worker.Internal;

namespace ZeroCopyDaemon.EndToEndTests;

/// <summary>A worker that attaches properly and then writes garbage wherever it can.</summary>
public sealed class HostileWorkerTests(ITestOutputHelper output)
{
    private const int Seeds = 10_000;

    [Fact]
    public async Task Ten_thousand_seeds_of_garbage_harm_nobody_else()
    {
        // What the bait left in the backlog of a listener whose workers are gone is given up when the listener is.
        await using InProcess test = await InProcess.StartAsync(options => options.ListenerLingerSeconds = 1);
        int echoPort = Daemon.FreePort();
        await using KernelClient echo = await test.StartEchoAsync(echoPort);
        int baitPort = Daemon.FreePort();
        using var over = new CancellationTokenSource();
        Task<int> honest = Task.Run(() => TransferUntilAsync(echoPort, over.Token));
        Task bait = Task.Run(() => BaitUntilAsync(baitPort, over.Token));

        var reasons = new ConcurrentDictionary<DetachReason, int>();
        int survived = 0, attached = 0;
        Raw? worker = null;
        for (int seed = 0; seed < Seeds; seed++)
        {
            if (worker is null)
            {
                worker = await Raw.AttachAsync(test, baitPort);
                attached++;
            }

            worker.Misbehave(new Random(seed));
            DetachReason reason = await worker.WaitForVerdictAsync();
            if (reason == DetachReason.None)
            {
                survived++;
            }
            else
            {
                reasons.AddOrUpdate(reason, 1, (_, count) => count + 1);
                await worker.DisposeAsync();
                worker = null;
            }

            if (seed % 500 == 0)
            {
                await test.OnLoopAsync(pool =>
                {
                    pool.CheckInvariants();
                    return 0;
                });
                Assert.False(test.Host.LoopEnded.IsCompleted, "the loop has ended");
            }
        }

        if (worker is not null)
        {
            await worker.DisposeAsync();
        }

        await over.CancelAsync();
        int transfers = await honest;
        await bait;
        output.WriteLine(
            $"[figure] hostile worker: {Seeds} seeds, {attached} attachments, {survived} seeds did nothing forbidden; detached: {string.Join(", ", reasons.Select(pair => $"{pair.Key} {pair.Value}"))}; " +
            $"{transfers} verified transfers of another worker meanwhile");
        Assert.True(transfers > 0, "another worker's transfers went on");
        foreach (DetachReason reason in new[] { DetachReason.RingCorrupt, DetachReason.BadDescriptor, DetachReason.BadHandle, DetachReason.BadLease, DetachReason.BadRange })
        {
            Assert.True(reasons.ContainsKey(reason), $"no seed was caught as {reason}");
        }

        await test.ExpectAllPagesBackAsync();
        await InProcess.VerifiedEchoAsync(echoPort, 1, 1 << 20);
    }

    [Fact]
    public async Task A_worker_of_another_version_is_refused_with_a_line_that_says_so()
    {
        await using InProcess test = await InProcess.StartAsync();
        using Grpc.Net.Client.GrpcChannel channel = ControlChannel.Create(test.Host.Directory.ControlSocket);
        var control = new Control.ControlClient(channel);
        foreach ((uint version, ulong layout) in new[] { (WorkerAreaLayout.Version + 1, WorkerAreaLayout.Fingerprint), (WorkerAreaLayout.Version, WorkerAreaLayout.Fingerprint + 1) })
        {
            using AsyncServerStreamingCall<AttachEvent> call = control.Attach(new AttachRequest { Version = version, Layout = layout, Pid = Environment.ProcessId });
            RpcException refused = await Assert.ThrowsAsync<RpcException>(() => call.ResponseStream.MoveNext(CancellationToken.None));
            Assert.Equal(StatusCode.FailedPrecondition, refused.StatusCode);
            Assert.Contains("version", refused.Status.Detail);
            Assert.DoesNotContain('\n', refused.Status.Detail);
        }

        using AsyncServerStreamingCall<AttachEvent> other = control.Attach(
            new AttachRequest { Version = WorkerAreaLayout.Version, Layout = WorkerAreaLayout.Fingerprint, Pid = Environment.ProcessId + 1 });
        RpcException denied = await Assert.ThrowsAsync<RpcException>(() => other.ResponseStream.MoveNext(CancellationToken.None));
        Assert.Equal(StatusCode.PermissionDenied, denied.StatusCode);
    }

    private static async Task<int> TransferUntilAsync(int port, CancellationToken over)
    {
        int transfers = 0;
        while (!over.IsCancellationRequested)
        {
            await InProcess.VerifiedEchoAsync(port, transfers, 256 << 10);
            transfers++;
        }

        return transfers;
    }

    /// <summary>Clients for the hostile worker, so that it has connections and leases to misuse.</summary>
    private static async Task BaitUntilAsync(int port, CancellationToken over)
    {
        while (!over.IsCancellationRequested)
        {
            try
            {
                using TcpClient client = await InProcess.ConnectAsync(port);
                await client.GetStream().WriteAsync(new byte[20_000], over);
                byte[] answer = new byte[4096];
                using var patience = CancellationTokenSource.CreateLinkedTokenSource(over);
                patience.CancelAfter(200);
                while (await client.GetStream().ReadAsync(answer, patience.Token) > 0)
                {
                    // Whatever it sends.
                }
            }
            catch (Exception e) when (e is IOException or SocketException or OperationCanceledException)
            {
                await Task.Delay(5, CancellationToken.None);
            }
        }
    }

    /// <summary>A worker without the library's manners.</summary>
    private sealed class Raw : IAsyncDisposable
    {
        private readonly AttachSession _session;
        private readonly WorkerAreas _areas;
        private readonly List<ulong> _leases = [];
        private readonly List<uint> _connections = [];
        private uint _listener;
        private uint _tail;
        private uint _head;
        private uint _published;

        private Raw(AttachSession session)
        {
            _session = session;
            _areas = session.Map();
        }

        public static async Task<Raw> AttachAsync(InProcess test, int port)
        {
            var raw = new Raw(await AttachSession.OpenAsync(test.Worker("hostile") with { TxBytes = 65536 }, CancellationToken.None));
            ListenReply listening = await raw._session.Control.ListenAsync(new ListenRequest { Token = raw._session.Attached.Token, Port = (uint)port });
            raw._listener = listening.Listener;
            raw.Submit(new Submission { Op = SubmissionOp.AcceptCredit, Connection = raw._listener, Length = 4 });
            raw.Publish();
            raw.Ring();
            return raw;
        }

        private unsafe DetachReason Verdict => (DetachReason)Volatile.Read(ref *(uint*)(_areas.Kernel + WorkerAreaLayout.DetachedOffset));

        private unsafe uint Consumed => Volatile.Read(ref *(uint*)(_areas.Kernel + WorkerAreaLayout.SubmissionHeadOffset));

        /// <summary>A few proper steps, so that there is something to lie about, then a lie.</summary>
        public unsafe void Misbehave(Random random)
        {
            TakeCompletions();
            if (random.Next(4) != 0)
            {
                foreach (uint connection in _connections)
                {
                    if (random.Next(3) == 0)
                    {
                        Submit(new Submission { Op = SubmissionOp.Receive, Connection = connection, Length = (uint)random.Next(1, 30_000), MaxFragments = (ushort)random.Next(1, 20) });
                    }
                }
            }

            switch (random.Next(12))
            {
                case 0:
                    Write(WorkerAreaLayout.SubmissionTailOffset, (uint)random.Next());
                    break;
                case 1:
                    Write(WorkerAreaLayout.CompletionHeadOffset, (uint)random.Next());
                    Publish();
                    break;
                case 2:
                    for (int offset = 0; offset < WorkerAreaLayout.HeaderBytes; offset += 4)
                    {
                        Write(offset, (uint)random.Next());
                    }

                    break;
                case 3:
                    random.NextBytes(new Span<byte>(_areas.Own + WorkerAreaLayout.HeaderBytes, _areas.SubmissionEntries * 32));
                    _tail += (uint)random.Next(1, 64);
                    Publish();
                    break;
                case 4:
                    Submit(new Submission { Op = SubmissionOp.Release, Value = Forge(random) });
                    Publish();
                    break;
                case 5:
                    Submit(new Submission { Op = SubmissionOp.SendLease, Connection = Pick(_connections, random, (uint)random.Next()), Value = Forge(random) });
                    Publish();
                    break;
                case 6:
                    Submit(new Submission { Op = SubmissionOp.SendRange, Connection = Pick(_connections, random, (uint)random.Next(1 << 20)), Value = (ulong)random.NextInt64(), Length = (uint)random.Next() });
                    Publish();
                    break;
                case 7:
                    Submit(new Submission { Op = SubmissionOp.SendRange, Connection = Pick(_connections, random, 1u), Value = 65536 - (ulong)random.Next(100), Length = (uint)random.Next(1, 200) });
                    Publish();
                    break;
                case 8:
                    Submit(new Submission { Op = (SubmissionOp)random.Next(10, 256), Connection = Pick(_connections, random, 0u) });
                    Publish();
                    break;
                case 9:
                    Submit(new Submission { Op = (SubmissionOp)random.Next(0, 10), Connection = (uint)random.Next(), Length = (uint)random.Next(), Value = (ulong)random.NextInt64(), MaxFragments = (ushort)random.Next() });
                    Publish();
                    break;
                case 10:
                    Submit(new Submission { Op = SubmissionOp.AcceptCredit, Connection = _listener + (uint)random.Next(2), Length = (uint)random.Next() });
                    Publish();
                    break;
                default:
                    // Nothing forbidden: leases are kept, or given back once.
                    if (_leases.Count > 0 && random.Next(2) == 0)
                    {
                        Submit(new Submission { Op = SubmissionOp.Release, Value = _leases[^1] });
                        _leases.RemoveAt(_leases.Count - 1);
                    }

                    Publish();
                    break;
            }

            Ring();
        }

        /// <summary>Waits until the kernel has looked at everything, or thrown this worker out.</summary>
        public async Task<DetachReason> WaitForVerdictAsync()
        {
            for (int i = 0; i < 2000; i++)
            {
                if (Verdict != DetachReason.None)
                {
                    return Verdict;
                }

                if (Consumed == _published && i > 2)
                {
                    return DetachReason.None;
                }

                if (i > 20)
                {
                    await Task.Delay(1);
                    Ring();
                }
                else
                {
                    Thread.SpinWait(200);
                }
            }

            throw new TimeoutException("The kernel neither took the submissions nor detached the worker.");
        }

        public async ValueTask DisposeAsync()
        {
            await _session.DisposeAsync();
            _areas.Unmap?.Invoke();
        }

        private static uint Pick(List<uint> from, Random random, uint otherwise) => from.Count == 0 || random.Next(4) == 0 ? otherwise : from[random.Next(from.Count)];

        /// <summary>A lease that isn't one: another slot's, another generation's, an old one, noise.</summary>
        private ulong Forge(Random random)
        {
            ulong known = _leases.Count == 0 ? (ulong)random.Next(1, 1000) : _leases[random.Next(_leases.Count)];
            return random.Next(4) switch
            {
                0 => known + 1,
                1 => known + (1UL << 32),
                2 => known - (1UL << 32),
                _ => (ulong)random.NextInt64(),
            };
        }

        private unsafe void TakeCompletions()
        {
            uint tail = Volatile.Read(ref *(uint*)(_areas.Kernel + WorkerAreaLayout.CompletionTailOffset));
            while (_head != tail)
            {
                Completion completion = ((Completion*)(_areas.Kernel + WorkerAreaLayout.HeaderBytes))[_head++ & (uint)(_areas.CompletionEntries - 1)];
                if (completion.Kind == CompletionKind.Accepted)
                {
                    _connections.Add(completion.Connection);
                }
                else if (completion.Kind == CompletionKind.Data)
                {
                    _leases.Add(completion.Lease);
                }
            }

            Write(WorkerAreaLayout.CompletionHeadOffset, _head);
        }

        private unsafe void Submit(in Submission submission) => ((Submission*)(_areas.Own + WorkerAreaLayout.HeaderBytes))[_tail++ & (uint)(_areas.SubmissionEntries - 1)] = submission;

        private void Publish()
        {
            _published = _tail;
            Write(WorkerAreaLayout.SubmissionTailOffset, _tail);
        }

        private unsafe void Write(int offset, uint value) => Volatile.Write(ref *(uint*)(_areas.Own + offset), value);

        private void Ring()
        {
            if (Verdict == DetachReason.None)
            {
                _areas.RingKernel?.Invoke();
            }
        }
    }
}
