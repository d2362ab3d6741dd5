using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Ten captures a second by `crstore watch` of a process that computes all the time and changes 1 % of its memory in each tenth of a second: are all
/// committed, and how much less does it get done than without? The two in turn, on the same process; before those without, tracking is taken out of it.
/// A full run watches for a minute in all.
/// </summary>
internal sealed class Watch : IScenario
{
    private const int Interval = 100; // ms

    public string Name => "watch";

    public string Title => "Ten captures a second: `watch --every 100ms`, 1 % dirty each time";

    public void Run(BenchContext context)
    {
        var mebibytes = 256;
        var (rounds, seconds) = context.Pick((6, 10), (2, 5));
        using var target = TargetProcess.Start("steady_worker", $"{mebibytes}", $"{mebibytes * 256 / 100}", $"{Interval}");
        target.Expect("ready");
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        crstore.Capture(target.Pid, "--series", "watch"); // the base: not what is measured here
        Work(target, 1);
        var (without, with, windows) = (new List<double>(), new List<double>(), new List<Window>());
        for (var round = 0; round < rounds; round++)
        {
            crstore.Call("untrack", $"{target.Pid}");
            without.Add(Work(target, seconds));
            using var watch = Begin(context, crstore, target.Pid);
            for (var i = 0; i < 2; i++) watch.StandardOutput.ReadLine(); // it is started, and rehearsed; and the tracker is armed
            var rest = watch.StandardOutput.ReadToEndAsync();
            var (began, used) = (Stopwatch.GetTimestamp(), watch.TotalProcessorTime);
            with.Add(Work(target, seconds));
            watch.Refresh();
            var (lasted, took) = (Stopwatch.GetElapsedTime(began), watch.TotalProcessorTime - used);
            Tests.Support.Run.Command("/bin/kill", ["-TERM", $"{watch.Id}"]).MustSucceed();
            windows.Add(new Window(Lines(watch, rest.GetAwaiter().GetResult()), lasted, took));
        }

        var report = context.Report;
        report.Line($"{mebibytes} MiB resident, {rounds} × {seconds} s with, and as long without, in turn; work in units a second.");
        report.Table(["", "median", "best", "worst"],
        [
            ["without watch", without.Median(), without.Max(), without.Min()],
            ["with watch", with.Median(), with.Max(), with.Min()],
        ]);
        report.Table(["captures", "missed", "failed", "s", "frozen p50 ms", "p99 ms", "longest ms", "frozen share %", "crstore's CPU ms each", "stored MiB"],
            windows.Select(w => w.Row()));
        report.Line("Of one capture, median ms:");
        report.Table(["phase", "ms", ""], Phases(windows));
        var told = 2 * rounds + windows.Sum(w => w.Captures.Count);
        var committed = crstore.Call("list", "--series", "watch", "--quiet").Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length - 1;
        report.Line($"Committed: {committed} of {told} that were told.");
        if (committed != told) throw new InvalidOperationException($"{told} captures were told, {committed} are there");
        var rate = windows.Sum(w => w.Captures.Count) / windows.Sum(w => w.Lasted.TotalSeconds);
        crstore.Call("verify", "watch@latest", "--read-data");
        report.Verdict("captures a second", rate, "", 0.98 * 1000 / Interval, atMost: false);
        report.Verdict("work lost under watch", 100 * (1 - with.Median() / without.Median()), "%", 10, atMost: true);
    }

    private static Process Begin(BenchContext context, CrstoreProgram crstore, int pid)
    {
        string[] arguments = ["watch", $"{pid}", "--series", "watch", "--every", $"{Interval}ms", "--json", "--store", crstore.Store];
        return Process.Start(new ProcessStartInfo(context.Program, arguments) { RedirectStandardOutput = true })!;
    }

    /// <summary>What it told, the summary last.</summary>
    private static List<JsonElement> Lines(Process watch, string output)
    {
        var lines = output.TrimEnd('\n').Split('\n');
        watch.WaitForExit();
        return watch.ExitCode == 0 ? [.. lines.Select(line => JsonDocument.Parse(line).RootElement)] : throw new InvalidOperationException($"exit code {watch.ExitCode}: {lines[^1]}");
    }

    /// <summary>Medians over all captures, in the order in which they come.</summary>
    private static IEnumerable<object[]> Phases(List<Window> windows) => windows.SelectMany(w => w.Captures)
        .SelectMany(c => c.GetProperty("phases").EnumerateArray())
        .GroupBy(p => (Name: p.GetProperty("name").GetString()!, Frozen: p.GetProperty("frozen").GetBoolean()))
        .Select(g => new object[] { g.Key.Name, g.Select(p => Number(p, "duration_ns") / 1e6).ToList().Median(), g.Key.Frozen ? "frozen" : "" });

    /// <summary>Units a second.</summary>
    private static double Work(TargetProcess target, int seconds)
    {
        var words = target.Ask($"work {seconds}", TimeSpan.FromSeconds(seconds * 5 + 60)).Split(' ');
        return double.Parse(words[1], CultureInfo.InvariantCulture) / double.Parse(words[2], CultureInfo.InvariantCulture);
    }

    private static ulong Number(JsonElement element, string name) => element.GetProperty(name).GetUInt64();

    /// <summary>A time of watching.</summary>
    private sealed record Window(List<JsonElement> Lines, TimeSpan Lasted, TimeSpan ProcessorTime)
    {
        public List<JsonElement> Captures => [.. Lines.Where(l => l.GetProperty("event").GetString() == "capture")];

        public object[] Row()
        {
            var (end, frozen) = (Lines[^1], Captures.Select(c => Number(c, "frozen_ns") / 1e6).ToList());
            return
            [
                Captures.Count, Number(end, "missed"), Number(end, "failed"), Lasted.TotalSeconds, Number(end, "frozen_p50_ns") / 1e6, Number(end, "frozen_p99_ns") / 1e6,
                Number(end, "frozen_max_ns") / 1e6, frozen.Sum() / Lasted.TotalMilliseconds * 100, ProcessorTime.TotalMilliseconds / Captures.Count, Number(end, "bytes_stored") / 1048576.0,
            ];
        }
    }
}
