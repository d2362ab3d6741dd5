using System.Globalization;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Objects.Files;
using Crstore.Restore.Restart;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Restarting where the old ids are taken, several copies at once, and clocks that go on.</summary>
public class NamespaceTests
{
    private const int Pause = 34; // pause(2), syscall_64.tbl
    private static readonly RestartOptions Copy = new() { Detach = true, NewPids = true, Stdio = StdioPolicy.Null, Files = FilesPolicy.Warn };

    [Fact]
    public void Copies_run_beside_the_original_each_with_the_old_ids_in_a_namespace_of_its_own()
    {
        using var file = new TempDir();
        using var run = RestartRun.Python("""
            import os, sys, signal, time
            n = 0
            def tell(*_):
                global n
                n += 1
                with open(sys.argv[1], "a") as f: f.write(f"{os.getpid()} {child} {n}\n")
            child = os.fork()
            if child == 0:
                while True: time.sleep(1000)
            signal.signal(signal.SIGUSR1, tell)
            print("ready")
            while True: signal.pause()
            """, file.File("told"));
        run.Expect("ready");
        Patience.UntilItIsIn(run.Pid, Pause);
        Signals.Kill(run.Pid, 10);
        var first = Told(file.File("told"), 1)[0];
        Patience.UntilItIsIn(run.Pid, Pause);
        var crid = run.Capture(tree: true);
        var copies = new[] { run.Restart(crid, Copy), run.Restart(crid, Copy), run.Restart(crid, Copy) };
        Assert.Equal(4, copies.Select(c => c.RootPid).Append(run.Pid).Distinct().Count());
        Assert.All(copies, c => Assert.Equal(2, c.Pids.Count));
        for (var i = 0; i < copies.Length; i++)
        {
            Patience.UntilItIsIn(copies[i].RootPid, Pause);
            Signals.Kill(copies[i].RootPid, 10);
            Assert.Equal(first[..^1] + "2", Told(file.File("told"), 2 + i)[^1]);
        }
    }

    [Fact]
    public void Old_ids_that_are_in_use_are_named_and_nothing_is_left_behind()
    {
        using var run = RestartRun.Python("import sys\nprint('ready')\nfor line in sys.stdin: print('alive')");
        run.Expect("ready");
        var crid = run.Capture();
        var error = Assert.Throws<TargetException>(() => run.Restart(crid));
        Assert.Contains($"{run.Pid}", error.Message);
        Assert.Contains("python", error.Message);
        Assert.Contains("--new-pids", error.Hint);
        Assert.Equal("alive", run.Ask("?"));
    }

    [Fact]
    public void The_namespaces_end_comes_after_the_last_process_with_the_roots_exit_code()
    {
        using var run = RestartRun.Python("""
            import os, sys, signal, time
            signal.signal(signal.SIGTERM, lambda *_: os._exit(42))
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                time.sleep(1); os._exit(3)
            print("ready")
            while True: signal.pause()
            """);
        run.Expect("ready");
        var crid = run.Capture(tree: true);
        var copy = run.Restart(crid, Copy);
        Assert.NotEqual(copy.RootPid, copy.WaitPid);
        Patience.UntilItIsIn(copy.RootPid, Pause);
        Signals.Kill(copy.RootPid, 15);
        Assert.Equal(42, run.WaitForExit(copy));
    }

    [Fact]
    public void The_monotonic_clock_goes_on_as_if_no_time_had_passed()
    {
        using var run = RestartRun.Python("import sys, time\nprint('ready')\nfor line in sys.stdin: print(time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), time.time())");
        run.Expect("ready");
        var before = Times(run.Ask("?"));
        var crid = run.Capture();
        run.Kill();
        Thread.Sleep(3000);
        run.Restart(crid, Copy with { NewPids = false, Clock = ClockPolicy.Continue });
        var after = Times(run.Ask("?"));
        Assert.True(after[2] - before[2] >= 3);
        Assert.InRange(after[0] - before[0], 0, after[2] - before[2] - 2.5);
        Assert.InRange(after[1] - before[1], 0, after[2] - before[2] - 2.5);
    }

    private const string Family = """
        import fcntl, os, select, signal, sys, threading, time
        r, w = os.pipe()
        alarm, _ = os.pipe()
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGUSR1, lambda *_: os.write(w, f"{os.getpid()} {os.getppid()} {os.getpgid(0)}".encode()))
            os.setpgid(0, 0)
            os.write(w, b"up")
            while True: time.sleep(0.02)        # not pause(2): a signal right before it would be heard at the next one
        gone = os.fork()
        if gone == 0: os._exit(7)
        os.waitid(os.P_PID, gone, os.WEXITED | os.WNOWAIT)
        pidfd = os.pidfd_open(child)
        poll = select.epoll()
        poll.register(r, select.EPOLLIN)
        fcntl.fcntl(alarm, fcntl.F_SETOWN, child) # no signals yet: O_ASYNC is not set
        go, went = threading.Semaphore(0), threading.Semaphore(0)
        def other():
            while True:
                go.acquire()
                ids.append(threading.get_native_id())
                went.release()
        ids = []
        threading.Thread(target=other, daemon=True).start()
        os.read(r, 10)
        def tell():
            signal.pidfd_send_signal(pidfd, signal.SIGUSR1)
            said = poll.poll() and os.read(r, 100).decode()
            go.release()
            went.acquire()
            return f"{os.getpid()} {child} {said} {ids[-1]} {os.waitid(os.P_PID, gone, os.WEXITED | os.WNOWAIT).si_status} {threading.get_native_id()} {fcntl.fcntl(alarm, fcntl.F_GETOWN)}"
        n = 0
        print("ready")
        for line in sys.stdin:
            n += 1
            print(f"{n}: {tell()}")
        """;

