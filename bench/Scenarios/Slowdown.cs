using System.Diagnostics;
using System.IO.MemoryMappedFiles;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// How much less a program gets done with a capture every ten seconds: redis-server under as much load as one client makes, and a loop that is bound by memory, with small pages and with huge ones.
/// Windows with a capture at their beginning, and without, in turn (ABBA), on the same process: what each window with one got done less than its neighbour is what a capture costs. As long as the captures
/// are over before the windows are, it makes no difference to the loop how long a window is: windows may be shorter than ten seconds, and more of them. "Between": the rest of a window, behind its capture.
/// "Tracked": with tracking, after everything was written once, against tracking taken out.
/// </summary>
internal sealed class Slowdown : IScenario
{
    private const double Period = 10; // s, between captures: what the figure is about
    private const int WarmUp = 4;     // captures, until what is written all the time is known to be

    public string Name => "slowdown";

    public string Title => "Slowdown of a program that is captured every ten seconds";

    public void Run(BenchContext context)
    {
        Loop(context, "loop bound by memory", "small");
        Redis(context);
    }

    /// <summary>The loop.</summary>
    public static void Loop(BenchContext context, string what, string pages)
    {
        var counter = context.FreshPath("counter");
        using var target = TargetProcess.Start(context.Tool("memory_loop"), $"{context.Pick(1024, 256)}", counter, pages);
        target.Expect("ready", TimeSpan.FromMinutes(2));
        using var file = MemoryMappedFile.CreateFromFile(counter, FileMode.Open);
        using var view = file.CreateViewAccessor();
        Measure(context, what, target.Pid, () => view.ReadInt64(0));
    }

    private static void Redis(BenchContext context)
    {
        var socket = context.FreshPath("redis.sock");
        using var target = TargetProcess.Start(Requires.Redis(), "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--loglevel", "warning");
        for (var clock = Stopwatch.StartNew(); !File.Exists(socket); System.Threading.Thread.Sleep(20))
            if (clock.Elapsed > TimeSpan.FromSeconds(30)) throw new TimeoutException("redis-server does not listen");
        var keys = context.Pick(1000000, 200000);
        using var load = new RedisLoad(socket, keys, context.Seed);
        while (load.Count < keys * 2L) System.Threading.Thread.Sleep(100); // most keys are there
        Measure(context, "redis-server under load", target.Pid, () => load.Count);
    }

    private static void Measure(BenchContext context, string what, int pid, Func<long> count)
    {
        var (seconds, pairs, tracked) = context.Pick((Period, 10, 8), (4.0, 6, 5));
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        Captured Capture() => crstore.Capture(pid, "--series", "slowdown", "--max-frozen", "60s");
        var never = Worked.During(pid, count, 2);
        for (var i = 0; i < WarmUp; i++) Capture();
        var captured = Alternate(pairs, () => Worked.During(pid, count, seconds), () => Worked.Around(pid, count, seconds, Capture));
        var idle = Alternate(tracked, () =>
        {
            crstore.Call("untrack", $"{pid}");
            return Worked.During(pid, count, context.Pick(4.0, 1.5));
        }, () =>
        {
            Capture();
            System.Threading.Thread.Sleep(1000); // all of it is written by then
            return Worked.During(pid, count, context.Pick(4.0, 1.5));
        });

        var report = context.Report;
        MedianInterval Of(Func<Worked, Worked, double> lost) => MedianInterval.Of(captured.Select(p => 100 * lost(p.Without, p.With) * p.With.Seconds / Period)); // what a window lost, of ten seconds
        var captures = captured.ConvertAll(p => p.With.Captured!);
        report.Line($"{what}: {pairs} pairs of windows of {seconds} s. A capture: frozen {captures.Select(c => c.FrozenMs).Median():0.0} ms, wall {captures.Select(c => c.WallMs).Median():0} ms, {captures.Select(c => (double)c.Dirty).Median():0} pages read, {captured.Select(p => (double)(p.With.Account.Faults - p.Without.Account.Faults)).Median():0} faults of the target ({captured.Average(p => (double)(p.With.Account.Faults - p.Without.Account.Faults)):0} on average). Median and interval of the pairs' differences:");
        report.Table(["of a capture every 10 s", "% lost", "by"],
        [
            ["all", Of((a, b) => 1 - b.Rate / a.Rate), "work per second"],
            ["frozen", Of((_, b) => b.Captured!.FrozenMs / 1000 / b.Seconds), "crstore's word"],
            ["waiting for a processor", Of((a, b) => b.WaitShare - a.WaitShare), "schedstat"],
            ["slower while it runs: faults, cache", Of((a, b) => 1 - b.RateOfOwnTime / a.RateOfOwnTime), "work per second of its own processor time"],
            ["of that in the kernel", Of((a, b) => b.SystemShare - a.SystemShare), "ticks of 10 ms"],
        ]);
        report.Line($"Work per second: {never.Rate:0} before its first capture, {captured.Select(p => p.Without.Rate).Median():0} in windows without one, {idle.Select(p => p.Without.Rate).Median():0} and {idle.Select(p => p.With.Rate).Median():0} without and with tracking.");
        report.Verdict($"{what}: slowdown with a capture every {Period} s", Of((a, b) => 1 - b.Rate / a.Rate), "%", 3);
        report.Verdict($"{what}: slowdown between captures", MedianInterval.Of(captured.Select(p => 100 * (1 - p.With.Behind!.Rate / p.Without.Rate))), "%", 1);
        report.Verdict($"{what}: slowdown while it is tracked and not captured", MedianInterval.Of(idle.Select(p => 100 * (1 - p.With.Rate / p.Without.Rate))), "%", 1);
    }

    // A B B A: what drifts with time is in both.
    private static List<(Worked Without, Worked With)> Alternate(int pairs, Func<Worked> without, Func<Worked> with)
    {
        var all = new List<(Worked, Worked)>();
        for (var i = 0; i < pairs; i++)
        {
            if (i % 2 == 0)
            {
                var first = without();
                all.Add((first, with()));
            }
            else
            {
                var first = with();
                all.Add((without(), first));
            }
        }

        return all;
    }
}
