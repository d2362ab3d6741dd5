using Crstore.Model;
using Crstore.Store;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Restoring the last CRID of a long chain against the first one, same image size, by the published program as a cold process,
/// page cache dropped before each. The chain is written through the store's own interface.
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
        var times = new Dictionary<Crid, List<double>> { [first] = [], [last] = [] };
        for (var round = 0; round < context.Pick(7, 3); round++)
            foreach (var crid in times.Keys)
            {
                var path = context.FreshPath("image");
                Directories.DropCaches();
                times[crid].Add(crstore.Call("restore", $"{crid}", "--to", path, "--format", "raw", "--quiet").Elapsed.TotalMilliseconds);
                Directory.Delete(path, recursive: true);
            }
        var report = context.Report;
        report.Line($"{mebibytes} MiB, {length} CRIDs, each with 1 % of the pages rewritten, {where}; store {crstore.DiskBytes() / 1048576.0:0} MiB. `restore --format raw`, wall ms of the cold process, cold page cache:");
        report.Table(["CRID", "median", "best", "worst"], times.Select(t => new object[] { t.Key, t.Value.Median(), t.Value.Min(), t.Value.Max() }));
        report.Verdict($"CRID {last} over CRID {first}, changes {where}", times[last].Median() / times[first].Median(), "×", 1.1, atMost: true);
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
