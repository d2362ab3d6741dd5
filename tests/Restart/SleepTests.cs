using System.Diagnostics;
using System.Globalization;
using Crstore.Capture;
using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Restore.Restart;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Calls with a relative timeout, captured in the middle of it: they end when they would have, by the clock of the program (tests/Targets/sleeper.c).</summary>
public class SleepTests
{
    private const int Sleep = 11000, Before = 4000, Captured = 5000; // milliseconds: of all, and of it before an earlier capture and before the one that is restarted
    private const int Attempts = 4; // each with twice the times of the one before: where the machine is busy
    private const int Late = 3500; // that a busy machine may add. A sleep that begins anew takes Captured longer, one after an earlier capture at least Before

    // The kernel goes on with some by itself, and knows what is left of them; the others it makes again from the start after each capture, those with a timespec with all of their timeout.
    private static readonly string[] Continued = ["usleep", "nanosleep", "nanosleep_left", "poll", "ppoll", "select", "futex"];
    private static readonly string[] Repeated = ["epoll_pwait2", "sigtimedwait", "semtimedop"], Shortened = ["epoll_wait", "epoll_pwait"]; // the latter with what is left

    [Theory]
    [InlineData("usleep")]
    [InlineData("epoll_wait")]
    public void A_sleep_goes_on_for_what_was_left_of_it(string way) => Check([way], earlier: false, null);

    [Fact]
    public void In_every_way_and_in_many_threads() => Check([.. Continued, .. Repeated, .. Shortened, "futex_until"], earlier: false, null);

    // The first capture interrupts the sleep: what was left of it then counts.
    [Fact]
    public void After_an_earlier_capture_too() => Check([.. Continued, .. Shortened], earlier: true, null);

    [Fact]
    public void With_a_first_round_while_it_runs_too() => Check([.. Continued, .. Shortened], earlier: false, PreCopyPolicy.Always);

    // No capture has noted which calls those were, and no code says so (syscall(2) has the number from its caller).
    [Fact]
    public void Those_that_were_interrupted_by_others_before_end_without_an_error()
    {
        Requires.Root();
        string[] ways = ["nanosleep", "clock_nanosleep", "poll", "futex", "usleep"];
        for (var ms = 2000; ; ms *= 4)
        {
            using var run = RestartRun.Start("sleeper", [$"{ms}", .. ways]);
            run.Expect("ready");
            if (!AllSleep(run.Pid, ways.Length, again: false)) continue; // too late: it was over
            Signals.Kill(run.Pid, Signals.SIGSTOP);
            while (!Directory.GetDirectories($"/proc/{run.Pid}/task").All(t => TaskStat.Read(int.Parse(Path.GetFileName(t), CultureInfo.InvariantCulture)) is { State: 'T' })) Thread.Sleep(1);
            Signals.Kill(run.Pid, Signals.SIGCONT);
            if (!AllSleep(run.Pid, ways.Length, again: true)) continue;
            var crid = run.Capture();
            if (!AllSleep(run.Pid, ways.Length, again: true)) continue;
            run.Kill();
            run.Restart(crid, new RestartOptions { Detach = true, Stdio = Objects.Files.StdioPolicy.Null, Clock = ClockPolicy.Continue });
            Assert.All(ways, _ => Assert.DoesNotContain("error", run.ReadLine()));
            return;
        }
    }

    // False once it is over: then the main thread, which began last, reads.
    private static bool AllSleep(int pid, int threads, bool again)
    {
        const string read = "0", restart = "219"; // syscall_64.tbl
        while (true)
        {
            var calls = Directory.GetDirectories($"/proc/{pid}/task").Select(CallOf).ToList();
            if (calls.Contains(read)) return false;
            if (calls.Count == threads && calls.All(c => char.IsDigit(c[0]) && (c == restart) == again)) return true;
            Thread.Sleep(1);
        }
    }

    private static string CallOf(string task)
    {
        try
        {
            return File.ReadAllText(task + "/syscall").Split(' ')[0];
        }
        catch (IOException)
        {
            return "exited";
        }
    }

    // By the clock of the process's own time on a processor: how long it has slept says nothing of that.
    [Fact]
    public void A_sleep_by_the_time_on_a_processor_is_not_over_because_time_has_passed()
    {
        using var run = RestartRun.Python("""
            import ctypes, sys, threading, time
            begun, libc, over = time.process_time(), ctypes.CDLL(None), []
            def nap():
                libc.clock_nanosleep(time.CLOCK_PROCESS_CPUTIME_ID, 0, (ctypes.c_long * 2)(1, 0), None)
                over.append(1)
            threading.Thread(target=nap, daemon=True).start()
            time.sleep(0.1)
            print("ready")
            for line in sys.stdin:
                if line == "burn\n":
                    while not over and time.process_time() - begun < 20: pass
                print(len(over))
            """);
        run.Expect("ready");
        run.Capture();
        Thread.Sleep(2000); // more than it sleeps for
        var crid = run.Capture();
        run.Kill();
        run.Restart(crid);
        Assert.Equal("0", run.Ask("over?"));
        Assert.Equal("1", run.Ask("burn"));
    }

    // In most of the ways: a proof may fail (docs/FREEZING.md), here one in ten or twenty, and the timeout begins anew then. None is early.
    private static void Check(string[] ways, bool earlier, PreCopyPolicy? preCopy) =>
        Assert.Contains(Enumerable.Range(0, Attempts), attempt => Kept(ways, earlier, preCopy, 1 << attempt) >= (ways.Length + 1) / 2);

    // How many of them end when they would have; none if the machine was too busy to tell.
    private static int Kept(string[] ways, bool earlier, PreCopyPolicy? preCopy, int times)
    {
        Requires.Root();
        using var run = RestartRun.Start("sleeper", [$"{Sleep * times}", .. ways]);
        run.Expect("ready");
        var clock = Stopwatch.StartNew();
        if (earlier)
        {
            Thread.Sleep(Before * times);
            Capture();
        }

        Thread.Sleep(Math.Max(0, Captured * times - (int)clock.ElapsedMilliseconds));
        var crid = Capture();
        run.Kill();
        if (clock.ElapsedMilliseconds >= Sleep * times) return 0; // the sleeps were over
        run.Restart(crid, new RestartOptions { Detach = true, Stdio = Objects.Files.StdioPolicy.Null, Clock = ClockPolicy.Continue });
        var kept = 0;
        foreach (var line in ways.Select(_ => run.ReadLine()))
        {
            var (way, answer) = (line.Split(' ')[0], line.Split(' ')[^1]);
            Assert.Contains(way, ways);
            Assert.DoesNotContain("error", line);
            var slept = int.Parse(answer, CultureInfo.InvariantCulture);
            Assert.True(slept >= Sleep * times, $"{way} has slept for {slept} ms only");
            if (slept <= (Sleep + Late) * times) kept++;
        }

        return kept;

        Model.Crid Capture() => run.Capture(with: o => preCopy is { } policy ? o with { PreCopy = policy } : o);
    }
}
