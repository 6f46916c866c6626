using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Simulation;

namespace ZeroCopyDaemon.FaultySimulationTests;

/// <summary>A check that the checks work: with any of the stack's deliberate faults switched on, the simulation must fail.</summary>
public sealed class FaultySimulationTests(ITestOutputHelper output)
{
    private const ulong FirstSeed = 1;
    private const int Seeds = 60;

    public static TheoryData<string> AllFaults => [.. Enum.GetNames<Fault>().Where(name => name != nameof(Fault.None))];

    [Fact]
    public void There_are_at_least_five_faults_to_find() => Assert.True(AllFaults.Count >= 5);

    [Fact]
    public void Without_a_fault_the_seeds_pass()
    {
        SimResult[] results = [.. Run(Fault.None, stopAtFailure: false)];
        Assert.Equal(Seeds, results.Length);
        Assert.All(results, result => Assert.True(result.Ok, $"zcd sim --seed {result.Seed}: {result.Failure}"));
    }

    [Theory]
    [MemberData(nameof(AllFaults))]
    public void With_a_fault_the_simulation_fails(string name)
    {
        SimResult? found = Run(Enum.Parse<Fault>(name), stopAtFailure: true).FirstOrDefault(result => !result.Ok);
        string report = $"{name}: {(found is null ? $"not found in {Seeds} seeds" : $"found by seed {found.Seed}: {found.Failure!.Split('\n')[0]}")}";
        output.WriteLine($"[figure] {report}");
        Assert.True(found is not null, report);
    }

    private static IEnumerable<SimResult> Run(Fault fault, bool stopAtFailure)
    {
        for (ulong seed = FirstSeed; seed < FirstSeed + Seeds; seed++)
        {
            SimResult result;
            Faults.Active = fault;
            try
            {
                result = SimRunner.Run(seed);
            }
            finally
            {
                Faults.Active = Fault.None;
            }

            yield return result;
            if (stopAtFailure && !result.Ok)
            {
                yield break;
            }
        }
    }
}
