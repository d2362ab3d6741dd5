using System.Buffers.Binary;
using System.Diagnostics;
using System.Security.Cryptography;
using Crstore.Bench.Peers;
using Crstore.Model;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Five generations of real memory, a redis under load among it: bytes and time of each, here and in the peers, in turn: a capture, then every
/// peer on the pages of that very checkpoint as one file, in the page cache. The peers read a file that somebody has made for them; crstore has
/// a running process, and what it stores is on the disk when it ends (as borg's and restic's is; casync and zstd leave that to the kernel).
/// Then the same with a crstore that stays, `watch --on-signal`, on a target of its own: from the signal to the line that tells the CRID.
/// </summary>
internal sealed class Generations : IScenario
{
    private const int Count = 5;
    private const string Ours = "crstore", Watching = "crstore watch --on-signal";

    public string Name => "generations";

    public string Title => "Five generations of real memory (redis under load, node, python3, sqlite, .NET)";

    public void Run(BenchContext context)
    {
        var runs = new List<Dictionary<string, Cost[]>>();
        var packed = new List<Cost>();
        for (var i = 0; i < context.Pick(3, 1); i++)
        {
            runs.Add(Once(context, context.Seed + i, details: i == 0, packed));
            runs[^1].Add(Watching, Watched(context, context.Seed + i));
        }

        var first = runs[0];
        var report = context.Report;
        report.Line($"Wall seconds and MiB on the disk after each generation{(runs.Count > 1 ? $", medians of {runs.Count} runs with other data" : "")}:");
        report.Table(["", .. Enumerable.Range(1, Count).SelectMany(g => new[] { $"{g}: s", "MiB" })], first.Keys.Select(name =>
            (object[])[name, .. Enumerable.Range(0, Count).SelectMany(g => new object[] { Median(runs, name, g, c => c.Seconds), Median(runs, name, g, c => c.DiskBytes / 1048576.0) })]));
        var plot = new LinePlot("Store size against generations", "generation", "MiB on the disk");
        foreach (var name in first.Keys) plot.With(name, Enumerable.Range(0, Count).Select(g => (g + 1.0, Median(runs, name, g, c => c.DiskBytes / 1048576.0))));
        report.Plot("generations-size", plot);
        foreach (var ours in new[] { Ours, Watching })
        {
            Judge(report, runs, ours, "borg", "borg's", bytes: ours == Ours ? 0.9 : null, seconds: 0.2);
            Judge(report, runs, ours, "zstd -1 -T2 of the dirty pages", "zstd -1 -T2 of the dirty pages alone", bytes: null, seconds: 1.3);
        }

        if (runs[0].Keys.FirstOrDefault(k => k.StartsWith("zstd -1 --patch-from chain", StringComparison.Ordinal)) is not { } chain) return;
        var (mebibytes, seconds) = (packed.Select(c => c.DiskBytes / 1048576.0).Median(), packed.Select(c => c.Seconds).Median());
        report.Line(FormattableString.Invariant($"`crstore gc --recompress` after the last one: {mebibytes:0.0} MiB, {seconds:0.0} s."));
        report.Figure("bytes of five generations after gc --recompress", mebibytes, Median(runs, chain, Count - 1, c => c.DiskBytes / 1048576.0), "MiB", "zstd --patch-from's whole chain", 1, atMost: true);
    }

    private static void Judge(Report report, List<Dictionary<string, Cost[]>> runs, string ours, string peer, string words, double? bytes, double? seconds)
    {
        if (runs[0].Keys.FirstOrDefault(k => k.StartsWith(peer, StringComparison.Ordinal)) is not { } name) return;
        if (bytes is { } most)
            report.Figure("bytes of five generations", Median(runs, ours, Count - 1, c => c.DiskBytes / 1048576.0), Median(runs, name, Count - 1, c => c.DiskBytes / 1048576.0), "MiB", words, most, atMost: true);
        if (seconds is { } longest)
            report.Figure($"{ours}: time to store a generation after the first, median", Increments(runs, ours), Increments(runs, name), "s", words, longest, atMost: true);
    }

    private static double Increments(List<Dictionary<string, Cost[]>> runs, string name) => runs.SelectMany(r => r[name].Skip(1)).Select(c => c.Seconds).Median();

    private static double Median(List<Dictionary<string, Cost[]>> runs, string name, int generation, Func<Cost, double> value) =>
        runs.Select(r => value(r[name][generation])).Median();

