namespace Crstore.Bench.Scenarios;

/// <summary>
/// Base capture of real process memory, durable, against SHA-256 and zstd in one pipeline on all cores over the very pages that the capture
/// stored (<see cref="PipelineFloor"/>).
/// </summary>
internal sealed class BaseThroughput : IScenario
{
    public string Name => "base";

    public string Title => "Base capture of real process memory (redis, python3, node)";

    public void Run(BenchContext context)
    {
        using var target = new RealMemory(context, RealMemory.Three, context.Seed);
        var runs = new List<(Captured Capture, double Floor, double Sha, double Zstd)>();
        CrstoreProgram crstore = null!;
        var megabytes = 0.0;
        for (var i = 0; i < context.Pick(5, 3); i++)
        {
            crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
            var capture = crstore.Capture(target.Pid, "--tree", "--series", "base", "--full");
            var floor = new PipelineFloor(crstore.Store, capture);
            megabytes = floor.ContentBytes / 1e6;
            runs.Add((capture, floor.Seconds(), floor.HashSeconds(), floor.CompressSeconds()));
        }

        var report = context.Report;
        report.Line($"{megabytes:0} MB of pages with content, a fresh store each time; wall: the whole cold process, durable at its end. Cores for the limits: {Environment.ProcessorCount}.");
        report.Table(["run", "wall MB/s", "total MB/s", "frozen ms", "stored MiB", "floor MB/s", "SHA-256 alone", "zstd-1 alone"], runs.Select((r, i) => new object[]
        {
            i + 1, megabytes / r.Capture.WallMs * 1000, megabytes / r.Capture.TotalMs * 1000, r.Capture.FrozenMs,
            r.Capture.BytesStored / 1048576.0, megabytes / r.Floor, megabytes / r.Sha, megabytes / r.Zstd,
        }));
        report.Line("Phases of the last one:");
        report.Table(["phase", "ms", ""], crstore.Phases(runs[^1].Capture.Crid));
        report.Figure("durable throughput, medians", runs.Select(r => megabytes / r.Capture.WallMs * 1000).Median(), runs.Select(r => megabytes / r.Floor).Median(), "MB/s",
            "SHA-256 and zstd-1 in one pipeline", 0.85, atMost: false);
    }
}
