using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Running;
using ZeroCopyDaemon.Benchmarks;

// dotnet run -c Release --project tests/ZeroCopyDaemon.Benchmarks -- --filter '*Ring*' [--job short]
// Results also as files beside the program, not in the directory that it is started from.
IConfig config = DefaultConfig.Instance
    .WithArtifactsPath(Path.Combine(AppContext.BaseDirectory, "results"))
    .AddColumn(StatisticColumn.OperationsPerSecond);
int summaries = BenchmarkSwitcher.FromAssembly(typeof(ChecksumBenchmarks).Assembly).Run(args, config).Count();
return summaries > 0 || args.Contains("--list") || args.Contains("--help") ? 0 : 1;
