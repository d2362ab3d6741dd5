using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>Restoring the last CRID of a long chain against the first one, same image size, page cache dropped before each.</summary>
internal sealed class ChainRestore : IScenario
{
    public string Name => "chain";

    public string Title => "Restore at the end of a chain against its beginning";

    public void Run(BenchContext context)
    {
        // Two ways of changing: a hot twentieth that is rewritten again and again, as programs do, and 1 % anywhere, the worst case.
        foreach (var (name, hot) in new[] { ("1 % of the pages, within a hot twentieth", true), ("1 % of the pages, anywhere", false) })
            Measure(context, name, hot);
    }

    private static void Measure(BenchContext context, string name, bool hot)
    {
        var length = context.Pick(500, 60);
        var mebibytes = context.Pick(256, 64);
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        var random = new Random(context.Seed);
        ulong first = 0, last = 0;
        using (var target = TargetProcess.Start("pattern_writer", $"{mebibytes}", $"{context.Seed}"))
        {
            target.Expect("ready ");
            var pages = mebibytes * 256;
            for (var i = 1; i <= length; i++)
            {
                if (i > 1 && hot) target.Ask($"write-among {pages / 20} {pages / 100}");
                else if (i > 1) target.Ask("write-permille 10");
                last = crstore.Capture(target.Pid, "--series", "chain").Crid;
                if (i == 1) first = last;
            }
        }
        var times = new Dictionary<ulong, List<double>> { [first] = [], [last] = [] };
        for (var round = 0; round < context.Pick(7, 3); round++)
            foreach (var crid in times.Keys)
            {
                var path = context.FreshPath("image");
                Directories.DropCaches();
                times[crid].Add(crstore.Call("restore", $"{crid}", "--to", path, "--format", "raw", "--quiet").Elapsed.TotalMilliseconds);
                Directory.Delete(path, recursive: true);
            }
        var report = context.Report;
        report.Line($"{mebibytes} MiB, {length} CRIDs, each time {name}; store {crstore.DiskBytes() / 1048576.0:0} MiB. `restore --format raw`, wall ms of the cold process, cold page cache:");
        report.Table(["CRID", "median", "best", "worst"], times.Select(t => new object[] { t.Key, t.Value.Median(), t.Value.Min(), t.Value.Max() }));
        report.Verdict($"CRID {last} over CRID {first} ({name})", times[last].Median() / times[first].Median(), "×", 1.1, atMost: true);
    }
}
