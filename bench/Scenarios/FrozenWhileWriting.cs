using System.Globalization;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Frozen time of an increment while a thread of the target writes anywhere in its memory as fast as it can: rounds before the freeze must converge, or be given up.
/// The floor is that of the last freeze: what a second target of the same kind has written since a scan as long before as the last round took.
/// </summary>
internal sealed class FrozenWhileWriting : IScenario
{
    public string Name => "writing";

    public string Title => "Frozen time of an increment while the target writes as fast as it can, uffd";

    public void Run(BenchContext context)
    {
        var mebibytes = context.Pick(1024, 256);
        var rounds = context.Pick(15, 5);
        var size = mebibytes.ToString(CultureInfo.InvariantCulture);
        using var ours = TargetProcess.Start(context.Tool("writers"), "1", "1", size);
        using var theirs = TargetProcess.Start(context.Tool("writers"), "1", "1", size);
        ours.Expect("ready");
        theirs.Expect("ready");
        var floor = new FreezeFloor(context, (ulong)mebibytes * 256, FreezeFloor.Armed(theirs.Ask("arm")));
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        crstore.Capture(ours.Pid, "--series", "writing", "--tracker", "uffd");
        var samples = new List<(Captured Ours, double LastMs, double RoundMs, int Rounds, FloorTimes Floor)>();
        for (var i = 0; i < rounds; i++)
        {
            ours.Ask("start");
            Thread.Sleep(500);
            var captured = crstore.Capture(ours.Pid, "--series", "writing", "--tracker", "uffd");
            ours.Ask("stop");
            var reads = crstore.Phases(captured.Crid).Where(p => $"{p[0]}".EndsWith("pre-copy", StringComparison.Ordinal)).Select(p => (double)p[1]).ToList();

            theirs.Ask("start");
            floor.Measure();
            Thread.Sleep((int)reads.LastOrDefault(500));
            samples.Add((captured, crstore.LastFreezeMs(captured.Crid), reads.LastOrDefault(), reads.Count, floor.Measure()));
            theirs.Ask("stop");
        }

        var report = context.Report;
        report.Line($"{mebibytes} MiB resident; {rounds} increments, in turn with the floor. All in ms.");
        report.Table(["", "median", "best", "worst"],
        [
            FreezeFloor.Row("crstore, frozen in all", samples.Select(s => s.Ours.FrozenMs)),
            FreezeFloor.Row("  its last freeze", samples.Select(s => s.LastMs)),
            FreezeFloor.Row("  rounds before it", samples.Select(s => (double)s.Rounds)),
            FreezeFloor.Row("  the last of them, running", samples.Select(s => s.RoundMs)),
            FreezeFloor.Row("floor of the last freeze", samples.Select(s => s.Floor.TotalMs)),
            FreezeFloor.Row("  pages copied", samples.Select(s => s.Floor.Pages)),
            FreezeFloor.Row("crstore, pages read in all", samples.Select(s => (double)s.Ours.Dirty)),
        ]);
        report.Line($"The phases of the last one:");
        report.Table(["phase", "ms", ""], crstore.Phases(samples[^1].Ours.Crid));
        var least = samples.Select(s => s.Floor.TotalMs).Median();
        report.Verdict("last freeze over its floor, medians", samples.Select(s => s.LastMs).Median() / least, "×", 3, atMost: true);
        report.Verdict("frozen in all over the floor of the last freeze, medians", samples.Select(s => s.Ours.FrozenMs).Median() / least, "×", 3, atMost: true);
    }
}
