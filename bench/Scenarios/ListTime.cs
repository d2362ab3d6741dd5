using System.Globalization;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;

namespace Crstore.Bench.Scenarios;

/// <summary>`crstore list` on a store of 1000 CRIDs. The store is filled through its own interface, with one real checkpoint's shape.</summary>
internal sealed class ListTime : IScenario
{
    private const int Count = 1000;

    public string Name => "list";

    public string Title => "list on a store of 1000 CRIDs";

    public void Run(BenchContext context)
    {
        var directory = context.FreshPath("store");
        var random = new Random(context.Seed);
        using (var store = CheckpointStore.OpenOrCreate(new StoreOptions(directory), out _))
            for (var i = 0; i < Count; i++) Add(store, $"series-{i % 7}", random);

        var crstore = new CrstoreProgram(context.Program, directory);
        var lines = crstore.Call("list").Output.Split('\n').Length;
        var times = Enumerable.Range(0, context.Pick(15, 7)).Select(_ => crstore.Call("list").Elapsed.TotalMilliseconds).ToArray();
        var version = Enumerable.Range(0, 5).Select(_ => Tests.Support.Run.Command(context.Program, ["--version"]).MustSucceed().Elapsed.TotalMilliseconds).Median();
        Directories.DropCaches();
        var cold = crstore.Call("list").Elapsed.TotalMilliseconds;
        context.Report.Line($"{lines} lines printed. Wall ms of the cold process: median {times.Median():0}, best {times.Min():0}, worst {times.Max():0}; with the page cache dropped {cold:0}; `--version` alone {version:0}.");
        context.Report.Verdict("list of 1000 CRIDs, median", times.Median(), "ms", 300, atMost: true);
    }

    private static void Add(CheckpointStore store, string series, Random random)
    {
        const ulong pages = 16;
        var first = new VirtualPage(0x400);
        var content = new byte[pages * VirtualPage.Size];
        random.NextBytes(content);
        using var writer = store.BeginCapture(series, full: false);
        writer.OpenSpace(new SpaceId(0), writer.Parent is null ? null : new SpaceId(0)).SetContent(first, content);
        var vma = new Vma { Start = first.Address, End = (first + pages).Address, Protection = 3, Content = VmaContent.Saved };
        var process = new Process { Pid = 1000, Comm = "bench", Vmas = { vma }, Threads = { new Model.Format.Thread { Tid = 1000, Name = "bench" } } };
        var body = new CheckpointBody { Host = new Host(), Processes = { process }, Proofs = { new TrackerProof { Pid = 1000, Tracker = TrackerKind.Hash } } };
        var header = new CheckpointHeader
        {
            RootPid = 1000, Command = "bench", Processes = 1, Threads = 1, Tracker = TrackerKind.Hash, FrozenNs = 1_000_000,
            CapturedUnixNs = (DateTimeOffset.UtcNow - DateTimeOffset.UnixEpoch).Ticks * 100, Pages = new PageCounters { Logical = pages, Dirty = pages },
        };
        writer.Commit(new CheckpointManifest(header, body));
    }
}
