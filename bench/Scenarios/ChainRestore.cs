using Crstore.Model;
using Crstore.Store;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Restoring the last CRID of a long chain against the first one, same image size, in turn, by the published program as a cold
/// process, the store in the page cache; and raw again with the page cache dropped before each. The chain is written through the
/// store's own interface. Of a chain with changes anywhere, the pages of the last image lie in about 3.4 times as many frames,
/// a few in each (with n pages in a frame it is 1 + 1/2 + ... + 1/n): that is the worst case.
/// </summary>
internal sealed class ChainRestore : IScenario
{
    public string Name => "chain";

    public string Title => "Restore at the end of a chain against its beginning";

    public void Run(BenchContext context)
    {
        // Two ways of changing: a hot twentieth that is rewritten again and again, as programs do, and 1 % anywhere, the worst case.
        Measure(context, "within a hot twentieth", 20);
        Measure(context, "anywhere", 1);
    }

    private static void Measure(BenchContext context, string where, int share)
    {
        var length = context.Pick(500, 100);
        var mebibytes = context.Pick(256, 64);
        var directory = context.FreshPath("store");
        var (first, last) = Fill(directory, length, (ulong)mebibytes * 256, (ulong)share, context.Seed);
        var crstore = new CrstoreProgram(context.Program, directory);
        context.Report.Line($"{mebibytes} MiB, {length} CRIDs, each with 1 % of the pages rewritten, {where}; store {crstore.DiskBytes() / 1048576.0:0} MiB. Wall ms of the cold process:");
        var rows = new List<object[]>();
        var verdicts = new List<(string What, double Value)>();
        foreach (var (format, cold) in new[] { ("raw", false), ("core", false), ("raw", true) })
        {
            var times = Restores(context, crstore, [first, last], format, cold);
            var cache = cold ? "cold" : "warm";
            rows.AddRange(times.Select(t => new object[] { format, cache, t.Key, t.Value.Median(), t.Value.Min(), t.Value.Max() }));
            verdicts.Add(($"CRID {last} over CRID {first}, changes {where}, {format}, page cache {cache}", times[last].Median() / times[first].Median()));
        }

        context.Report.Table(["format", "page cache", "CRID", "median", "best", "worst"], rows);
        foreach (var (what, value) in verdicts) context.Report.Verdict(what, value, "×", 1.1, atMost: true);
    }

    private static Dictionary<Crid, List<double>> Restores(BenchContext context, CrstoreProgram crstore, Crid[] crids, string format, bool cold)
    {
        var times = crids.ToDictionary(c => c, _ => new List<double>());
        for (var round = -1; round < context.Pick(7, 3); round++) // the first one is to warm up
            foreach (var crid in round % 2 == 0 ? crids : crids.Reverse())
            {
                var path = context.FreshPath("image");
                if (cold) Directories.DropCaches();
                else Tests.Support.Run.Command("sync", []).MustSucceed(); // what the one before wrote must not be written out now
                var elapsed = crstore.Call("restore", $"{crid}", "--to", path, "--format", format, "--quiet").Elapsed.TotalMilliseconds;
                if (round >= 0) times[crid].Add(elapsed);
                if (Directory.Exists(path)) Directory.Delete(path, recursive: true);
                else File.Delete(path);
            }

        return times;
    }

    private static (Crid First, Crid Last) Fill(string directory, int length, ulong pages, ulong share, int seed)
    {
        var random = new Random(seed);
        var series = new SyntheticSeries("chain", pages);
        using var store = CheckpointStore.OpenOrCreate(new StoreOptions(directory), out _);
        var first = series.Add(store, Content(Enumerable.Range(0, (int)pages).Select(p => (ulong)p), seed, 1));
        var last = first;
        for (var i = 2; i <= length; i++)
        {
            var changed = new SortedSet<ulong>();
            while (changed.Count < (int)pages / 100) changed.Add((ulong)random.NextInt64((long)(pages / share)));
            last = series.Add(store, Content(changed, seed, (ulong)i));
        }
        return (first, last);
    }

    private static IEnumerable<(ulong, ReadOnlyMemory<byte>)> Content(IEnumerable<ulong> pages, int seed, ulong generation)
    {
        var content = new byte[VirtualPage.Size];
        foreach (var page in pages)
        {
            Pattern.Fill(content, (ulong)seed, generation, page);
            yield return (page, content);
        }
    }
}
