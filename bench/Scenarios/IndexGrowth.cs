using System.Globalization;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// What a large store costs a capture: a first capture of 64 MiB that the store has not, by a cold process, into a store with many chunks (their index entries
/// are made up; SyntheticIndex) and, in turn, into one that is empty. The index files are in the page cache, but for the last table.
/// </summary>
internal sealed class IndexGrowth : IScenario
{
    private const int Mebibytes = 64;

    public string Name => "index";

    public string Title => "A capture of 64 MiB of new pages into a large store";

    public void Run(BenchContext context)
    {
        long entries = context.Pick(100_000_000, 5_000_000);
        var large = context.FreshPath("large");
        Directory.CreateDirectory(large);
        var free = new DriveInfo(large).AvailableFreeSpace;
        if (free < SyntheticIndex.BytesFor(entries) * 3 / 2)
            throw new InvalidOperationException($"an index of {entries} entries takes {SyntheticIndex.BytesFor(entries) >> 20} MiB, {large} has {free >> 20} MiB");
        Directory.Delete(large);
        SyntheticIndex.Fill(large, entries, context.Seed);
        var bytes = Directories.DiskBytes(large);

        var runs = new List<(Captured Empty, Captured Large)>();
        for (var i = 0; i < context.Pick(9, 5); i++) runs.Add(Pair(context, large, i));
        var report = context.Report;
        report.Line($"{entries} index entries, {bytes / 1048576.0:0} MiB; wall: the whole cold process.");
        report.Table(["store", "median wall ms", "best", "worst", "median total ms"],
            [Row("empty", runs.Select(r => r.Empty)), Row("large", runs.Select(r => r.Large))]);
        report.Figure($"wall of a capture of {Mebibytes} MiB of new pages beside {entries} chunks", runs.Select(r => r.Large.WallMs).Median(),
            runs.Select(r => r.Empty.WallMs).Median(), "ms", "the same into an empty store", 2, atMost: true);
        if (!context.Full) return; // it is everybody's page cache

        Captured Cold(string store, int seed)
        {
            Directories.DropCaches();
            return Capture(context, store, seed);
        }

        var (emptyCold, largeCold) = (new List<Captured>(), new List<Captured>());
        for (var i = 0; i < 3; i++)
        {
            emptyCold.Add(Cold(context.FreshPath("empty"), 2000 + i));
            largeCold.Add(Cold(large, 3000 + i));
        }

        report.Line($"The same with nothing in the page cache, crstore itself included:");
        report.Table(["store", "median wall ms", "best", "worst", "median total ms"], [Row("empty", emptyCold), Row("large", largeCold)]);
    }

    private static (Captured Empty, Captured Large) Pair(BenchContext context, string large, int round)
    {
        var empty = context.FreshPath("empty");
        try
        {
            if (round % 2 == 0) return (Capture(context, empty, 2 * round), Capture(context, large, 2 * round + 1));
            var second = Capture(context, large, 2 * round + 1);
            return (Capture(context, empty, 2 * round), second);
        }
        finally
        {
            Directory.Delete(empty, recursive: true);
        }
    }

    private static Captured Capture(BenchContext context, string store, int data)
    {
        using var target = TargetProcess.Start(context.Tool("filler"), $"{Mebibytes}", "heap", (1000L * context.Seed + data).ToString(CultureInfo.InvariantCulture));
        target.Expect("ready", TimeSpan.FromMinutes(2));
        return new CrstoreProgram(context.Program, store).Capture(target.Pid, "--series", "index", "--full");
    }

    private static object[] Row(string name, IEnumerable<Captured> captures)
    {
        var walls = captures.Select(c => c.WallMs).ToList();
        return [name, walls.Median(), walls.Min(), walls.Max(), captures.Select(c => c.TotalMs).Median()];
    }
}
