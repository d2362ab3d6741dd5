using System.Diagnostics;
using System.Security.Cryptography;
using Crstore.Bench.Peers;
using Crstore.Model;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Restoring any checkpoint of a long chain of small changes, against the peers' extract of the same images, in turn, warm and cold. crstore has
/// the whole chain; of the peers each has only the images that are asked for, which is in their favour: storing all would take them hours.
/// The floor is writing as many bytes from memory to a file.
/// </summary>
internal sealed class RestoreTime : IScenario
{
    private const string Ours = "crstore";

    public string Name => "restore";

    public string Title => "Restore of any checkpoint of a chain, against the peers";

    public void Run(BenchContext context)
    {
        var (length, mebibytes) = (context.Pick(1000, 100), context.Pick(256, 64));
        var points = new[] { 0, length / 4, length / 2, length * 3 / 4, length - 1 };
        var report = context.Report;
        var peers = AllPeers.Open(context).Where(p => p.Deduplicates).ToList();
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        var image = context.FreshPath("image");
        var digests = new byte[points.Length][];
        var crids = SyntheticChain.Fill(crstore.Store, length, mebibytes * 256, ChainChange.FewBytes, context.Seed, (i, content) =>
        {
            if (Array.IndexOf(points, i) is not (var at and >= 0)) return;
            digests[at] = SHA256.HashData(content.Span);
            Store(peers, at, image, content);
        });
        report.Line($"{mebibytes} MiB, {length} checkpoints, a few bytes in 1 % of the pages changed in each. Wall ms of the cold process, medians of {Rounds(context, false)} rounds warm, {Rounds(context, true)} cold:");
        var rows = new List<object[]>();
        var plot = new LinePlot("Restore time against chain length", "checkpoint in the chain", "ms");
        foreach (var cold in new[] { false, true }) Measure(context, Programs(crstore, peers, [.. points.Select(p => crids[p])]), points, digests, mebibytes, cold, rows, plot);
        report.Table(["", "page cache", .. points.Select(p => $"CRID {crids[p]}"), "MB/s, last", "× floor"], rows);
        report.Plot("restore-chain", plot);
    }

    private static int Rounds(BenchContext context, bool cold) => cold ? context.Pick(5, 1) : context.Pick(7, 3);

    private static void Store(List<IPeer> peers, int number, string image, ReadOnlyMemory<byte> content)
    {
        using (var file = File.Create(image)) file.Write(content.Span);
        foreach (var peer in peers) peer.Store(new Generation(number, image, image));
    }

    private static List<(string Name, Action<int, string> Restore)> Programs(CrstoreProgram crstore, List<IPeer> peers, Crid[] crids) =>
    [
        (Ours, (i, to) => crstore.Call("restore", $"{crids[i]}", "--to", to, "--format", "raw", "--quiet")),
        .. peers.Select(p => (p.Name, (Action<int, string>)p.Restore)),
    ];

    private static void Measure(BenchContext context, List<(string Name, Action<int, string> Restore)> programs, int[] points, byte[][] digests, int mebibytes, bool cold,
        List<object[]> rows, LinePlot plot)
    {
        var times = programs.ToDictionary(p => p.Name, _ => points.Select(_ => new List<double>()).ToArray());
        var floors = new List<double>();
        var content = new byte[mebibytes << 20];
        new Random(context.Seed).NextBytes(content);
        for (var round = cold ? 0 : -1; round < Rounds(context, cold); round++) // warm: the first one is to warm up
        {
            floors.Add(Timed(context, cold, to => File.WriteAllBytes(to, content), null));
            for (var i = 0; i < points.Length; i++)
                foreach (var (name, restore) in programs)
                {
                    var point = round % 2 == 0 ? i : points.Length - 1 - i;
                    var elapsed = Timed(context, cold, to => restore(point, to), round <= 0 ? digests[point] : null);
                    if (round >= 0) times[name][point].Add(elapsed);
                }
        }

        var (cache, floor, megabytes) = (cold ? "cold" : "warm", floors.Median(), content.Length / 1e6);
        foreach (var (name, _) in programs)
        {
            var medians = times[name].Select(t => t.Median()).ToArray();
            rows.Add([name, cache, .. medians.Cast<object>(), megabytes / medians[^1] * 1000, medians[^1] / floor]);
            plot.With($"{name}, {cache}", points.Select((p, i) => (p + 1.0, medians[i])));
        }

        rows.Add(["floor: write from memory", cache, .. points.Select(_ => (object)double.NaN), megabytes / floor * 1000, 1.0]);
        Judge(context.Report, times, cache, megabytes, floor);
    }

    private static void Judge(Report report, Dictionary<string, List<double>[]> times, string cache, double megabytes, double floor)
    {
        var medians = times[Ours].Select(t => t.Median()).ToArray();
        report.Verdict($"{cache}: slowest checkpoint over the first", medians.Max() / medians[0], "×", 1.1, atMost: true);
        report.Line($"{cache}: the last checkpoint in {medians[^1]:0} ms = {medians[^1] / floor:0.00} × writing as much from memory ({floor:0} ms).");
        if (cache == "warm") report.Verdict("warm: speed of the last checkpoint", megabytes / medians[^1] * 1000, "MB/s", 1500, atMost: false);
        var others = times.Where(t => t.Key != Ours).Select(t => (t.Key, Ms: t.Value.SelectMany(v => v).Median())).OrderBy(t => t.Ms).ToList();
        if (others.Count > 0)
            report.Figure($"{cache}: speed over the fastest deduplicating peer", megabytes / medians.Max() * 1000, megabytes / others[0].Ms * 1000, "MB/s", others[0].Key, 2, atMost: false);
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
        if (Directory.Exists(path)) Directory.Delete(path, recursive: true);
        else File.Delete(path);
        return elapsed;
    }

    /// <summary>A raw image is a directory with a file for each mapping, of which there is one, and a list of them.</summary>
    private static string ContentOf(string path) =>
        Directory.Exists(path) ? Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories).MaxBy(f => new FileInfo(f).Length)! : path;
}
