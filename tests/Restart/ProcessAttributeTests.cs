using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>What belongs to a process as a whole: credentials, limits, directory, masks, handlers, timers, pending signals.</summary>
public class ProcessAttributeTests
{
    [Fact]
    public void Limits_mask_directory_niceness_dumpable_subreaper_and_user_come_back()
    {
        using var run = RestartRun.Python("""
            import os, sys, resource, ctypes
            libc = ctypes.CDLL(None, use_errno=True)
            def get(option):
                value = ctypes.c_int(-1)
                libc.prctl(option, ctypes.byref(value), 0, 0, 0)
                return value.value
            os.umask(0o137)
            os.chdir("/usr/share")
            resource.setrlimit(resource.RLIMIT_CORE, (1234, 5678))
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
            os.nice(3)
            libc.prctl(36, 1, 0, 0, 0)
            libc.prctl(15, b"a (name) \\ ", 0, 0, 0)
            os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
            libc.personality(0x0040000)
            open("/proc/self/oom_score_adj", "w").write("123")
            open("/proc/self/coredump_filter", "w").write("0x13")
            libc.prctl(28, 0x10, 0, 0, 0)
            os.setgroups([5, 7])
            os.setresgid(1000, 1001, 1002)
            os.setresuid(1003, 1003, 1005)
            libc.prctl(38, 1, 0, 0, 0)
            libc.prctl(4, 0, 0, 0, 0)
            libc.prctl(41, 1, 0, 0, 0)                 # PR_SET_THP_DISABLE
            libc.syscall(251, 1, 0, 2 << 13 | 6)       # ioprio_set: best effort, 6
            def tell():
                status = [l for l in open("/proc/thread-self/status") if l.split(":")[0] in ("Name", "Umask", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")]
                old = os.umask(0); os.umask(old)
                return [oct(old), os.getcwd(), resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_NOFILE), os.nice(0), get(37), libc.prctl(3, 0, 0, 0, 0),
                    libc.prctl(27, 0, 0, 0, 0), os.sched_getaffinity(0), hex(libc.personality(0xffffffff)), libc.prctl(39, 0, 0, 0, 0), os.getresuid(), os.getresgid(), os.getgroups(), status,
                    libc.prctl(42, 0, 0, 0, 0), libc.syscall(252, 1, 0)]
            before = tell()
            print("ready", flush=True)
            for line in sys.stdin: print("same" if tell() == before else f"{before} {tell()}")
            """);
        run.Expect("ready");
        run.Cycle();
        Assert.Equal("same", run.Ask("?"));
        Assert.Equal("123", File.ReadAllText($"/proc/{run.Pid}/oom_score_adj").Trim());
        Assert.Equal("00000013", File.ReadAllText($"/proc/{run.Pid}/coredump_filter").Trim());
    }

    [Fact]
    public void Handlers_masks_and_pending_signals_with_their_values_come_back()
    {
        using var run = RestartRun.Python("""
            import os, sys, signal, ctypes, threading
            libc = ctypes.CDLL(None, use_errno=True)
            got = []
            signal.signal(signal.SIGUSR1, lambda *_: got.append("usr1"))
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda *_: got.append("term"))
            blocked = [signal.SIGUSR1, signal.SIGRTMIN, signal.SIGRTMIN + 1]
            signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
            os.kill(os.getpid(), signal.SIGUSR1)
            for value in (11, 22): libc.sigqueue(os.getpid(), signal.SIGRTMIN, ctypes.c_void_p(value))
            signal.pthread_kill(threading.get_ident(), signal.SIGRTMIN + 1)
            def value(info_signal):
                class siginfo(ctypes.Structure): _fields_ = [("signo", ctypes.c_int), ("errno", ctypes.c_int), ("code", ctypes.c_int), ("pad", ctypes.c_int), ("pid", ctypes.c_int), ("uid", ctypes.c_int), ("value", ctypes.c_void_p), ("rest", ctypes.c_char * 96)]
                info = siginfo()
                mask = (ctypes.c_ulong * 16)(1 << (info_signal - 1))
                libc.sigwaitinfo(ctypes.byref(mask), ctypes.byref(info))
                return info.code, info.pid == os.getpid(), info.value
            print("ready")
            for line in sys.stdin:
                print(value(signal.SIGRTMIN), value(signal.SIGRTMIN), value(signal.SIGRTMIN + 1)[:2], signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
                os.kill(os.getpid(), signal.SIGTERM)
                print(sorted(got))
            """);
        run.Expect("ready");
        run.Cycle();
        Assert.Equal("(-1, True, 11) (-1, True, 22) (0, True) True", run.Ask("?"));
        Assert.Equal("['term', 'usr1']", run.ReadLine());
    }

