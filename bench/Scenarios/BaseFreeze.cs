using System.Globalization;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Frozen time of a base, and of an increment of all pages, against the time that the kernel's fork(2) of that very process takes (which it tells itself, between the captures): of a process that
/// does nothing, and of one that writes pages anywhere as fast as it can. With and without a copy-on-write snapshot, in turn.
/// </summary>
internal sealed class BaseFreeze : IScenario
{
    private static readonly string[] Policies = ["auto", "always", "never"];

    public string Name => "basefreeze";

    public string Title => "Frozen time of a base: fork(2) of the process is the floor";

    public void Run(BenchContext context)
    {
        foreach (var mebibytes in context.Full ? new[] { 1024, 8192 } : [1024])
            Measure(context, mebibytes, mebibytes > 1024 ? 1 : context.Pick(5, 2));
    }

    private static void Measure(BenchContext context, int mebibytes, int rounds)
    {
        using var target = TargetProcess.Start("pattern_writer", mebibytes.ToString(CultureInfo.InvariantCulture), $"{context.Seed}");
        target.Expect("ready ");
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        foreach (var writes in new[] { false, true })
        {
            if (writes) target.Ask("start");
            var forks = new List<double>();
            var samples = new List<(string Policy, string Kind, Captured Captured)>();
            for (var round = 0; round < rounds; round++)
            {
                foreach (var policy in Policies)
                {
                    if (mebibytes > 1024 && policy == "never" && writes) continue; // seconds, and tens of GiB of writing
                    forks.Add(Fork(target));
                    samples.Add((policy, "base", crstore.Capture(target.Pid, "--series", "basefreeze", "--full", "--snapshot", policy)));
                    if (writes && mebibytes == 1024) samples.Add((policy, "increment", crstore.Capture(target.Pid, "--series", "basefreeze", "--snapshot", policy)));
                }
            }

            if (writes) target.Ask("stop");
            Report(context, $"{mebibytes} MiB, {(writes ? "writing as fast as it can" : "idle")}", forks, samples, crstore);
        }
    }

    private static void Report(BenchContext context, string what, List<double> forks, List<(string Policy, string Kind, Captured Captured)> samples, CrstoreProgram crstore)
    {
        var report = context.Report;
        report.Line($"{what}: frozen ms, in turn with fork.");
        report.Table(["", "median", "best", "worst"], [Row("fork(2)", forks), .. samples.GroupBy(s => $"{s.Kind}, --snapshot {s.Policy}").Select(g => Row(g.Key, g.Select(s => s.Captured.FrozenMs)))]);
        foreach (var policy in Policies)
        {
            if (samples.FindLast(s => s is { Kind: "base" } && s.Policy == policy).Captured is not { } last) continue;
            report.Line($"Phases of a base with --snapshot {policy}:");
            report.Table(["phase", "ms", ""], crstore.Phases(last.Crid));
        }

        foreach (var policy in new[] { "auto", "always" })
            report.Verdict($"{what}: frozen time of a base, --snapshot {policy}, over fork(2)", samples.Where(s => s.Kind == "base" && s.Policy == policy).Select(s => s.Captured.FrozenMs).Median() / forks.Median(), "×", 1.5, atMost: true);
    }

    private static double Fork(TargetProcess target)
    {
        var times = new List<double>();
        for (var i = 0; i < 3; i++) times.Add(double.Parse(target.Ask("fork")["forked ".Length..], CultureInfo.InvariantCulture) / 1e6);
        return times.Median();
    }

    private static object[] Row(string name, IEnumerable<double> values)
    {
        var all = values.ToArray();
        return [name, all.Median(), all.Min(), all.Max()];
    }
}
