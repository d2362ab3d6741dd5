using System.Diagnostics;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>Five generations of real memory: bytes and time of each, here and in borg (fixed chunks of 4096, zstd,1) on the same pages.</summary>
internal sealed class Generations : IScenario
{
    private const int Count = 5;

    public string Name => "generations";

    public string Title => "Five generations of real memory, against borg";

    public void Run(BenchContext context)
    {
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        var images = Directory.CreateDirectory(context.FreshPath("images")).FullName;
        var captures = new List<(Captured Capture, long Disk)>();
        using (var target = new RealMemory(context))
            for (var i = 0; i < Count; i++)
            {
                if (i > 0) target.Change();
                var capture = crstore.Capture(target.Pid, "--tree", "--series", "generations");
                captures.Add((capture, crstore.DiskBytes()));
            }
        long raw = 0;
        for (var i = 0; i < Count; i++) raw += WriteImage(crstore.Store, captures[i].Capture.Crid, Path.Combine(images, $"{i}"));

        var report = context.Report;
        report.Line($"{raw / 1048576.0:0} MiB of pages with content in {Count} generations. Disk: the whole store after each.");
        report.Table([.. Captured.Columns, "disk MiB"], captures.Select(c => c.Capture.Row().Append(c.Disk / 1048576.0).ToArray()));
        if (Requires.Find("borg") is null)
        {
            report.Line("borg is not installed (Debian package borgbackup): nothing to compare with.");
            return;
        }
        var borg = Borg(context, images);
        report.Line($"{Tests.Support.Run.Command("borg", ["--version"]).Output.Trim()}, `borg create --chunker-params fixed,4096 --compression zstd,1` on the same pages as one file per generation, page cache warm:");
        report.Table(["generation", "crstore s", "borg s", "crstore disk MiB", "borg disk MiB"], borg.Select((b, i) => new object[]
        {
            i + 1, captures[i].Capture.WallMs / 1000, b.Seconds, captures[i].Disk / 1048576.0, b.Disk / 1048576.0,
        }));
        report.Verdict("bytes over borg's, all five", (double)captures[^1].Disk / borg[^1].Disk, "×", 1, atMost: true);
        report.Verdict("slowest generation after the first, over borg's fastest", captures.Skip(1).Max(c => c.Capture.WallMs) / 1000
            / borg.Skip(1).Min(b => b.Seconds), "×", 1, atMost: true);
    }

    private static long WriteImage(string store, ulong crid, string path)
    {
        using var file = File.Create(path);
        RealMemory.ReadPages(store, crid, block => file.Write(block.Span));
        return file.Length;
    }

    private static List<(double Seconds, long Disk)> Borg(BenchContext context, string images)
    {
        var repository = context.FreshPath("borg");
        var environment = new Dictionary<string, string?> { ["BORG_BASE_DIR"] = context.FreshPath("borg-home"), ["BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK"] = "yes" };
        Tests.Support.Run.Command("borg", ["init", "-e", "none", repository], environment: environment).MustSucceed();
        var results = new List<(double, long)>();
        for (var i = 0; i < Count; i++)
        {
            var clock = Stopwatch.StartNew();
            Tests.Support.Run.Command("borg", ["create", "--chunker-params", "fixed,4096", "--compression", "zstd,1", $"{repository}::g{i}", $"{i}"],
                environment: environment, directory: images, timeout: TimeSpan.FromMinutes(10)).MustSucceed();
            results.Add((clock.Elapsed.TotalSeconds, Directories.DiskBytes(repository)));
        }
        return results;
    }
}