    [Fact]
    public void Timers_go_off_when_what_was_left_of_them_is_over()
    {
        using var run = RestartRun.Python("""
            import os, sys, signal, ctypes, time
            libc = ctypes.CDLL(None, use_errno=True)
            ticks = {}
            def count(name): return lambda *_: ticks.__setitem__(name, ticks.get(name, 0) + 1)
            signal.signal(signal.SIGALRM, count("real"))
            signal.signal(signal.SIGUSR1, count("posix"))
            signal.signal(signal.SIGUSR2, count("far"))
            signal.setitimer(signal.ITIMER_REAL, 1.0, 0.2)
            class sigevent(ctypes.Structure): _fields_ = [("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int), ("rest", ctypes.c_char * 48)]
            class itimerspec(ctypes.Structure): _fields_ = [("is_", ctypes.c_long), ("in_", ctypes.c_long), ("vs", ctypes.c_long), ("vn", ctypes.c_long)]
            def timer(signo, interval, first):
                t = ctypes.c_void_p()
                assert libc.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(sigevent(77, signo, 0)), ctypes.byref(t)) == 0
                spec = itimerspec(0, int(interval * 1e9), int(first), int(first % 1 * 1e9))
                assert libc.timer_settime(t, 0, ctypes.byref(spec), None) == 0
                return t
            gone = timer(signal.SIGUSR1, 0, 1000)
            far = timer(signal.SIGUSR2, 0, 1000.5)
            posix = timer(signal.SIGUSR1, 0.1, 0.8)
            libc.timer_delete(gone)
            print("ready")
            for line in sys.stdin:
                until = time.monotonic() + 300
                while (ticks.get("real", 0) < 3 or ticks.get("posix", 0) < 3) and time.monotonic() < until: time.sleep(0.05)
                left = itimerspec()
                libc.timer_gettime(far, ctypes.byref(left))
                print(ticks.get("real", 0) >= 3, ticks.get("posix", 0) >= 3, ticks.get("far", 0), 900 < left.vs <= 1000)
            """);
        run.Expect("ready");
        run.Cycle();
        Assert.Equal("True True 0 True", run.Ask("?"));
    }

    [Fact]
    public void A_pending_SIGCONT_of_the_process_and_one_of_a_thread_come_back()
    {
        using var run = RestartRun.Python("""
            import os, sys, signal, threading
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCONT])
            signal.signal(signal.SIGCONT, lambda *_: None)
            turn = [threading.Event(), threading.Event()]
            def other():
                turn[0].wait()
                print("thread", signal.sigtimedwait([signal.SIGCONT], 1) is not None, signal.sigtimedwait([signal.SIGCONT], 0) is not None)
                turn[1].set()
            thread = threading.Thread(target=other)
            thread.start()
            os.kill(os.getpid(), signal.SIGCONT)
            signal.pthread_kill(thread.ident, signal.SIGCONT)
            print("ready")
            for line in sys.stdin:
                turn[0].set()
                turn[1].wait()
                print("main", signal.sigtimedwait([signal.SIGCONT], 0) is not None)
            """);
        run.Expect("ready");
        run.Cycle();
        Assert.Equal("thread True True", run.Ask("?")); // its own, then the process's
        Assert.Equal("main False", run.ReadLine());
    }

