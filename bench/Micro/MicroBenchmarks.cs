using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Exporters;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;

namespace Crstore.Bench.Micro;

/// <summary>The micro benchmarks, by BenchmarkDotNet in this process.</summary>
internal sealed class MicroBenchmarks : IScenario
{
    public string Name => "micro";

    public string Title => "Micro benchmarks";

    public void Run(BenchContext context)
    {
        var job = (context.Full ? Job.MediumRun.WithLaunchCount(1) : Job.ShortRun).WithToolchain(InProcessEmitToolchain.Instance);
        var config = ManualConfig.CreateEmpty().AddJob(job).AddLogger(NullLogger.Instance)
            .AddColumnProvider(DefaultConfig.Instance.GetColumnProviders().ToArray())
            .WithArtifactsPath(context.FreshPath("benchmarkdotnet"));
        foreach (var type in new[] { typeof(PageBenchmarks), typeof(ContentAddressBench), typeof(FrameBenchmarks), typeof(PageMapBenchmarks) })
        {
            var summary = BenchmarkRunner.Run(type, config);
            var text = new AccumulationLogger();
            MarkdownExporter.GitHub.ExportToLog(summary, text);
            var lines = text.GetLog().Split('\n');
            context.Report.Line($"{type.Name}:");
            foreach (var line in lines.Where(l => l.StartsWith('|'))) context.Report.Line(line.TrimEnd());
            context.Report.Line();
        }
    }
}