    private static Dictionary<string, Cost[]> Once(BenchContext context, int seed, bool details, List<Cost> packed)
    {
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        var images = Directory.CreateDirectory(context.FreshPath("images")).FullName;
        var peers = AllPeers.Open(context);
        var costs = peers.Select(p => p.Name).Prepend(Ours).ToDictionary(n => n, _ => new Cost[Count]);
        var captures = new List<Captured>();
        var dirty = new List<object>();
        using var target = new RealMemory(context, RealMemory.All, seed);
        using var load = new RedisLoad(target.RedisSocket, keys: 20000, seed, perSecond: 1000);
        Dictionary<(SpaceId, VirtualPage), ulong> before = [];
        for (var i = 0; i < Count; i++)
        {
            if (i > 0) target.Change();
            var capture = crstore.Capture(target.Pid, "--tree", "--series", "generations");
            captures.Add(capture);
            costs[Ours][i] = new Cost(capture.WallMs / 1000, crstore.DiskBytes());
            var generation = new Generation(i, Path.Combine(images, $"{i}"), Path.Combine(images, $"{i}.dirty"));
            before = Write(crstore.Store, capture.Crid, generation, before);
            dirty.Add(new FileInfo(generation.Dirty).Length / 1048576.0);
            for (var p = 0; p < peers.Count; p++)
            {
                var peer = peers[(p + i) % peers.Count];
                var clock = Stopwatch.StartNew();
                peer.Store(generation);
                costs[peer.Name][i] = new Cost(clock.Elapsed.TotalSeconds, peer.DiskBytes());
            }

            if (i > 0) File.Delete(Path.Combine(images, $"{i - 1}"));
            File.Delete(generation.Dirty);
        }

        if (details) context.Report.Table([.. Captured.Columns, "changed MiB"], captures.Select((c, i) => (object[])[.. c.Row(), dirty[i]]));
        Directory.Delete(images, recursive: true);
        var packing = crstore.Call("gc", "--recompress", "--quiet").Elapsed;
        packed.Add(new Cost(packing.TotalSeconds, crstore.DiskBytes()));
        return costs;
    }

    private static Cost[] Watched(BenchContext context, int seed)
    {
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("watched"));
        using var target = new RealMemory(context, RealMemory.All, seed);
        using var load = new RedisLoad(target.RedisSocket, keys: 20000, seed, perSecond: 1000);
        var costs = new Cost[Count];
        var clock = Stopwatch.StartNew();
        using var watch = Process.Start(new ProcessStartInfo(context.Program, ["watch", $"{target.Pid}", "--tree", "--on-signal", "--count", $"{Count}", "--quiet", "--store", crstore.Store])
        {
            RedirectStandardOutput = true,
        })!;
        for (var i = 0; i < Count; i++)
        {
            if (i > 0)
            {
                target.Change();
                clock.Restart();
                Tests.Support.Run.Command("/bin/kill", ["-USR1", $"{watch.Id}"]).MustSucceed();
            }

            _ = watch.StandardOutput.ReadLine() ?? throw new InvalidOperationException("the watch has ended");
            costs[i] = new Cost(clock.Elapsed.TotalSeconds, crstore.DiskBytes());
        }

        watch.WaitForExit();
        return costs;
    }

    /// <summary>The image of a generation, and those of its pages that are not the same as in the one before.</summary>
    private static Dictionary<(SpaceId, VirtualPage), ulong> Write(string store, ulong crid, Generation generation, Dictionary<(SpaceId, VirtualPage), ulong> before)
    {
        var now = new Dictionary<(SpaceId, VirtualPage), ulong>();
        using var image = File.Create(generation.Image);
        using var dirty = File.Create(generation.Dirty);
        RealMemory.ReadPages(store, crid, (space, first, content) =>
        {
            image.Write(content.Span);
            for (var at = 0; at < content.Length; at += VirtualPage.Size)
            {
                var page = content.Span.Slice(at, VirtualPage.Size);
                var (place, hash) = ((space, first + (ulong)(at / VirtualPage.Size)), BinaryPrimitives.ReadUInt64LittleEndian(SHA256.HashData(page)));
                now[place] = hash;
                if (!before.TryGetValue(place, out var was) || was != hash) dirty.Write(page);
            }
        });
        return now;
    }

    /// <summary>Of one generation: its time, and the repository after it.</summary>
    private readonly record struct Cost(double Seconds, long DiskBytes);
}