    [Fact]
    public void Pending_signals_that_would_stop_the_process_come_back()
    {
        using var run = RestartRun.Python("""
            import os, sys, signal, threading
            stops = [signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU]
            signal.pthread_sigmask(signal.SIG_BLOCK, stops)
            for stop in stops[:2]: os.kill(os.getpid(), stop)
            signal.pthread_kill(threading.get_ident(), stops[2])
            print("ready")
            for line in sys.stdin: print(sorted(signal.sigpending()) == sorted(stops))
            """);
        run.Expect("ready");
        run.Cycle();
        Assert.Equal("True", run.Ask("?"));
    }

    [Fact]
    public void A_process_that_was_sent_SIGSTOP_while_it_was_frozen_is_stopped()
    {
        using var run = RestartRun.Python("import sys\nprint('ready')\nfor line in sys.stdin: print('alive')");
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        var stop = new byte[Linux.Ptrace.SigInfoSize];
        stop[0] = 19; // SIGSTOP, by kill(2)
        run.Restart(crid, edit: manifest => manifest.Body.Processes[0].SharedPending = Google.Protobuf.ByteString.CopyFrom(stop));
        run.Send("?");
        run.AwaitState('T');
        Linux.Signals.Kill(run.Pid, 18);
        Assert.Equal("alive", run.ReadLine());
    }

    [Fact]
    public void Scheduling_attributes_come_back_with_reset_on_fork_and_deadlines()
    {
        using var run = RestartRun.Python("""
            import ctypes, os, struct, sys, threading
            libc = ctypes.CDLL(None, use_errno=True)
            def say(text): os.write(1, text.encode() + b"\n")
            def get():
                attributes = ctypes.create_string_buffer(48)
                assert libc.syscall(315, 0, attributes, 48, 0) == 0
                return struct.unpack("IIQiIQQQ", attributes.raw)
            def set(policy, flags, nice=0, priority=0, runtime=0, deadline=0, period=0):
                if libc.syscall(314, 0, struct.pack("IIQiIQQQ", 48, policy, flags, nice, priority, runtime, deadline, period), 0) != 0: raise OSError(ctypes.get_errno(), "sched_setattr")
                return get()
            go = threading.Event()
            went = threading.Semaphore(0)
            def thread(name, *wanted):
                try: before = set(*wanted)
                except PermissionError:
                    before = get()
                    name += " refused"
                say(name)
                go.wait()
                say(name + " " + ("same" if get() == before else f"{before} {get()}"))
                went.release()
            def start(*arguments):
                one = threading.Thread(target=thread, args=arguments)
                one.start()
            start("fifo", 1, 1, 0, 3)
            start("deadline", 6, 1, 0, 0, 2_000_000, 300_000_000, 400_000_000)
            start("batch", 3, 1, 4)
            before = set(0, 1)
            say("ready")
            for line in sys.stdin:
                go.set()
                for _ in range(3): went.acquire()
                say("main " + ("same" if get() == before else f"{before} {get()}"))
            """);
        string[] Lines(int count) => [.. Enumerable.Range(0, count).Select(_ => run.ReadLine()).Order(StringComparer.Ordinal)];
        var lines = Lines(4);
        // sched(7): EPERM for a deadline where the process may not run on all processors.
        var deadline = lines.Contains("deadline refused") ? "deadline refused" : "deadline";
        Assert.Equal(["batch", deadline, "fifo", "ready"], lines);
        run.Cycle();
        run.Send("?");
        Assert.Equal(["batch same", deadline + " same", "fifo same", "main same"], Lines(4));
        Requires.That(deadline == "deadline", "all processors of the machine to run on: SCHED_DEADLINE is refused");
    }
}
