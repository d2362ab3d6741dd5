using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>The highest resident memory of a capture apart from its page buffer, whose size is given; and of what reads its store.</summary>
internal sealed class PeakMemory : IScenario
{
    private const int BufferMebibytes = 256;

    public string Name => "memory";

    public string Title => "Peak memory of a capture, apart from the page buffer";

    public void Run(BenchContext context)
    {
        var mebibytes = context.Pick(4096, 1024);
        using var target = TargetProcess.Start("pattern_writer", $"{mebibytes}", $"{context.Seed}");
        target.Expect("ready ", TimeSpan.FromMinutes(3));
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        string[] capture = ["capture", $"{target.Pid}", "--series", "memory", "--buffer", $"{BufferMebibytes}M", "--max-frozen", "120s", "--quiet"];
        var baseline = crstore.PeakMemory(capture) / 1048576.0;
        target.Ask("write-permille 10");
        var increment = crstore.PeakMemory(capture) / 1048576.0;
        var path = context.FreshPath("image");
        var restore = crstore.PeakMemory("restore", "memory", "--to", path, "--format", "raw", "--quiet") / 1048576.0;
        var core = crstore.PeakMemory("restore", "memory", "--to", path + ".core", "--format", "core", "--quiet") / 1048576.0;
        var verify = crstore.PeakMemory("verify", "--all", "--read-data") / 1048576.0;
        crstore.Call("forget", "1");
        var gc = crstore.PeakMemory("gc") / 1048576.0;
        var report = context.Report;
        report.Line($"{mebibytes} MiB target, --buffer {BufferMebibytes}M. VmHWM in MiB, the buffer included:");
        report.Table(["base", "increment", "restore raw", "restore core", "verify --read-data", "gc after forget"], [[baseline, increment, restore, core, verify, gc]]);
        Large(context);
        report.Verdict("peak of the base apart from the buffer", baseline - BufferMebibytes, "MiB", 300, atMost: true);
        report.Verdict("highest peak of restore, verify and gc", new[] { restore, core, verify, gc }.Max(), "MiB", 300, atMost: true);
    }

    /// <summary>A large target and a store with a large index. A capture's memory grows with the pages that are new to the store, and with nothing else.</summary>
    private static void Large(BenchContext context)
    {
        var entries = context.Pick(10_000_000, 1_000_000);
        var room = File.ReadLines("/proc/meminfo").First(l => l.StartsWith("MemAvailable", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1];
        var most = (long.Parse(room, System.Globalization.CultureInfo.InvariantCulture) >> 10) - 3072;
        var mebibytes = (int)Math.Min(context.Pick(16384, 2048), most / 1024 * 1024);
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("indexed"));
        SyntheticIndex.Fill(crstore.Store, entries, context.Seed);
        using var target = TargetProcess.Start("pattern_writer", $"{mebibytes}", $"{context.Seed + 1}");
        target.Expect("ready ", TimeSpan.FromMinutes(10));
        var peak = crstore.PeakMemory("capture", $"{target.Pid}", "--series", "memory", "--buffer", $"{BufferMebibytes}M", "--max-frozen", "120s", "--quiet") / 1048576.0;
        context.Report.Verdict($"peak of a base of {mebibytes} MiB with {entries} index entries, apart from the buffer of {BufferMebibytes} MiB", peak - BufferMebibytes, "MiB", 300, atMost: true);
    }
}
