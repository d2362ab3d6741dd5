using System.Diagnostics;
using System.Security.Cryptography;
using Crstore.Bench.Peers;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Restoring any checkpoint of a long chain of small changes, against the peers' extract of the same images, in turn, warm and cold. crstore has
/// the whole chain; of the peers each has only three images, which is in their favour: storing all would take them hours. The floors are writing as many
/// bytes from memory to a file, and the same behind what an image that is compressed and checked can't do without (<see cref="UnpackFloor"/>).
/// </summary>
internal sealed class RestoreTime : IScenario
{
    private const int PeerRounds = 4;
    private const string Ours = "crstore", Small = "crstore, 1 MiB", Write = "floor: write from memory", Unpack = "floor: unpack, check, write";

    public string Name => "restore";

    public string Title => "Restore of any checkpoint of a chain, against the peers";

    /// <summary>Who is measured.</summary>
    /// <param name="Name">In the report.</param>
    /// <param name="Points">Which of the checkpoints that are asked for it restores.</param>
    /// <param name="Rounds">In every so many rounds.</param>
    /// <param name="Restore">The one of a point to a path.</param>
    private sealed record Runner(string Name, int[] Points, int Rounds, Action<int, string> Restore)
    {
        /// <summary>Digest of what a point gives.</summary>
        public Func<int, byte[]?> Digest { get; init; } = _ => null;
    }

    public void Run(BenchContext context)
    {
        var (length, mebibytes) = (context.Pick(1000, 100), context.Pick(256, 64));
        var chain = new[] { 0, length / 4, length / 2, length * 3 / 4, length - 1 };
        var ofPeers = new[] { 0, 2, 4 };
        var peers = AllPeers.Open(context).Where(p => p.Deduplicates).ToList();
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        var image = context.FreshPath("image");
        var digests = new byte[chain.Length][];
        var last = new byte[mebibytes << 20];
        var crids = SyntheticChain.Fill(crstore.Store, length, mebibytes * 256, ChainChange.FewBytes, context.Seed, (i, content) =>
        {
            if (Array.IndexOf(chain, i) is not (var at and >= 0)) return;
            digests[at] = SHA256.HashData(content.Span);
            if (i == length - 1) content.CopyTo(last);
            if (ofPeers.Contains(at)) Store(peers, at, image, content);
        });
        var small = new CrstoreProgram(context.Program, context.FreshPath("small"));
        SyntheticChain.Fill(small.Store, 1, 256, ChainChange.FewBytes, context.Seed);
        var unpack = new UnpackFloor(last);

        Runner[] runners =
        [
            new(Write, [4], 1, (_, to) => File.WriteAllBytes(to, last)),
            new(Unpack, [4], 1, (_, to) => unpack.Write(to)) { Digest = i => digests[i] },
            new(Small, [4], 1, (_, to) => small.Call("restore", "chain", "--to", to, "--format", "raw", "--quiet")),
            new(Ours, [0, 1, 2, 3, 4], 1, (i, to) => crstore.Call("restore", $"{crids[chain[i]]}", "--to", to, "--format", "raw", "--quiet")) { Digest = i => digests[i] },
            .. peers.Select(p => new Runner(p.Name, ofPeers, PeerRounds, p.Restore) { Digest = i => digests[i] }),
        ];
        context.Report.Line($"{mebibytes} MiB, {length} checkpoints, a few bytes in 1 % of the pages changed in each. Wall ms of the cold process, medians of {Rounds(context)} rounds warm and as many cold, each in an order of its own (peers: every {PeerRounds}th one; they hold three images):");
        var rows = new List<object[]>();
        var plot = new LinePlot("Restore time against chain length", "checkpoint in the chain", "ms");
        foreach (var cold in new[] { false, true }) Report(context, Measure(context, runners, cold), runners, chain, last.Length / 1e6, cold, rows, plot);
        context.Report.Table(["", "page cache", .. chain.Select(p => $"CRID {crids[p]}"), "MB/s, last", "× writing"], rows);
        context.Report.Plot("restore-chain", plot);
    }

    // The median of 17 ratios has nine chances in ten to be within a few percent, where a single one is 10 % off.
    private static int Rounds(BenchContext context) => context.Pick(17, 3);

    private static void Store(List<IPeer> peers, int number, string image, ReadOnlyMemory<byte> content)
    {
        using (var file = File.Create(image)) file.Write(content.Span);
        foreach (var peer in peers) peer.Store(new Generation(number, image, image));
    }

