using ZeroCopyDaemon.Cli.Hosting;

namespace ZeroCopyDaemon.UnitTests;

public sealed class CliSupervisorTests
{
    [Fact]
    public void Who_dies_young_is_replaced_later_and_later_up_to_five_seconds()
    {
        RestartBackoff backoff = new();
        double[] waits = [.. Enumerable.Range(0, 8).Select(_ => backoff.After(TimeSpan.FromSeconds(1)).TotalSeconds)];
        Assert.Equal([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5], waits);
    }

    [Fact]
    public void A_good_life_is_rewarded_with_a_quick_successor()
    {
        RestartBackoff backoff = new();
        for (int i = 0; i < 5; i++)
        {
            backoff.After(TimeSpan.Zero);
        }

        Assert.Equal(RestartBackoff.Shortest, backoff.After(RestartBackoff.Youth));
        Assert.Equal(RestartBackoff.Shortest * 2, backoff.After(TimeSpan.Zero));
    }

    [Fact]
    public async Task The_first_worker_starts_alone_and_then_the_others()
    {
        FakeLauncher launcher = new();
        await using Supervisor supervisor = new(launcher, 4, TimeProvider.System, _ => { });
        supervisor.StartFirst();
        Assert.Single(launcher.Started);
        supervisor.StartOthers();
        Assert.Equal(4, launcher.Started.Count);
        Assert.Equal(4, supervisor.Pids.Count);
    }

    [Fact]
    public async Task A_worker_that_dies_while_the_daemon_starts_ends_the_start_with_its_exit_code()
    {
        FakeLauncher launcher = new();
        await using Supervisor supervisor = new(launcher, 4, TimeProvider.System, _ => { });
        supervisor.StartFirst();
        launcher.Started[0].End(1);
        Assert.Equal(1, await supervisor.StartFailed.WaitAsync(TimeSpan.FromSeconds(10)));
        Assert.Single(launcher.Started);
    }

    [Fact]
    public async Task A_worker_that_dies_later_is_replaced_and_that_is_reported()
    {
        FakeLauncher launcher = new();
        List<string> reports = [];
        await using Supervisor supervisor = new(launcher, 2, TimeProvider.System, reports.Add);
        supervisor.StartFirst();
        supervisor.StartOthers();
        supervisor.Settle();
        launcher.Started[1].End(137);
        await launcher.WaitForAsync(3);
        Assert.Equal("worker process 101 was killed; another one starts in 0.1 s", Assert.Single(reports));
        Assert.Equal([100, 102], supervisor.Pids.Order());
        Assert.False(supervisor.StartFailed.IsCompleted);
    }

    [Fact]
    public async Task Nobody_is_replaced_once_the_end_has_begun()
    {
        FakeLauncher launcher = new();
        await using Supervisor supervisor = new(launcher, 2, TimeProvider.System, _ => { });
        supervisor.StartFirst();
        supervisor.StartOthers();
        supervisor.Settle();
        supervisor.StopReplacing();
        launcher.Started[0].End(0);
        launcher.Started[1].End(0);
        await supervisor.EndAsync(TimeSpan.FromSeconds(10)).WaitAsync(TimeSpan.FromSeconds(10));
        Assert.Equal(2, launcher.Started.Count);
        Assert.All(launcher.Started, process => Assert.False(process.Killed));
    }

    [Fact]
    public async Task Who_does_not_leave_in_time_is_killed()
    {
        FakeLauncher launcher = new();
        await using Supervisor supervisor = new(launcher, 2, TimeProvider.System, _ => { });
        supervisor.StartFirst();
        supervisor.StartOthers();
        supervisor.Settle();
        launcher.Started[0].End(0);
        await supervisor.EndAsync(TimeSpan.FromMilliseconds(50)).WaitAsync(TimeSpan.FromSeconds(10));
        Assert.True(launcher.Started[1].Killed);
        Assert.Empty(supervisor.Pids);
    }

    private sealed class FakeLauncher : IWorkerLauncher
    {
        private readonly Lock _gate = new();

        public List<FakeProcess> Started { get; } = [];

        public IWorkerProcess Start(int slot)
        {
            lock (_gate)
            {
                FakeProcess process = new(100 + Started.Count);
                Started.Add(process);
                return process;
            }
        }

        public async Task WaitForAsync(int count)
        {
            for (int i = 0; i < 1000; i++)
            {
                lock (_gate)
                {
                    if (Started.Count >= count)
                    {
                        return;
                    }
                }

                await Task.Delay(10);
            }

            Assert.Fail($"only {Started.Count} of {count} processes were started");
        }
    }

    private sealed class FakeProcess(int pid) : IWorkerProcess
    {
        private readonly TaskCompletionSource<int> _exited = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int Pid { get; } = pid;

        public bool Killed { get; private set; }

        public Task<int> Exited => _exited.Task;

        public void End(int code) => _exited.TrySetResult(code);

        public void Kill()
        {
            Killed = true;
            End(137);
        }

        public void Dispose()
        {
            // Nothing behind it.
        }
    }
}
