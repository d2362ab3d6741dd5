using System.Diagnostics;
using System.Globalization;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>timerfd and pidfd.</summary>
public class EventFileTests
{
    private const string Timers = """
        import ctypes, os, select, struct, sys, time
        libc = ctypes.CDLL(None, use_errno=True)
        def timer(clock=time.CLOCK_MONOTONIC, value=0.0, interval=0.0, flags=0):
            fd = libc.timerfd_create(clock, os.O_NONBLOCK)
            set(fd, value, interval, flags)
            return fd
        def set(fd, value, interval, flags=0):
            spec = struct.pack("qqqq", int(interval), int(interval % 1 * 1e9), int(value), int(value % 1 * 1e9))
            assert libc.timerfd_settime(fd, flags, spec, None) == 0
        def get(fd):
            spec = ctypes.create_string_buffer(32)
            assert libc.timerfd_gettime(fd, spec) == 0
            i, ins, v, vns = struct.unpack("qqqq", spec.raw)
            return v + vns / 1e9, i + ins / 1e9
        def read(fd):
            try: return struct.unpack("Q", os.read(fd, 8))[0]
            except BlockingIOError: return 0
        """;

    [Fact]
    public void A_timerfd_goes_on_with_what_was_left_of_it()
    {
        using var run = RestartRun.Python(Timers + """

            once = timer(value=100)
            often = timer(value=50, interval=3)
            absolute = timer(value=time.monotonic() + 200, flags=1)
            date = timer(clock=time.CLOCK_REALTIME, value=time.time() + 300, flags=1 | 2)
            idle = timer()
            print("ready")
            for line in sys.stdin:
                print(*[f"{get(fd)[0]:.3f}/{get(fd)[1]:.3f}" for fd in (once, often, absolute, date, idle)])
            """);
        run.Expect("ready");
        var began = Stopwatch.StartNew();
        var before = Left();
        var crid = run.Capture();
        run.Kill();
        var gone = Stopwatch.StartNew();
        Thread.Sleep(2500);
        gone.Stop();
        run.Restart(crid);
        var after = Left();
        // The time in between does not count; of a date that is kept it does.
        var most = (began.Elapsed - gone.Elapsed).TotalSeconds + 0.1;
        for (var i = 0; i < 4; i++) Assert.InRange(before[i][0] - after[i][0], 0, most);
        Assert.True(after[0][0] > 50 && after[1][0] > 3 && after[2][0] > 150 && after[3][0] > 250, "they have not gone on with what they had");
        Assert.Equal([0, 3, 0, 0, 0], after.Select(l => l[1]));
        Assert.Equal([0, 0], after[4]);

        List<double[]> Left() => [.. run.Ask("now").Split(' ').Select(w => w.Split('/').Select(n => double.Parse(n, CultureInfo.InvariantCulture)).ToArray())];
    }

    [Fact]
    public void Expirations_that_were_not_read_are_still_there_and_timers_go_on_after_them()
    {
        using var run = RestartRun.Python(Timers + """

            once = timer(value=0.001)
            often = timer(value=0.001, interval=0.2)
            counted = timer(value=0.001, interval=0.01)
            time.sleep(0.1); get(counted)      # which makes the kernel count
            set_aside = timer(value=0.001, interval=1000)
            time.sleep(0.1); get(set_aside)
            time.sleep(0.05)
            print("ready")
            for line in sys.stdin:
                first = [read(fd) for fd in (once, often, counted, set_aside)]
                select.select([often], [], [], 10)
                print(first[0], first[1] >= 1, first[2] >= 10, first[3], read(once), read(often) >= 1, f"{900 < get(set_aside)[0] <= 1000}")
            """);
        run.Expect("ready");
        run.Cycle();
        Assert.Equal("1 True True 1 0 True True", run.Ask("now"));
    }

    [Fact]
    public void A_pidfd_stands_for_the_same_process_in_every_process_that_has_it()
    {
        using var run = RestartRun.Python("""
            import os, select, signal, sys
            mine = os.pidfd_open(os.getpid())
            os.set_inheritable(mine, True)
            r, w = os.pipe()
            child = os.fork()
            if child == 0:
                os.read(r, 1)
                signal.pidfd_send_signal(mine, signal.SIGUSR1)
                os.read(r, 1)
                os._exit(7)
            its = os.pidfd_open(child)
            copy = os.dup(its)
            seen = []
            signal.signal(signal.SIGUSR1, lambda *a: seen.append(1))
            print("ready")
            for line in sys.stdin:
                os.write(w, b"x")
                while not seen: signal.sigtimedwait([], 0.01)
                before = select.select([its], [], [], 0)[0] == []
                os.write(w, b"x")
                os.waitid(os.P_PIDFD, copy, os.WEXITED | os.WNOWAIT)
                after = select.select([its], [], [], 0)[0] == [its]
                print(len(seen), before, after, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), os.get_inheritable(mine), os.get_inheritable(its))
            """);
        run.Expect("ready");
        run.Cycle(tree: true);
        Assert.Equal("1 True True 7 True False", run.Ask("now"));
    }

    [Fact]
    public void A_pidfd_of_a_process_outside_is_refused()
    {
        using var run = RestartRun.Python("import os, sys\nfd = os.pidfd_open(1)\nprint('ready')\nsys.stdin.read()");
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        Assert.Contains("process 1, which is not in the checkpoint", Assert.Throws<Model.TargetException>(() => run.Restart(crid)).Message, StringComparison.Ordinal);
    }
}
