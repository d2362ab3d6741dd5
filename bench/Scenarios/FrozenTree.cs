using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>Frozen time of an increment of a tree: 3 processes of 16 threads each, 100 MiB dirty in all, against the floor on a second tree of the same kind.</summary>
internal sealed class FrozenTree : IScenario
{
    private const int Processes = 3, Threads = 16;

    public string Name => "tree";

    public string Title => $"Frozen time of an increment of a tree: {Processes} processes × {Threads} threads, 100 MiB dirty, uffd";

    public void Run(BenchContext context)
    {
        var (mebibytes, dirty, rounds) = context.Pick((256, 100 * 256, 21), (64, 25 * 256, 7));
        string[] arguments = [$"{Processes}", $"{Threads}", $"{mebibytes}"];
        using var ours = TargetProcess.Start(context.Tool("writers"), arguments);
        using var theirs = TargetProcess.Start(context.Tool("writers"), arguments);
        ours.Expect("ready");
        theirs.Expect("ready");
        var floor = new FreezeFloor(context, (ulong)dirty + 4096, FreezeFloor.Armed(theirs.Ask("arm")));
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        string[] options = ["--tree", "--series", "tree", "--tracker", "uffd"];
        crstore.Capture(ours.Pid, options);
        var write = $"write {dirty / Processes}";
        theirs.Ask(write);
        floor.Measure();
        var samples = new List<(Captured Ours, double LastMs, FloorTimes Floor)>();
        for (var i = 0; i < rounds; i++)
        {
            ours.Ask(write);
            theirs.Ask(write);
            var least = floor.Measure();
            var captured = crstore.Capture(ours.Pid, options);
            samples.Add((captured, crstore.LastFreezeMs(captured.Crid), least));
        }

        var report = context.Report;
        report.Line($"{Processes} × {mebibytes} MiB resident; {rounds} increments, in turn with the floor. All in ms.");
        report.Table(["", "median", "best", "worst"],
        [
            FreezeFloor.Row("crstore, frozen in all", samples.Select(s => s.Ours.FrozenMs)),
            FreezeFloor.Row("  its last freeze", samples.Select(s => s.LastMs)),
            FreezeFloor.Row("floor: seize + scan + memcpy", samples.Select(s => s.Floor.TotalMs)),
            FreezeFloor.Row("  seize", samples.Select(s => s.Floor.SeizeMs)),
            FreezeFloor.Row("with readv: seize + scan + readv", samples.Select(s => s.Floor.ReadingMs)),
            FreezeFloor.Row("crstore, wall", samples.Select(s => s.Ours.WallMs)),
        ]);
        report.Line($"Dirty pages in the last one: {samples[^1].Ours.Dirty} here, {samples[^1].Floor.Pages} in the floor. Its phases:");
        report.Table(["phase", "ms", ""], crstore.Phases(samples[^1].Ours.Crid));
        report.Verdict("frozen in all over the floor, medians", samples.Select(s => s.Ours.FrozenMs).Median() / samples.Select(s => s.Floor.TotalMs).Median(), "×", 2, atMost: true);
    }
}
