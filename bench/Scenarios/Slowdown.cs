using System.Diagnostics;
using System.IO.MemoryMappedFiles;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// How much less a program gets done while it is captured every ten seconds, than while it never was: redis-server under as much load as one
/// client makes, and a loop that is bound by memory. Windows without and with captures in turn; before those without, tracking is taken out
/// of the process. "Between" is what is left of the windows with captures when the time from the start of each capture to its end is taken out:
/// what the tracking alone costs (a page fault for the first write to a page after each capture).
/// </summary>
internal sealed class Slowdown : IScenario
{
    private static readonly TimeSpan Sample = TimeSpan.FromMilliseconds(50);

    public string Name => "slowdown";

    public string Title => "Slowdown of a program that is captured every ten seconds";

    public void Run(BenchContext context)
    {
        var rows = new List<object[]>();
        Loop(context, rows);
        Redis(context, rows);
        context.Report.Table(["target", "window", "units/s without", "units/s with", "units/s between captures", "slowdown %", "between %", "captures", "wall ms of one", "frozen ms of one"], rows);
    }

    private static void Loop(BenchContext context, List<object[]> rows)
    {
        var counter = context.FreshPath("counter");
        using var target = TargetProcess.Start(context.Tool("memory_loop"), $"{context.Pick(1024, 256)}", counter);
        target.Expect("ready", TimeSpan.FromMinutes(2));
        using var file = MemoryMappedFile.CreateFromFile(counter, FileMode.Open);
        using var view = file.CreateViewAccessor();
        Measure(context, "loop bound by memory", target.Pid, () => view.ReadInt64(0), rows);
    }

    private static void Redis(BenchContext context, List<object[]> rows)
    {
        var socket = context.FreshPath("redis.sock");
        using var target = TargetProcess.Start(Requires.Redis(), "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--loglevel", "warning");
        for (var clock = Stopwatch.StartNew(); !File.Exists(socket); System.Threading.Thread.Sleep(20))
            if (clock.Elapsed > TimeSpan.FromSeconds(30)) throw new TimeoutException("redis-server does not listen");
        var keys = context.Pick(1000000, 200000);
        using var load = new RedisLoad(socket, keys, context.Seed);
        while (load.Count < keys * 2L) System.Threading.Thread.Sleep(100); // most keys are there
        Measure(context, "redis-server under load", target.Pid, () => load.Count, rows);
    }

    private static void Measure(BenchContext context, string what, int pid, Func<long> count, List<object[]> rows)
    {
        var (seconds, every, pairs) = (context.Pick(40, 20), 10, context.Pick(5, 2));
        var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
        var windows = new List<(double Without, double With, double Between)>();
        var captures = new List<Captured>();
        for (var i = 0; i < pairs; i++)
        {
            if (i > 0) crstore.Call("untrack", $"{pid}");
            var without = Window(seconds, seconds, count, () => { });
            crstore.Capture(pid, "--series", "slowdown", "--max-frozen", "60s"); // arms the tracker: not part of the window
            var with = Window(seconds, every, count, () => captures.Add(crstore.Capture(pid, "--series", "slowdown", "--max-frozen", "60s")));
            windows.Add((without.Whole, with.Whole, with.Between));
        }

        var all = windows.Select(w => w.With / w.Without).Median();
        var between = windows.Select(w => w.Between / w.Without).Median();
        rows.Add([what, $"{seconds} s", windows.Select(w => w.Without).Median(), windows.Select(w => w.With).Median(), windows.Select(w => w.Between).Median(),
            100 * (1 - all), 100 * (1 - between), captures.Count, captures.Select(c => c.WallMs).Median(), captures.Select(c => c.FrozenMs).Median()]);
        context.Report.Verdict($"{what}: slowdown with a capture every {every} s", 100 * (1 - all), "%", 3, atMost: true);
        context.Report.Verdict($"{what}: slowdown between captures", 100 * (1 - between), "%", 1, atMost: true);
    }

    /// <summary>Units a second over a window, with a capture in the middle of each period on a thread of its own; and over the samples that no capture touched.</summary>
    private static (double Whole, double Between) Window(int seconds, int every, Func<long> count, Action capture)
    {
        Task? running = null;
        var (began, first) = (Stopwatch.GetTimestamp(), count());
        var (at, was, captured) = (began, first, 0);
        var (quietTime, quietUnits) = (0.0, 0L);
        while (Stopwatch.GetElapsedTime(began).TotalSeconds < seconds)
        {
            var busy = running is { IsCompleted: false };
            if (!busy && Stopwatch.GetElapsedTime(began).TotalSeconds > every * (captured + 0.5))
            {
                captured++;
                running = Task.Run(capture);
                busy = true;
            }

            System.Threading.Thread.Sleep(Sample);
            var (now, units) = (Stopwatch.GetTimestamp(), count());
            if (!busy)
            {
                quietTime += Stopwatch.GetElapsedTime(at, now).TotalSeconds;
                quietUnits += units - was;
            }

            (at, was) = (now, units);
        }

        var whole = (was - first) / Stopwatch.GetElapsedTime(began, at).TotalSeconds;
        running?.GetAwaiter().GetResult();
        return (whole, quietUnits / quietTime);
    }
}
