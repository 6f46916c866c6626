using System.Net.Sockets;
using Grpc.Core;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Mapping;
using ZeroCopyDaemon.Memory.Rings;
using ZeroCopyDaemon.Protocol;
using ZeroCopyDaemon.Protocol.Control;
using ZeroCopyDaemon.Worker;

namespace ZeroCopyDaemon.UnitTests;

/// <summary>The control side of a worker, against a control service on a real unix socket.</summary>
public sealed class WorkerAttachTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);
    private readonly string _folder = Directory.CreateTempSubdirectory("zcd-attach-").FullName;

    private string SocketPath => Path.Combine(_folder, "control.sock");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_daemon_that_is_not_running_is_one_clear_line()
    {
        DaemonNotRunningException error = await Assert.ThrowsAsync<DaemonNotRunningException>(() => KernelClient.AttachAsync(new WorkerOptions { Name = "no-such-daemon" }));
        Assert.Contains("No daemon named 'no-such-daemon' is running (no socket at ", error.Message, StringComparison.Ordinal);
        Assert.EndsWith("Start one with: zcd up", error.Message, StringComparison.Ordinal);
        using (var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            // Left over by one that was killed: the file is there, and nobody behind it.
            socket.Bind(new UnixDomainSocketEndPoint(SocketPath));
            File.Move(SocketPath, SocketPath + ".left");
        }

        error = await Assert.ThrowsAsync<DaemonNotRunningException>(() => KernelClient.AttachAsync(new WorkerOptions { ControlSocket = SocketPath + ".left" }));
        Assert.Contains("nobody answers", error.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<RunDirectoryException>(() => KernelClient.AttachAsync(new WorkerOptions { Name = "a/b" }));
        await Assert.ThrowsAsync<ArgumentException>(() => KernelClient.AttachAsync(new WorkerOptions { SubmissionEntries = 100 }));
    }

    [Theory]
    [InlineData(StatusCode.FailedPrecondition)]
    [InlineData(StatusCode.Unavailable)]
    public async Task A_refusal_is_passed_on_in_the_kernel_hosts_words(StatusCode code)
    {
        await using FakeControl control = await FakeControl.StartAsync(SocketPath);
        control.OnAttach = _ => throw new RpcException(new Status(code, "Rebuild the worker."));
        KernelRefusedException error = await Assert.ThrowsAsync<KernelRefusedException>(() => KernelClient.AttachAsync(control.Options));
        Assert.Equal("Rebuild the worker.", error.Message);
    }

    [Fact]
    public async Task A_daemon_that_does_not_answer_is_waited_for_only_so_long()
    {
        await using FakeControl control = await FakeControl.StartAsync(SocketPath);
        control.OnAttach = _ => null;
        await Assert.ThrowsAsync<TimeoutException>(() => KernelClient.AttachAsync(control.Options with { AttachTimeout = TimeSpan.FromMilliseconds(200) }));
        using var cancellation = new CancellationTokenSource(200);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => KernelClient.AttachAsync(control.Options, cancellation.Token));
    }

    [Fact]
    public async Task A_worker_introduces_itself_listens_and_detaches_in_good_order()
    {
        await using FakeControl control = await FakeControl.StartAsync(SocketPath);
        KernelClient client = await KernelClient.AttachAsync(control.Options with { AppName = "test app", TxBytes = 1 << 20 });
        Assert.Equal((WorkerAreaLayout.Version, WorkerAreaLayout.Fingerprint, Environment.ProcessId, "test app", 1u << 20),
            (control.Request!.Version, control.Request.Layout, control.Request.Pid, control.Request.Name, (uint)control.Request.TxBytes));
        Assert.Equal((42u, 4096), (client.WorkerId, client.PageBytes));
        Listener listener = await client.ListenAsync(7000);
        Assert.Equal((7000, "127.0.0.1:7000"), (listener.Port, listener.PublicAddress));
        await Assert.ThrowsAsync<InvalidOperationException>(() => client.ListenAsync(7000));
        Submission credit = control.Areas!.Next();
        Assert.Equal((SubmissionOp.AcceptCredit, FakeControl.ListenerId, 64u), (credit.Op, credit.Connection, credit.Length));

        control.Areas.Write(new Completion { Kind = CompletionKind.Accepted, Connection = 9, Tag = FakeControl.ListenerId });
        Connection connection = await listener.AcceptAsync().AsTask().WaitAsync(s_patience);
        Task<Received> receiving = connection.ReceiveAsync().AsTask();
        Assert.Equal(SubmissionOp.Receive, control.Areas.Next().Op);
        "over shared memory"u8.CopyTo(control.Areas.Rx);
        control.Areas.Write(new Completion { Kind = CompletionKind.Data, Connection = 9, Area = WorkerAreaLayout.RxArea, Length = 18, Lease = 5 });
        Received received = await receiving.WaitAsync(s_patience);
        Assert.True(received.FirstSpan.SequenceEqual("over shared memory"u8));
        await connection.SendAsync("answer"u8.ToArray().AsMemory());
        await client.DisposeAsync();
        Assert.Equal(SubmissionOp.SendRange, control.Areas.Next().Op);
        Assert.Equal(SubmissionOp.Close, control.Areas.Next().Op);
        Assert.Equal("the token", control.DetachedToken);
        Assert.Equal(DetachReason.Requested, (await client.Lost).Reason);

        // The lease outlived its client.
        Assert.Throws<KernelLostException>(() => received.FirstSpan.Length);
        received.Dispose();
        await Assert.ThrowsAsync<KernelLostException>(() => listener.AcceptAsync().AsTask());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => client.ListenAsync(1));
        await listener.DisposeAsync();
        await client.DisposeAsync();
    }

    [Fact]
    public async Task A_port_that_cannot_be_had_is_refused_and_a_listener_that_is_left_can_be_had_again()
    {
        await using FakeControl control = await FakeControl.StartAsync(SocketPath);
        await using KernelClient client = await KernelClient.AttachAsync(control.Options);
        control.ListenError = "Port 7000 is in use.";
        Assert.Equal("Port 7000 is in use.", (await Assert.ThrowsAsync<KernelRefusedException>(() => client.ListenAsync(7000))).Message);
        control.ListenError = null;
        Listener listener = await client.ListenAsync(7000);
        Task accepting = listener.AcceptAsync().AsTask();
        await listener.DisposeAsync();
        Assert.Equal(1, control.Unlistened);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => accepting);
        await using Listener again = await client.ListenAsync(7000);
    }

    [Fact]
    public async Task The_daemons_wish_to_stop_is_passed_on()
    {
        await using FakeControl control = await FakeControl.StartAsync(SocketPath);
        await using KernelClient client = await KernelClient.AttachAsync(control.Options);
        await using Listener listener = await client.ListenAsync(7000);
        Task accepting = listener.AcceptAsync(client.Draining).AsTask();
        await control.SayAsync(new AttachEvent { Drain = new Drain { TimeoutMs = 1500 } });
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => accepting.WaitAsync(s_patience));
        Assert.Equal(1500, client.DrainTimeout.TotalMilliseconds);
        Assert.False(client.Lost.IsCompleted);
        await control.SayAsync(new AttachEvent { Detached = new Detached { Reason = (uint)DetachReason.Shutdown, Message = "bye" } });
        KernelLostException lost = await client.Lost.WaitAsync(s_patience);
        Assert.Equal(DetachReason.Shutdown, lost.Reason);
        Assert.Contains("bye", lost.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_end_of_the_attach_stream_means_that_the_kernel_is_gone(bool killed)
    {
        FakeControl control = await FakeControl.StartAsync(SocketPath);
        KernelClient client = await KernelClient.AttachAsync(control.Options);
        Listener listener = await client.ListenAsync(7000);
        Task accepting = listener.AcceptAsync().AsTask();
        if (killed)
        {
            await control.DisposeAsync();
        }
        else
        {
            control.EndStream();
        }

        KernelLostException lost = await client.Lost.WaitAsync(s_patience);
        Assert.Equal(DetachReason.None, lost.Reason);
        Assert.StartsWith("The kernel host is gone", lost.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<KernelLostException>(() => accepting);
        await Assert.ThrowsAsync<KernelLostException>(() => client.ListenAsync(7001));
        await listener.DisposeAsync();
        await client.DisposeAsync();
        await control.DisposeAsync();
    }

    [Fact]
    public async Task A_control_area_of_another_daemon_is_not_taken()
    {
        await using FakeControl control = await FakeControl.StartAsync(SocketPath);
        control.OnAttach = attached =>
        {
            attached.Epoch++;
            return attached;
        };
        Assert.Contains("restarted", (await Assert.ThrowsAsync<KernelRefusedException>(() => KernelClient.AttachAsync(control.Options))).Message, StringComparison.Ordinal);
    }

    /// <summary>A control service for one worker, with the areas that go with it.</summary>
    private sealed class FakeControl : Protocol.Control.Control.ControlBase, IAsyncDisposable
    {
        public const uint ListenerId = 8;
        private readonly string _socketPath;
        private readonly TaskCompletionSource _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private WebApplication? _app;
        private IServerStreamWriter<AttachEvent>? _events;

        private FakeControl(string socketPath)
        {
            _socketPath = socketPath;
        }

        public WorkerOptions Options => new() { ControlSocket = _socketPath };

        public AttachRequest? Request { get; private set; }

        public FakeAreas? Areas { get; private set; }

        public Func<Attached, Attached?> OnAttach { get; set; } = attached => attached;

        public string? ListenError { get; set; }

        public string? DetachedToken { get; private set; }

        public int Unlistened { get; private set; }

        public static async Task<FakeControl> StartAsync(string socketPath)
        {
            var control = new FakeControl(socketPath);
            WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
            builder.Logging.ClearProviders();
            builder.WebHost.UseKestrel(kestrel => kestrel.ListenUnixSocket(socketPath, listen => listen.Protocols = HttpProtocols.Http2));
            builder.Services.AddGrpc();
            builder.Services.AddSingleton(control);
            control._app = builder.Build();
            control._app.MapGrpcService<FakeControl>();
            await control._app.StartAsync();
            return control;
        }

        public Task SayAsync(AttachEvent e) => _events!.WriteAsync(e);

        public void EndStream() => _end.TrySetResult();

        public override async Task Attach(AttachRequest request, IServerStreamWriter<AttachEvent> responseStream, ServerCallContext context)
        {
            Request = request;
            Areas = new FakeAreas(Path.GetDirectoryName(_socketPath)!);
            _events = responseStream;
            if (OnAttach(Areas.Describe()) is { } attached)
            {
                await responseStream.WriteAsync(new AttachEvent { Attached = attached });
            }

            try
            {
                await _end.Task.WaitAsync(context.CancellationToken);
            }
            catch (OperationCanceledException)
            {
                // The worker hung up.
            }
        }

        public override Task<ListenReply> Listen(ListenRequest request, ServerCallContext context) => ListenError is null
            ? Task.FromResult(new ListenReply { Listener = ListenerId, PublicAddress = $"127.0.0.1:{request.Port}" })
            : throw new RpcException(new Status(StatusCode.FailedPrecondition, ListenError));

        public override Task<UnlistenReply> Unlisten(UnlistenRequest request, ServerCallContext context)
        {
            Unlistened += request.Listener == ListenerId ? 1 : 0;
            return Task.FromResult(new UnlistenReply());
        }

        public override Task<DetachReply> Detach(DetachRequest request, ServerCallContext context)
        {
            DetachedToken = request.Token;
            return Task.FromResult(new DetachReply());
        }

        public async ValueTask DisposeAsync()
        {
            using var now = new CancellationTokenSource();
            await now.CancelAsync();
            await _app!.StopAsync(now.Token);
            await _app.DisposeAsync();
            Areas?.Dispose();
            Areas = null;
        }
    }

    /// <summary>The kernel's side of one worker's memory, in mappings that another process could open.</summary>
    private sealed unsafe class FakeAreas : IDisposable
    {
        private const int Entries = 64;
        private const ulong Epoch = 77;
        private readonly SharedRegion _rx;
        private readonly SharedRegion _kernel;
        private readonly SharedRegion _own;
        private readonly SharedRegion _tx;
        private readonly KernelBellReader _doorbell;
        private readonly WorkerBell _bell;
        private readonly RingConsumer<Submission> _submissions;
        private readonly RingProducer<Completion> _completions;

        public FakeAreas(string folder)
        {
            _rx = SharedRegion.Create("test-rx", 1 << 16, folder);
            _kernel = SharedRegion.Create("test-kernel", WorkerAreaLayout.KernelAreaBytes(Entries), folder);
            _own = SharedRegion.Create("test-own", WorkerAreaLayout.WorkerAreaBytes(Entries), folder);
            _tx = SharedRegion.Create("test-tx", 1 << 20, folder);
            _rx.SealReadOnlyForOthers();
            _kernel.SealReadOnlyForOthers();
            _doorbell = KernelBellReader.Create(Path.Combine(folder, Path.GetRandomFileName()));
            byte* kernel = _kernel.Address;
            byte* own = _own.Address;
            *(uint*)(kernel + WorkerAreaLayout.MagicOffset) = WorkerAreaLayout.Magic;
            *(uint*)(kernel + WorkerAreaLayout.VersionOffset) = WorkerAreaLayout.Version;
            *(ulong*)(kernel + WorkerAreaLayout.EpochOffset) = Epoch;
            _completions = new RingProducer<Completion>(kernel + WorkerAreaLayout.HeaderBytes, Entries, kernel + WorkerAreaLayout.CompletionTailOffset, own + WorkerAreaLayout.CompletionHeadOffset);
            _submissions = new RingConsumer<Submission>(own + WorkerAreaLayout.HeaderBytes, Entries, kernel + WorkerAreaLayout.SubmissionHeadOffset, own + WorkerAreaLayout.SubmissionTailOffset);
            _bell = new WorkerBell(kernel + WorkerAreaLayout.BellOffset, own + WorkerAreaLayout.WorkerSleepingOffset, futex: true);
        }

        public Span<byte> Rx => new(_rx.Address, (int)_rx.Bytes);

        public Attached Describe() => new()
        {
            Worker = 42,
            Token = "the token",
            Rx = Area(_rx),
            Kernel = Area(_kernel),
            Own = Area(_own),
            Tx = Area(_tx),
            SubmissionEntries = Entries,
            CompletionEntries = Entries,
            KernelBell = _doorbell.Path,
            FutexBell = true,
            PageBytes = 4096,
            MaxSendsPerConnection = 16,
            Epoch = Epoch,
            KernelPid = Environment.ProcessId,
        };

        public void Write(in Completion completion)
        {
            Assert.True(_completions.TryWrite(completion));
            _completions.Publish();
            _bell.RingIfAsleep();
        }

        public Submission Next()
        {
            Assert.True(_submissions.TryRead(out Submission submission), "Nothing was submitted.");
            _submissions.Retire();
            return submission;
        }

        public void Dispose()
        {
            _doorbell.Dispose();
            _rx.Dispose();
            _kernel.Dispose();
            _own.Dispose();
            _tx.Dispose();
        }

        private static Area Area(SharedRegion region) => new() { Path = region.Path, Bytes = (ulong)region.Bytes };
    }
}