    /// <summary>
    /// Milliseconds, by name, point and round. All of a round in an order that the seed shuffles: what runs behind a slow peer, or while the disk still writes, must
    /// not be the same checkpoint each time.
    /// </summary>
    private static Dictionary<string, List<double>[]> Measure(BenchContext context, Runner[] runners, bool cold)
    {
        var points = runners.Max(r => r.Points.Max()) + 1;
        var times = runners.ToDictionary(r => r.Name, _ => Enumerable.Range(0, points).Select(_ => new List<double>()).ToArray());
        var random = new Random(context.Seed);
        for (var round = cold ? 0 : -1; round < Rounds(context); round++) // warm: the first one is to warm up
        {
            var turns = runners.Where(r => round < 0 || round % r.Rounds == 0).SelectMany(r => r.Points.Select(p => (Runner: r, Point: p))).ToArray();
            random.Shuffle(turns);
            foreach (var (runner, point) in turns)
            {
                var elapsed = Timed(context, cold, to => runner.Restore(point, to), round <= 0 ? runner.Digest(point) : null);
                if (round >= 0) times[runner.Name][point].Add(elapsed);
            }
        }

        return times;
    }

    private static void Report(BenchContext context, Dictionary<string, List<double>[]> times, Runner[] runners, int[] chain, double megabytes, bool cold, List<object[]> rows, LinePlot plot)
    {
        var cache = cold ? "cold" : "warm";
        var medians = times.ToDictionary(t => t.Key, t => t.Value.Select(v => v.Count == 0 ? double.NaN : v.Median()).ToArray());
        foreach (var (name, all) in medians)
        {
            var isWhole = name != Small;
            rows.Add([name, cache, .. all.Cast<object>(), isWhole ? megabytes / all[^1] * 1000 : double.NaN, isWhole ? all[^1] / medians[Write][^1] : double.NaN]);
            if (!name.StartsWith("floor", StringComparison.Ordinal) && isWhole) plot.With($"{name}, {cache}", chain.Select((p, i) => (p + 1.0, all[i])));
        }

        var (report, ours) = (context.Report, medians[Ours]);
        var flat = times[Ours].Skip(1).Select(t => MedianInterval.Of(t.Zip(times[Ours][0], (there, first) => there / first))).ToArray();
        report.Verdict($"{cache}: slowest checkpoint over the first, medians of the rounds", flat.MaxBy(f => f.Median), "×", 1.1);
        report.Line($"{cache}: over the first in the same round, CRIDs in turn: {string.Join("; ", flat)}.");
        report.Line($"{cache}: the last checkpoint in {ours[^1]:0} ms = {ours[^1] / medians[Write][^1]:0.00} × writing as much from memory, {ours[^1] / medians[Unpack][^1]:0.00} × unpacking, checking and writing. "
            + $"One of 1 MiB takes {medians[Small][^1]:0} ms; what is beyond that {(ours[^1] - medians[Small][^1]) / medians[Unpack][^1]:0.00} ×.");
        if (!cold) report.Verdict("warm: speed of the last checkpoint", megabytes / ours[^1] * 1000, "MB/s", 1500, atMost: false);
        var peers = runners.Where(r => r.Rounds > 1).Select(r => (r.Name, Ms: medians[r.Name].Where(double.IsFinite).Median())).OrderBy(t => t.Ms).ToList();
        if (peers.Count > 0)
            report.Figure($"{cache}: speed over the fastest deduplicating peer", megabytes / ours.Max() * 1000, megabytes / peers[0].Ms * 1000, "MB/s", peers[0].Name, 2, atMost: false);
    }

    /// <summary>Milliseconds; and whether what came back is what was stored, if its digest is given.</summary>
    private static double Timed(BenchContext context, bool cold, Action<string> write, byte[]? digest)
    {
        var path = context.FreshPath("restored");
        if (cold) Directories.DropCaches();
        else Tests.Support.Run.Command("sync", []).MustSucceed(); // what the one before wrote must not be written out now
        var clock = Stopwatch.StartNew();
        write(path);
        var elapsed = clock.Elapsed.TotalMilliseconds;
        if (digest is not null && !SHA256.HashData(File.ReadAllBytes(ContentOf(path))).AsSpan().SequenceEqual(digest)) throw new InvalidDataException($"{path} is not what was stored");
        Directories.Remove(path);
        return elapsed;
    }

    /// <summary>A raw image is a directory with a file for each mapping, of which there is one, and a list of them.</summary>
    private static string ContentOf(string path) =>
        Directory.Exists(path) ? Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories).MaxBy(f => new FileInfo(f).Length)! : path;
}
