using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>The highest resident memory of a capture, which may be its page buffer, whose size is given, and a limit beyond that; and of what reads its store.</summary>
internal sealed class PeakMemory : IScenario
{
    private const int BufferMebibytes = 256, Limit = 300;

    public string Name => "memory";

    public string Title => "Peak memory of a capture, and of what reads its store";

    public void Run(BenchContext context)
    {
        Verbs(context);
        Large(context);
    }

    private static void Verbs(BenchContext context)
    {
        var mebibytes = context.Pick(4096, 1024);
        using var target = TargetProcess.Start("pattern_writer", $"{mebibytes}", $"{context.Seed}");
        target.Expect("ready ", TimeSpan.FromMinutes(3));
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        var baseline = Mebibytes(crstore, Capture(target));
        target.Ask("write-permille 10");
        var increment = Mebibytes(crstore, Capture(target));
        var (raw, core) = (Restore(context, crstore, "raw"), Restore(context, crstore, "core"));
        var verify = Mebibytes(crstore, "verify", "--all", "--read-data");
        crstore.Call("forget", "1");
        var gc = Mebibytes(crstore, "gc");
        Directory.Delete(crstore.Store, recursive: true); // gigabytes
        var report = context.Report;
        report.Line($"{mebibytes} MiB target, --buffer {BufferMebibytes}M. VmHWM in MiB, the buffer included:");
        report.Table(["base", "increment", "restore raw", "restore core", "verify --read-data", "gc after forget"], [[baseline, increment, raw, core, verify, gc]]);
        report.Verdict("peak of base and increment, with what they used of the buffer", Math.Max(baseline, increment), "MiB", Limit + BufferMebibytes, atMost: true);
        report.Verdict("highest peak of restore, verify and gc", new[] { raw, core, verify, gc }.Max(), "MiB", Limit, atMost: true);
    }

    /// <summary>A large target and a store with a large index. A capture's memory grows with the pages that are new to the store, and with nothing else.</summary>
    private static void Large(BenchContext context)
    {
        var entries = context.Pick(10_000_000, 1_000_000);
        var room = File.ReadLines("/proc/meminfo").First(l => l.StartsWith("MemAvailable", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1];
        var most = (long.Parse(room, System.Globalization.CultureInfo.InvariantCulture) >> 10) - 3072;
        var mebibytes = (int)Math.Min(context.Pick(16384, 2048), most / 1024 * 1024);
        if (mebibytes <= 0) throw new InvalidOperationException($"{most + 3072} MiB of memory are free: too little for a target of 1 GiB and 3 GiB beside it");
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("indexed"));
        SyntheticIndex.Fill(crstore.Store, entries, context.Seed);
        using var target = TargetProcess.Start("pattern_writer", $"{mebibytes}", $"{context.Seed + 1}");
        target.Expect("ready ", TimeSpan.FromMinutes(10));
        var peak = Mebibytes(crstore, Capture(target));
        context.Report.Verdict($"peak of a base of {mebibytes} MiB with {entries} index entries, with what it used of the buffer", peak, "MiB", Limit + BufferMebibytes, atMost: true);
    }

    private static string[] Capture(TargetProcess target) =>
        ["capture", $"{target.Pid}", "--series", "memory", "--buffer", $"{BufferMebibytes}M", "--max-frozen", "120s", "--quiet"];

    private static double Restore(BenchContext context, CrstoreProgram crstore, string format)
    {
        var path = context.FreshPath("image");
        var peak = Mebibytes(crstore, "restore", "memory", "--to", path, "--format", format, "--quiet");
        Directories.Remove(path);
        return peak;
    }

    private static double Mebibytes(CrstoreProgram crstore, params string[] arguments) => crstore.PeakMemory(arguments) / 1048576.0;
}
