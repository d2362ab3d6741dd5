using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Base capture of real process memory, durable, against SHA-256 and zstd in one pipeline on all cores over the very pages that the capture
/// stored (<see cref="PipelineFloor"/>), by size. What a capture takes whatever its size, which is that of a process of a megabyte, is told apart.
/// </summary>
internal sealed class BaseThroughput : IScenario
{
    public string Name => "base";

    public string Title => "Base capture of real process memory (redis, python3, node)";

    public void Run(BenchContext context)
    {
        var fixedMs = Fixed(context);
        foreach (var mebibytes in context.Full ? new[] { 256, 1024 } : [192]) Measure(context, mebibytes, fixedMs);
    }

    /// <summary>Wall milliseconds of a base of next to nothing into a fresh store, median.</summary>
    private static double Fixed(BenchContext context)
    {
        using var small = TargetProcess.Start("pattern_writer", "1", $"{context.Seed}");
        small.Expect("ready ");
        var captures = Enumerable.Range(0, context.Pick(9, 5)).Select(_ => new CrstoreProgram(context.Program, context.FreshPath("store")).Capture(small.Pid, "--series", "base", "--full")).ToList();
        var median = captures.Select(c => c.WallMs).Median();
        context.Report.Line($"A base of a process of 1 MiB, a fresh store each time: {median:0} ms (best {captures.Min(c => c.WallMs):0}).");
        return median;
    }

    private static void Measure(BenchContext context, int mebibytes, double fixedMs)
    {
        using var target = new RealMemory(context, RealMemory.Three, context.Seed, mebibytes);
        var runs = new List<(Captured Capture, double CpuSeconds, double Floor, double FloorCpu, double Sha, double Zstd)>();
        CrstoreProgram crstore = null!;
        var megabytes = 0.0;
        for (var i = 0; i < context.Pick(5, 3); i++)
        {
            crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
            var before = CrstoreProgram.EndedChildrenCpuSeconds();
            var capture = crstore.Capture(target.Pid, "--tree", "--series", "base", "--full");
            var cpu = CrstoreProgram.EndedChildrenCpuSeconds() - before;
            var floor = new PipelineFloor(crstore.Store, capture);
            megabytes = floor.ContentBytes / 1e6;
            var both = floor.Seconds();
            runs.Add((capture, cpu, both, floor.CpuSeconds, floor.HashSeconds(), floor.CompressSeconds()));
        }

        var report = context.Report;
        report.Line($"{megabytes:0} MB of pages with content, a fresh store each time; wall: the whole cold process, durable at its end. Cores for the floor: {Environment.ProcessorCount}.");
        report.Table(["run", "wall MB/s", "total MB/s", "frozen ms", "stored MiB", "floor MB/s", "SHA-256 alone", "zstd-1 alone", "CPU s", "floor's CPU s"], runs.Select((r, i) => new object[]
        {
            i + 1, megabytes / r.Capture.WallMs * 1000, megabytes / r.Capture.TotalMs * 1000, r.Capture.FrozenMs,
            r.Capture.BytesStored / 1048576.0, megabytes / r.Floor, megabytes / r.Sha, megabytes / r.Zstd, r.CpuSeconds, r.FloorCpu,
        }));
        report.Line("Phases of the last one:");
        report.Table(["phase", "ms", ""], crstore.Phases(runs[^1].Capture.Crid));
        var (wall, pipeline) = (runs.Select(r => r.Capture.WallMs / 1000).Median(), runs.Select(r => r.Floor).Median());
        report.Line($"Processor time {runs.Select(r => r.FloorCpu / r.CpuSeconds).Median():0.00} × (floor over ours, medians). Without the fixed part {megabytes / (wall - fixedMs / 1000):0} MB/s, {pipeline / (wall - fixedMs / 1000):0.00} × of the floor.");
        report.Figure($"durable throughput, {megabytes:0} MB, medians", megabytes / wall, megabytes / pipeline, "MB/s", "SHA-256 and zstd-1 in one pipeline", 0.85, atMost: false);
    }
}
