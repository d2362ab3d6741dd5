using Crstore.Model;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Restoring the last CRID of a long chain against the first one, same image size, in turn, by the published program as a cold
/// process, the store in the page cache; and raw again with the page cache dropped before each. The chain is written through the
/// store's own interface. Where whole pages are rewritten anywhere, the pages of the last image lie in about 3.4 times as many
/// frames, a few in each (with n pages in a frame it is 1 + 1/2 + ... + 1/n): that is the worst case.
/// </summary>
internal sealed class ChainRestore : IScenario
{
    public string Name => "chain";

    public string Title => "Restore at the end of a chain against its beginning";

    public void Run(BenchContext context)
    {
        Measure(context, "a few bytes in 1 % of the pages, anywhere", ChainChange.FewBytes);
        Measure(context, "1 % of the pages rewritten, within a hot twentieth", ChainChange.HotPages);
        Measure(context, "1 % of the pages rewritten, anywhere", ChainChange.AnyPages);
    }

    private static void Measure(BenchContext context, string what, ChainChange change)
    {
        var length = context.Pick(500, 100);
        var mebibytes = context.Pick(256, 64);
        var directory = context.FreshPath("store");
        var crids = SyntheticChain.Fill(directory, length, mebibytes * 256, change, context.Seed);
        var (first, last) = (crids[0], crids[^1]);
        var crstore = new CrstoreProgram(context.Program, directory);
        context.Report.Line($"{mebibytes} MiB, {length} CRIDs, {what}; store {crstore.DiskBytes() / 1048576.0:0} MiB. Wall ms of the cold process:");
        var rows = new List<object[]>();
        var ratios = new List<(string Where, double Value)>();
        foreach (var (format, cold) in new[] { ("raw", false), ("core", false), ("raw", true) })
        {
            var times = Restores(context, crstore, [first, last], format, cold);
            var cache = cold ? "cold" : "warm";
            rows.AddRange(times.Select(t => new object[] { format, cache, t.Key, t.Value.Median(), t.Value.Min(), t.Value.Max() }));
            ratios.Add(($"{format}, page cache {cache}", times[last].Median() / times[first].Median()));
        }

        context.Report.Table(["format", "page cache", "CRID", "median", "best", "worst"], rows);
        if (change == ChainChange.AnyPages)
            context.Report.Line($"The worst case, which does not reach 1.1 ×: {string.Join("; ", ratios.Select(r => FormattableString.Invariant($"{r.Where} {r.Value:0.00} ×")))}.");
        else
            foreach (var (where, value) in ratios) context.Report.Verdict($"CRID {last} over CRID {first}, {what}, {where}", value, "×", 1.1, atMost: true);
    }

    private static Dictionary<Crid, List<double>> Restores(BenchContext context, CrstoreProgram crstore, Crid[] crids, string format, bool cold)
    {
        var times = crids.ToDictionary(c => c, _ => new List<double>());
        for (var round = -1; round < (cold ? context.Pick(9, 3) : context.Pick(15, 5)); round++) // the first one is to warm up
            foreach (var crid in round % 2 == 0 ? crids : crids.Reverse())
            {
                var path = context.FreshPath("image");
                if (cold) Directories.DropCaches();
                else Tests.Support.Run.Command("sync", []).MustSucceed(); // what the one before wrote must not be written out now
                var elapsed = crstore.Call("restore", $"{crid}", "--to", path, "--format", format, "--quiet").Elapsed.TotalMilliseconds;
                if (round >= 0) times[crid].Add(elapsed);
                Directories.Remove(path);
            }

        return times;
    }
}
