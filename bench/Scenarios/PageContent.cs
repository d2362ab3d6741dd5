using System.Diagnostics;
using Crstore.Model;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Throughput of a base, durable at its end, by what the pages hold (bench/filler.c), against SHA-256 and zstd in one pipeline (<see cref="PipelineFloor"/>), and
/// against writing as much as was stored to a file and syncing it: whichever is slower is the floor.
/// </summary>
internal sealed class PageContent : IScenario
{
    private static readonly (string Kind, string Words)[] Kinds =
        [("zero", "written zeros"), ("same", "one page again"), ("words", "text"), ("heap", "heap"), ("random", "random")];

    public string Name => "content";

    public string Title => "Throughput of a base by page content";

    public void Run(BenchContext context)
    {
        var mebibytes = context.Pick(1024, 192);
        var rows = new List<object[]>();
        var (ours, floors) = (new List<(double, double)>(), new List<(double, double)>());
        foreach (var (kind, words) in Kinds)
        {
            using var target = TargetProcess.Start(context.Tool("filler"), $"{mebibytes}", kind, $"{context.Seed}");
            target.Expect("ready", TimeSpan.FromMinutes(2));
            var (speeds, limits, disks, stored) = (new List<double>(), new List<double>(), new List<double>(), 0.0);
            for (var i = 0; i < 3; i++) // in turn: what the machine can do changes from moment to moment
            {
                var store = context.FreshPath("store");
                var capture = new CrstoreProgram(context.Program, store).Capture(target.Pid, "--series", "content", "--full");
                var megabytes = capture.Logical * VirtualPage.Size / 1e6;
                speeds.Add(megabytes / capture.WallMs * 1000);
                limits.Add(megabytes / new PipelineFloor(store, capture).Seconds());
                disks.Add(megabytes / WriteSeconds(context.FreshPath("file"), (int)capture.BytesStored));
                stored = capture.BytesStored / 1048576.0;
                Directory.Delete(store, recursive: true);
            }

            var (speed, limit, disk) = (speeds.Median(), limits.Median(), disks.Median());
            rows.Add([words, speed, limit, disk, speed / Math.Min(limit, disk), stored]);
            ours.Add((rows.Count, speed));
            floors.Add((rows.Count, Math.Min(limit, disk)));
        }

        context.Report.Line($"{mebibytes} MiB each, a fresh store each time; MB/s of the whole cold process, runtime start and the last sync included.");
        context.Report.Table(["pages hold", "crstore MB/s", "SHA-256 + zstd-1 MB/s", "write and sync MB/s", "× the slower", "stored MiB"], rows);
        var plot = new LinePlot("Base throughput against page content", "what the pages hold", "MB/s") { Places = [.. Kinds.Select(k => k.Words)] };
        context.Report.Plot("content-throughput", plot.With("crstore", ours).With("floor: SHA-256 + zstd-1, or the disk", floors));
    }

    /// <summary>Seconds to write so many bytes from memory to a new file and to have them on the disk.</summary>
    private static double WriteSeconds(string path, int bytes)
    {
        var content = new byte[bytes];
        new Random(1).NextBytes(content);
        var clock = Stopwatch.StartNew();
        using (var file = File.Create(path))
        {
            file.Write(content);
            file.Flush(flushToDisk: true);
        }

        var seconds = clock.Elapsed.TotalSeconds;
        File.Delete(path);
        return seconds;
    }
}
