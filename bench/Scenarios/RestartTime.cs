using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Crstore.Linux.Memory;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// From the command `crstore restart` to the first instruction of the restarted process, which looks at the clock without pause; and how
/// fast its pages go in, against copying as much into fresh memory (page faults included) in the same run: in all, and for each byte
/// that a process is larger than the smallest, which is the speed without what every restart costs. The store is in the page cache.
/// Reading begins while the processes are being made: what "pages in" counts begins there, too.
/// </summary>
internal sealed class RestartTime : IScenario
{
    public string Name => "restart";

    public string Title => "Restart: from the command to the first instruction";

    public void Run(BenchContext context)
    {
        var rows = new List<object[]>();
        var (slowest, slowestWithStart) = (double.MaxValue, double.MaxValue);
        (double Bytes, double Ms)? smallest = null;
        foreach (var mebibytes in context.Full ? [64, 512, 2048] : new[] { 64, 256 })
        {
            var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
            var file = context.FreshPath("gaps");
            var pid = Capture(context, crstore, mebibytes, file);
            var samples = new List<(double FirstMs, double FillMs, double Bytes, double CommandMs)>();
            var copies = new List<double>();
            for (var i = 0; i < context.Pick(7, 3); i++) // in turn: what memory costs changes from moment to moment
            {
                samples.Add(Restart(crstore, pid, file));
                copies.Add(CopySpeed(mebibytes));
            }

            var copy = copies.Median();
            var (bytes, ms) = (samples[0].Bytes, samples.Select(s => s.FillMs).Median());
            var whole = bytes / 1e3 / ms;
            // What the smallest takes is mostly a runtime that starts and processes that are made; each byte beyond that is pages going in.
            var further = smallest is { } less ? (bytes - less.Bytes) / 1e3 / (ms - less.Ms) : double.NaN;
            if (smallest is not null) slowest = Math.Min(slowest, further / copy);
            slowestWithStart = Math.Min(slowestWithStart, whole / copy);
            smallest ??= (bytes, ms);
            rows.Add([mebibytes, samples.Select(s => s.FirstMs).Median(), samples.Min(s => s.FirstMs), ms, whole, whole / copy, double.IsNaN(further) ? "" : $"{further:0}", copy]);
        }

        context.Report.Table(["MiB", "first instruction ms", "best", "pages in ms", "MB/s", "× copy", "MB/s beyond the smallest", "copy into fresh memory MB/s"], rows);
        context.Report.Line(FormattableString.Invariant($"With all that comes before and between (processes are made, memory is mapped, code is compiled) the slowest is {slowestWithStart:0.00} × copying."));
        context.Report.Line(File.Exists("/usr/sbin/criu") ? "CRIU is installed; Debian's does not work on this kernel (docs)." : "CRIU: not installed.");
        context.Report.Verdict("pages beyond the smallest process go in, over copying into fresh memory, the slowest", slowest, "×", 0.5, atMost: false);
        RunLazily(context);
    }

    // Before its memory is there: the same for every size.
    private static void RunLazily(BenchContext context)
    {
        var rows = new List<object[]>();
        var medians = new List<double>();
        foreach (var mebibytes in new[] { 64, 1024 })
        {
            var crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
            var file = context.FreshPath("gaps");
            var pid = Capture(context, crstore, mebibytes, file);
            var samples = Enumerable.Range(0, context.Pick(7, 3)).Select(_ => Restart(crstore, pid, file, "--lazy")).ToList();
            medians.Add(samples.Select(s => s.FirstMs).Median());
            rows.Add([mebibytes, medians[^1], samples.Min(s => s.FirstMs), samples.Select(s => s.CommandMs).Median()]);
        }

        context.Report.Table(["MiB, --lazy", "first instruction ms", "best", "all filled ms"], rows);
        context.Report.Verdict("with --lazy from the command to the first instruction, the slower of both sizes", medians.Max(), "ms", 100, atMost: true);
        context.Report.Verdict("and the larger over the smaller size", medians[1] / medians[0], "×", 1.5, atMost: true);
    }

    private static int Capture(BenchContext context, CrstoreProgram crstore, int mebibytes, string file)
    {
        var output = context.FreshPath("out");
        var start = new TargetStart(Targets.Path("first_instruction"), $"{mebibytes}", $"{context.Seed}", file);
        using var target = TargetProcess.Start(start.AsDaemon("/dev/null", output, "/dev/null"));
        while (!File.Exists(output) || !File.ReadAllText(output).StartsWith("ready", StringComparison.Ordinal)) Thread.Sleep(20);
        crstore.Capture(target.Pid, "--series", "restart", "--max-frozen", "60s");
        return target.Pid;
    }

    private static (double FirstMs, double FillMs, double Bytes, double CommandMs) Restart(CrstoreProgram crstore, int pid, string file, params string[] more)
    {
        File.Delete(file);
        var began = (DateTime.UtcNow - DateTime.UnixEpoch).Ticks * 100;
        var called = crstore.Call(["restart", "restart", "--detach", "--json", .. more]);
        using var json = JsonDocument.Parse(called.Output);
        try
        {
            for (var clock = Stopwatch.StartNew(); ; Thread.Sleep(1))
            {
                if (File.Exists(file) && File.ReadAllText(file) is { Length: > 0 } text && text.EndsWith('\n'))
                {
                    var first = long.Parse(text.Split('\n')[0], CultureInfo.InvariantCulture);
                    var fill = json.RootElement.GetProperty("phases").EnumerateArray().Where(p => p.GetProperty("name").GetString() is "tree" or "map" or "fill").Sum(p => p.GetProperty("ms").GetDouble());
                    return ((first - began) / 1e6, fill, json.RootElement.GetProperty("bytes").GetDouble(), called.Elapsed.TotalMilliseconds);
                }

                if (clock.Elapsed > TimeSpan.FromSeconds(30)) throw new TimeoutException("the restarted process did not go on");
            }
        }
        finally
        {
            Linux.Signals.TryKill(pid, Linux.Signals.SIGKILL);
            while (Directory.Exists($"/proc/{pid}")) Thread.Sleep(1);
        }
    }

    // As much as the process has, in pieces that fit a span; all of it is kept until the end, as it is in a process.
    private static double CopySpeed(int mebibytes)
    {
        const int piece = 64;
        using IDisposable owner = new MappedMemory(piece << 20, huge: true);
        var from = ((MappedMemory)owner).GetSpan();
        from.Fill(1);
        var pieces = Enumerable.Range(0, (mebibytes + piece - 1) / piece).Select(_ => new MappedMemory(piece << 20, huge: false)).ToList();
        var clock = Stopwatch.StartNew();
        foreach (var to in pieces) from.CopyTo(to.GetSpan());
        var seconds = clock.Elapsed.TotalSeconds;
        foreach (IDisposable each in pieces) each.Dispose();
        return pieces.Count * (double)from.Length / 1e6 / seconds;
    }
}
