using System.Globalization;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Frozen time of an increment against how much of the process was written since the checkpoint before, from next to nothing to two fifths of it. In turn: with rounds
/// before the freeze (the default: all freezes, and the last), without, the floor on a second target of the same kind (bench/floor.c), and what fork(2) makes that one stand still.
/// </summary>
internal sealed class FrozenByDirty : IScenario
{
    private static readonly int[] Permille = [1, 5, 10, 25, 50, 100, 200, 400];

    public string Name => "dirty";

    public string Title => "Frozen time of an increment against dirty MB, uffd";

    public void Run(BenchContext context)
    {
        var (mebibytes, rounds) = context.Pick((1024, 5), (256, 3));
        var size = mebibytes.ToString(CultureInfo.InvariantCulture);
        using var ours = TargetProcess.Start("pattern_writer", size, $"{context.Seed}");
        using var theirs = TargetProcess.Start("pattern_writer", size, $"{context.Seed + 1}");
        ours.Expect("ready ");
        var ready = theirs.Expect("ready ").Split(' ');
        var forks = Enumerable.Range(0, rounds).Select(_ => Fork(theirs)).ToList(); // before it is armed: a fork takes the marks along
        var armed = theirs.Ask("arm").Split(' ');
        if (armed[1] == "-1") throw new InvalidOperationException("no userfaultfd with asynchronous write protection here (Linux 6.7)");
        var floor = new FreezeFloor(context, (ulong)mebibytes * 256, [$"{theirs.Pid}", .. ready, .. armed[2..]]);
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        crstore.Capture(ours.Pid, "--series", "dirty", "--tracker", "uffd");

        var rows = new List<Row>();
        foreach (var permille in Permille)
        {
            var samples = Enumerable.Range(0, rounds).Select(_ => Measure(crstore, ours, theirs, floor, permille)).ToList();
            rows.Add(new Row(permille / 1000.0 * mebibytes, Median(samples, s => s.InRoundsMs), Median(samples, s => s.LastMs), Median(samples, s => s.AtOnceMs),
                Median(samples, s => s.FloorMs), Median(samples, s => s.ReadvMs)));
        }

        var fork = forks.Median();
        var report = context.Report;
        report.Line($"{mebibytes} MiB resident; medians of {rounds}, in turn; ms. Verified afterwards: {ours.Ask("verify")}.");
        report.Table(["dirty MiB", "crstore: all freezes", "the last of them", "in one freeze (--pre-copy never)", "floor: seize + scan + memcpy", "with readv", "all freezes over the floor", "fork(2)"],
            [.. rows.Select(r => new object[] { r.DirtyMib, r.InRounds, r.Last, r.AtOnce, r.Floor, r.Readv, r.InRounds / r.Floor, fork })]);
        report.Plot("frozen-dirty", new LinePlot("Frozen time of an increment against what was written", "dirty MiB", "ms", LogX: true, LogY: true)
            .With("crstore, all freezes", rows.Select(r => (r.DirtyMib, r.InRounds)))
            .With("crstore, its last freeze", rows.Select(r => (r.DirtyMib, r.Last)))
            .With("crstore, --pre-copy never", rows.Select(r => (r.DirtyMib, r.AtOnce)))
            .With("floor: seize + scan + memcpy", rows.Select(r => (r.DirtyMib, r.Floor)))
            .With("the same with process_vm_readv", rows.Select(r => (r.DirtyMib, r.Readv)))
            .With("fork(2) of the process", rows.Select(r => (r.DirtyMib, fork))));
    }

    private static Sample Measure(CrstoreProgram crstore, TargetProcess ours, TargetProcess theirs, FreezeFloor floor, int permille)
    {
        var write = $"write-permille {permille}";
        ours.Ask(write);
        var inRounds = crstore.Capture(ours.Pid, "--series", "dirty", "--tracker", "uffd");
        theirs.Ask(write);
        var least = floor.Measure();
        ours.Ask(write);
        var atOnce = crstore.Capture(ours.Pid, "--series", "dirty", "--tracker", "uffd", "--pre-copy", "never");
        return new Sample(inRounds.FrozenMs, crstore.LastFreezeMs(inRounds.Crid), atOnce.FrozenMs, least.TotalMs, least.ReadingMs);
    }

    // "forked NS"
    private static double Fork(TargetProcess target) => double.Parse(target.Ask("fork").Split(' ')[1], CultureInfo.InvariantCulture) / 1e6;

    private static double Median(IEnumerable<Sample> samples, Func<Sample, double> of) => samples.Select(of).Median();

    private sealed record Sample(double InRoundsMs, double LastMs, double AtOnceMs, double FloorMs, double ReadvMs);

    private sealed record Row(double DirtyMib, double InRounds, double Last, double AtOnce, double Floor, double Readv);
}
