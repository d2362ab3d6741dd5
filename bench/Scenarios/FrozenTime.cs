using System.Globalization;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Frozen time of an increment by uffd, 1 % of the pages dirty at random, against the floor: seize + scan + memcpy of as many pages
/// (bench/floor.c), measured in turn on a second target of the same kind.
/// </summary>
internal sealed class FrozenTime : IScenario
{
    public string Name => "frozen";

    public string Title => "Frozen time of an increment: 1 % dirty at random, uffd";

    public void Run(BenchContext context)
    {
        var mebibytes = context.Pick(1024, 256);
        var rounds = context.Pick(200, 7);
        var size = mebibytes.ToString(CultureInfo.InvariantCulture);
        using var ours = TargetProcess.Start("pattern_writer", size, $"{context.Seed}");
        using var theirs = TargetProcess.Start("pattern_writer", size, $"{context.Seed + 1}");
        ours.Expect("ready ");
        var (address, pages) = theirs.Expect("ready ").Split(' ') switch { [var a, var p] => (a, p), _ => throw new FormatException() };
        var armed = theirs.Ask("arm").Split(' ');
        if (armed[1] == "-1") throw new InvalidOperationException("no userfaultfd with asynchronous write protection here (Linux 6.7)");
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        var first = crstore.Capture(ours.Pid, "--series", "frozen", "--tracker", "uffd");
        var floor = new FreezeFloor(context, 65536, [$"{theirs.Pid}", address, pages, .. armed[2..]]);
        theirs.Ask("write-permille 10");
        floor.Measure();

        var samples = new List<Sample>();
        for (var i = 0; i < rounds; i++)
        {
            ours.Ask("write-permille 10");
            theirs.Ask("write-permille 10");
            var least = floor.Measure();
            var stolen = Machine.StolenSeconds();
            var capture = crstore.Capture(ours.Pid, "--series", "frozen", "--tracker", "uffd");
            samples.Add(new Sample(capture, least, (Machine.StolenSeconds() - stolen) * 1000));
        }

        var report = context.Report;
        report.Line($"{mebibytes} MiB resident; {rounds} increments after CRID {first.Crid}, in turn with the floor. All in ms; readv: process_vm_readv of the dirty pages instead of memcpy.");
        report.Table(["", "median", "best", "worst", "99th percentile"],
        [
            Row("crstore, frozen", s => s.Ours.FrozenMs),
            Row("floor: seize + scan + memcpy", s => s.Floor.TotalMs),
            Row("  seize", s => s.Floor.SeizeMs),
            Row("  scan", s => s.Floor.ScanMs),
            Row("  memcpy", s => s.Floor.MemcpyMs),
            Row("with readv: seize + scan + readv", s => s.Floor.ReadingMs),
            Row("crstore, wall", s => s.Ours.WallMs),
        ]);
        report.Line($"The longest freezes, phase by phase, with the floor right before each; stolen: what the hypervisor kept from both processors during the whole capture (counted by 10 ms; something in {samples.Count(s => s.StolenMs > 0)} of the {rounds} captures). Last row: the median one.");
        var order = samples.OrderByDescending(s => s.Ours.FrozenMs).ToList();
        var shown = order.Take(Math.Min(4, rounds - 1)).Append(order[rounds / 2]).ToList();
        var phases = shown.ConvertAll(s => crstore.Phases(s.Ours.Crid).Where(p => $"{p[2]}" == "frozen").ToList());
        report.Table(["frozen", .. phases[0].Select(p => $"{p[0]}"), "floor", "stolen"],
            [.. shown.Zip(phases, (s, p) => (object[])[s.Ours.FrozenMs, .. p.Select(phase => phase[1]), s.Floor.TotalMs, s.StolenMs])]);
        var last = samples[^1].Ours;
        report.Line($"Dirty pages in the last one: {last.Dirty} here, {samples[^1].Floor.Pages} in the floor; tracker {last.Tracker}; verified afterwards: {ours.Ask("verify")}. Its phases:");
        report.Table(["phase", "ms", ""], crstore.Phases(last.Crid));
        var floorMs = samples.Select(s => s.Floor.TotalMs).Median();
        report.Verdict("frozen time over the floor, medians", samples.Select(s => s.Ours.FrozenMs).Median() / floorMs, "×", 1.5, atMost: true);
        report.Verdict($"99th percentile of the frozen time over the median floor, of {samples.Count}", samples.Select(s => s.Ours.FrozenMs).Percentile(99) / floorMs, "×", 3, atMost: true);
        report.Line($"The floor's own 99th percentile is {samples.Select(s => s.Floor.TotalMs).Percentile(99) / floorMs:0.00} × its median.");

        object[] Row(string name, Func<Sample, double> value) => [.. FreezeFloor.Row(name, samples.Select(value)), samples.Select(value).Percentile(99)];
    }

    private sealed record Sample(Captured Ours, FloorTimes Floor, double StolenMs);
}
