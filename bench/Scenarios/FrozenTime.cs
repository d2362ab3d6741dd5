using System.Globalization;
using System.Text.RegularExpressions;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Frozen time of an increment by uffd, 1 % of the pages dirty at random, against the floor: seize + scan + memcpy of as many pages
/// (bench/floor.c), measured in turn on a second target of the same kind.
/// </summary>
internal sealed partial class FrozenTime : IScenario
{
    public string Name => "frozen";

    public string Title => "Frozen time of an increment: 1 % dirty at random, uffd";

    public void Run(BenchContext context)
    {
        var mebibytes = context.Pick(1024, 256);
        var rounds = context.Pick(21, 7);
        var size = mebibytes.ToString(CultureInfo.InvariantCulture);
        using var ours = TargetProcess.Start("pattern_writer", size, $"{context.Seed}");
        using var theirs = TargetProcess.Start("pattern_writer", size, $"{context.Seed + 1}");
        ours.Expect("ready ");
        var (address, pages) = theirs.Expect("ready ").Split(' ') switch { [var a, var p] => (a, p), _ => throw new FormatException() };
        var armed = theirs.Ask("arm").Split(' ');
        if (armed[1] == "-1") throw new InvalidOperationException("no userfaultfd with asynchronous write protection here (Linux 6.7)");
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        var first = crstore.Capture(ours.Pid, "--series", "frozen", "--tracker", "uffd");
        string[] regions = [address, pages, .. armed[2..]];
        theirs.Ask("write-permille 10");
        Floor(context, theirs.Pid, regions, 0);

        var samples = new List<(Captured Ours, double[] Floor)>();
        for (var round = 1; round <= rounds; round++)
        {
            ours.Ask("write-permille 10");
            theirs.Ask("write-permille 10");
            var floor = Floor(context, theirs.Pid, regions, round);
            samples.Add((crstore.Capture(ours.Pid, "--series", "frozen", "--tracker", "uffd"), floor));
        }

        var report = context.Report;
        report.Line($"{mebibytes} MiB resident; {rounds} increments after CRID {first.Crid}, in turn with the floor. All in ms; readv: process_vm_readv of the dirty pages instead of memcpy.");
        report.Table(["", "median", "best", "worst"],
        [
            Row("crstore, frozen", samples.Select(s => s.Ours.FrozenMs)),
            Row("floor: seize + scan + memcpy", samples.Select(s => s.Floor[0] + s.Floor[1] + s.Floor[2])),
            Row("  seize", samples.Select(s => s.Floor[0])),
            Row("  scan", samples.Select(s => s.Floor[1])),
            Row("  memcpy", samples.Select(s => s.Floor[2])),
            Row("with readv: seize + scan + readv", samples.Select(s => s.Floor[0] + s.Floor[1] + s.Floor[3])),
            Row("crstore, wall", samples.Select(s => s.Ours.WallMs)),
        ]);
        var last = samples[^1].Ours;
        report.Line($"Dirty pages in the last one: {last.Dirty} here, {samples[^1].Floor[4]} in the floor; tracker {last.Tracker}; verified afterwards: {ours.Ask("verify")}. Its phases:");
        report.Table(["phase", "ms", ""], crstore.Phases(last.Crid));
        report.Verdict("frozen time over the floor, medians", samples.Select(s => s.Ours.FrozenMs).Median()
            / samples.Select(s => s.Floor[0] + s.Floor[1] + s.Floor[2]).Median(), "×", 3, atMost: true);
    }

    private static object[] Row(string name, IEnumerable<double> values)
    {
        var all = values.ToArray();
        return [name, all.Median(), all.Min(), all.Max()];
    }

    /// <summary>Seize, scan, memcpy, readv in ms, and the number of dirty pages.</summary>
    private static double[] Floor(BenchContext context, int pid, string[] regions, int round)
    {
        var line = Tests.Support.Run.Command(context.FloorProgram, [$"{pid}", $"{context.Seed + round}", .. regions]).MustSucceed().Output;
        var values = Numbers().Matches(line).Select(m => double.Parse(m.Value, CultureInfo.InvariantCulture)).ToArray();
        return [values[0] / 1e6, values[1] / 1e6, values[2] / 1e6, values[3] / 1e6, values[4]];
    }

    [GeneratedRegex(@"\d+")]
    private static partial Regex Numbers();
}
