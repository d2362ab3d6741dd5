using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Ten captures a second by `crstore watch` of a process that computes all the time and changes 1 % of its memory in each tenth of a second: are all
/// committed, and how much less does it get done than without? The two in turn, on the same process.
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
        var (without, with, ends) = (new List<double>(), new List<double>(), new List<JsonElement>());
        for (var round = 0; round < rounds; round++)
        {
            without.Add(Work(target, seconds));
            using var watch = Begin(context, crstore, target.Pid);
            watch.StandardOutput.ReadLine(); // the first one: it is started, and rehearsed
            var rest = watch.StandardOutput.ReadToEndAsync();
            with.Add(Work(target, seconds));
            Tests.Support.Run.Command("/bin/kill", ["-TERM", $"{watch.Id}"]).MustSucceed();
            ends.Add(LastOf(watch, rest.GetAwaiter().GetResult()));
        }

        var report = context.Report;
        report.Line($"{mebibytes} MiB resident, {rounds} × {seconds} s with, and as long without, in turn; work in units a second.");
        report.Table(["", "median", "best", "worst"],
        [
            ["without watch", without.Median(), without.Max(), without.Min()],
            ["with watch", with.Median(), with.Max(), with.Min()],
        ]);
        report.Table(["captures", "missed", "failed", "s", "frozen p50 ms", "p99 ms", "longest ms", "frozen share %", "stored MiB"],
            ends.Select(e => new object[]
            {
                Number(e, "captures"), Number(e, "missed"), Number(e, "failed"), Number(e, "duration_ns") / 1e9, Number(e, "frozen_p50_ns") / 1e6, Number(e, "frozen_p99_ns") / 1e6,
                Number(e, "frozen_max_ns") / 1e6, Number(e, "frozen_p50_ns") * 100.0 * Number(e, "captures") / Number(e, "duration_ns"), Number(e, "bytes_stored") / 1048576.0,
            }));
        var committed = crstore.Call("list", "--series", "watch", "--quiet").Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length - 1;
        var taken = ends.Sum(e => (double)Number(e, "captures"));
        var ticks = taken + ends.Sum(e => (double)Number(e, "missed"));
        report.Line($"Committed: {committed} of {taken} that were told. Expected by the clock: {ends.Sum(e => Number(e, "duration_ns") / 1e6 / Interval):0}.");
        crstore.Call("verify", "watch@latest", "--read-data");
        report.Verdict("captures that were made and committed, of all ticks", committed / ticks, "", 1, atMost: false);
        report.Verdict("work lost under watch", 100 * (1 - with.Median() / without.Median()), "%", 10, atMost: true);
    }

    private static Process Begin(BenchContext context, CrstoreProgram crstore, int pid)
    {
        string[] arguments = ["watch", $"{pid}", "--series", "watch", "--every", $"{Interval}ms", "--json", "--store", crstore.Store];
        return Process.Start(new ProcessStartInfo(context.Program, arguments) { RedirectStandardOutput = true })!;
    }

    /// <summary>The summary, which it prints last.</summary>
    private static JsonElement LastOf(Process watch, string output)
    {
        var last = output.TrimEnd('\n').Split('\n')[^1];
        watch.WaitForExit();
        return watch.ExitCode == 0 ? JsonDocument.Parse(last).RootElement : throw new InvalidOperationException($"exit code {watch.ExitCode}: {last}");
    }

    /// <summary>Units a second.</summary>
    private static double Work(TargetProcess target, int seconds)
    {
        var words = target.Ask($"work {seconds}", TimeSpan.FromSeconds(seconds * 5 + 60)).Split(' ');
        return double.Parse(words[1], CultureInfo.InvariantCulture) / double.Parse(words[2], CultureInfo.InvariantCulture);
    }

    private static ulong Number(JsonElement element, string name) => element.GetProperty(name).GetUInt64();
}
