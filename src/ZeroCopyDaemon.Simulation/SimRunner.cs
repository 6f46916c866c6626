using ZeroCopyDaemon.Memory;

namespace ZeroCopyDaemon.Simulation;

/// <summary>Runs simulations. A seed alone reproduces a run, on every machine. Stateless; runs of different seeds may go on at the same time on different threads.</summary>
public static class SimRunner
{
    /// <summary>Runs the scenario that a seed draws. With <paramref name="trace"/>, writes a line for each frame and event. Never throws for a promise that does not hold.</summary>
    public static SimResult Run(ulong seed, TextWriter? trace = null) => Run(SimScenario.FromSeed(seed), trace);

    /// <summary>Runs a scenario.</summary>
    public static SimResult Run(SimScenario scenario, TextWriter? trace = null)
    {
        ArgumentNullException.ThrowIfNull(scenario);
        trace?.WriteLine(Describe(scenario));
        SimWorld? world = null;
        string? failure = null;
        try
        {
            world = new SimWorld(scenario, trace);
            world.Run();
        }
        catch (Exception e) when (e is SimFailureException or InvariantViolationException)
        {
            failure = e.Message;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            failure = $"the stack threw: {e}";
        }

        try
        {
            SimResult result = ResultOf(scenario, world, failure);
            trace?.WriteLine(result.ToString());
            return result;
        }
        finally
        {
            world?.Dispose();
        }
    }

    /// <summary>Runs <paramref name="count"/> seeds from <paramref name="first"/> on, several at a time, and adds them up. <paramref name="each"/> sees each result as it comes, one at a time.</summary>
    public static SimTotals RunMany(ulong first, long count, int parallelism = 0, Action<SimResult>? each = null, CancellationToken stop = default)
    {
        var totals = new SimTotals();
        var options = new ParallelOptions { MaxDegreeOfParallelism = parallelism > 0 ? parallelism : Environment.ProcessorCount, CancellationToken = stop };
        Parallel.For(0, count, options, i =>
        {
            SimResult result = Run(first + (ulong)i);
            lock (totals)
            {
                totals.Add(result);
                each?.Invoke(result);
            }
        });
        totals.Failures.Sort((a, b) => a.Seed.CompareTo(b.Seed));
        return totals;
    }

    /// <summary>The scenario as text.</summary>
    public static string Describe(SimScenario scenario)
    {
        ArgumentNullException.ThrowIfNull(scenario);
        var lines = new List<string>
        {
            $"seed {scenario.Seed}, clock starts at {scenario.StartUs} us{(scenario.BytesToWrap == 0 ? "" : $", {scenario.BytesToWrap} sequence numbers before they wrap")}",
            scenario.Wire.ToString(),
            $"A: {scenario.A}",
            $"B: {scenario.B}",
        };
        lines.AddRange(scenario.Connections.Select((connection, i) => $"connection {i}: {connection}"));
        return string.Join(Environment.NewLine, lines);
    }

    private static SimResult ResultOf(SimScenario scenario, SimWorld? world, string? failure)
    {
        if (world is null)
        {
            return new SimResult { Seed = scenario.Seed, Failure = failure, Ipv6 = scenario.Ipv6 };
        }

        return new SimResult
        {
            Seed = scenario.Seed,
            Failure = failure,
            Ipv6 = scenario.Ipv6,
            BytesToA = world.Ends.Where(end => end.Host.Name == "A").Sum(end => end.Receiver.Position),
            BytesToB = world.Ends.Where(end => end.Host.Name == "B").Sum(end => end.Receiver.Position),
            Frames = world.Wire.Frames,
            WireDrops = world.Wire.Lost + world.Wire.QueueDropped,
            Duplicated = world.Wire.Duplicated,
            Reordered = world.Wire.Reordered,
            Corrupted = world.Wire.Corrupted,
            Retransmits = world.RepeatedSegments,
            Wrapped = world.Wrapped,
            Drops = DropVisitor.Of(world.VisitCounters),
            States = world.States,
            SimultaneousOpen = world.Ends.Any(end => end.OpenedSimultaneously),
            Aborted = scenario.Connections.Count(connection => connection.Aborts),
            VirtualUs = world.NowUs - world.StartUs,
            Hash = world.Hash,
        };
    }
}