    [Theory, InlineData(true), InlineData(false)]
    public void A_copy_is_captured_again_and_its_series_goes_on(bool newPids)
    {
        using var run = RestartRun.Python(Family);
        run.Expect("ready");
        var ids = run.Ask("?")[2..];
        var crid = run.Capture(tree: true);
        run.Kill();
        for (var n = 2; n < 4; n++)
        {
            var copy = run.Restart(crid, Copy);
            Assert.NotEqual(run.Pid, copy.RootPid);
            Assert.Equal($"{n}:{ids}", run.Ask("?"));
            var increment = run.Capture(tree: true, with: o => o with { Pid = copy.RootPid });
            crid = run.Capture(tree: true, with: o => o with { Pid = copy.RootPid });
            Assert.True(run.Manifest(crid).Header.Pages.Dirty < run.Manifest(increment).Header.Pages.Dirty, "the second capture of the copy is no increment");
            run.Kill();
        }

        // From its namespace into the host's, where its ids are free.
        run.Restart(crid, Copy with { NewPids = newPids });
        Assert.Equal($"4:{ids}", run.Ask("?"));
    }

    [Fact]
    public void A_namespaces_first_process_restarts_with_all_that_is_below_it()
    {
        using var run = RestartRun.Start("/usr/bin/unshare", "--pid", "--fork", Requires.Python(), "-u", "-c", Family);
        run.Expect("ready");
        var ids = run.Ask("?")[2..];
        Assert.StartsWith(" 1 ", ids);
        var first = Assert.Single(TaskList.Children(run.Pid));
        var crid = run.Capture(tree: true, with: o => o with { Pid = first });
        run.Kill();
        Assert.Contains("--new-pids", Assert.Throws<TargetException>(() => run.Restart(crid)).Hint);
        var copy = run.Restart(crid, Copy);
        Assert.Equal(copy.WaitPid, copy.RootPid);
        Assert.Equal($"2:{ids}", run.Ask("?"));
    }

    [Fact]
    public void The_first_process_of_a_copys_namespace_is_crstores_own_and_refused()
    {
        using var run = RestartRun.Python(Family);
        run.Expect("ready");
        var copy = run.Restart(run.Capture(tree: true), Copy);
        var crid = run.Capture(tree: true, with: o => o with { Pid = copy.WaitPid });
        run.Kill();
        Assert.Contains("capture the process below it", Assert.Throws<TargetException>(() => run.Restart(crid, Copy)).Message);
    }

    [Fact]
    public void Files_of_a_process_in_proc_come_back_with_its_old_id_and_are_refused_with_another()
    {
        using var run = RestartRun.Python("""
            import os, sys
            f = open("/proc/self/status")
            f.read(10)
            print("ready")
            for line in sys.stdin:
                f.seek(0)
                print([l.split()[1] for l in f if l.startswith("Pid:")] == [str(os.getpid())])
            """);
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        Assert.Contains("where the host's ids are", Assert.Throws<TargetException>(() => run.Restart(crid, Copy)).Message);
        run.Restart(crid);
        Assert.Equal("True", run.Ask("?"));
    }

    [Fact]
    public void Clocks_that_went_on_go_on_again()
    {
        using var run = RestartRun.Python("import sys, time\nprint('ready')\nfor line in sys.stdin: print(time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), time.time())");
        run.Expect("ready");
        var begin = Times(run.Ask("?"));
        var crid = run.Capture();
        run.Kill();
        Thread.Sleep(3000);
        run.Restart(crid, Copy with { NewPids = false, Clock = ClockPolicy.Continue });
        crid = run.Capture();
        run.Kill();
        Thread.Sleep(3000);
        run.Restart(crid, Copy with { NewPids = false, Clock = ClockPolicy.Continue });
        crid = run.Capture();
        AssertBehind(6);
        run.Kill();
        Thread.Sleep(1000);
        run.Restart(crid, Copy with { NewPids = false }); // as far behind the host's as they were
        AssertBehind(6);
        run.Kill();
        run.Restart(crid, Copy with { NewPids = false, Clock = ClockPolicy.Host });
        var end = Times(run.Ask("?"));
        Assert.InRange(end[2] - begin[2] - (end[0] - begin[0]), -3, 3);

        void AssertBehind(double seconds)
        {
            var now = Times(run.Ask("?"));
            foreach (var clock in new[] { 0, 1 }) Assert.InRange(now[2] - begin[2] - (now[clock] - begin[clock]), seconds - 0.5, double.MaxValue);
        }
    }

    private static double[] Times(string line) => [.. line.Split(' ').Select(w => double.Parse(w, CultureInfo.InvariantCulture))];

    private static string[] Told(string path, int lines)
    {
        string[] told = [];
        Patience.Until(() => (told = File.Exists(path) && File.ReadAllText(path) is { } text && text.EndsWith('\n') ? text[..^1].Split('\n') : []).Length >= lines, () => $"{told.Length} lines instead of {lines}");
        return told;
    }
}
