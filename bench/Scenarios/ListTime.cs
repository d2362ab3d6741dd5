using Crstore.Model;
using Crstore.Store;

namespace Crstore.Bench.Scenarios;

/// <summary>`crstore list` on a store of 1000 CRIDs. The store is filled through its own interface.</summary>
internal sealed class ListTime : IScenario
{
    private const int Count = 1000;

    public string Name => "list";

    public string Title => "list on a store of 1000 CRIDs";

    public void Run(BenchContext context)
    {
        var directory = context.FreshPath("store");
        var random = new Random(context.Seed);
        var all = Enumerable.Range(0, 7).Select(i => new SyntheticSeries($"series-{i}", 16)).ToArray();
        var content = new byte[16 * VirtualPage.Size];
        using (var store = CheckpointStore.OpenOrCreate(new StoreOptions(directory), out _))
            for (var i = 0; i < Count; i++)
            {
                random.NextBytes(content);
                all[i % all.Length].Add(store, [(0, content)]);
            }

        var crstore = new CrstoreProgram(context.Program, directory);
        var lines = crstore.Call("list").Output.Split('\n').Length;
        var times = Enumerable.Range(0, context.Pick(15, 7)).Select(_ => crstore.Call("list").Elapsed.TotalMilliseconds).ToArray();
        var version = Enumerable.Range(0, 5).Select(_ => Tests.Support.Run.Command(context.Program, ["--version"]).MustSucceed().Elapsed.TotalMilliseconds).Median();
        Directories.DropCaches();
        var cold = crstore.Call("list").Elapsed.TotalMilliseconds;
        context.Report.Line($"{lines} lines printed. Wall ms of the cold process: median {times.Median():0}, best {times.Min():0}, worst {times.Max():0}; with the page cache dropped {cold:0}; `--version` alone {version:0}.");
        context.Report.Verdict("list of 1000 CRIDs, median", times.Median(), "ms", 300, atMost: true);
    }
}
